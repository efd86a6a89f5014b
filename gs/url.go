package gs

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// NewReplicaClientFromURL makes a client from the parts of a URL
// gs://bucket/path. The parameters endpoint and part-size set the fields of
// these names. A size may have a unit, as in 16MiB. NewReplicaClientFromURL
// does no I/O, and its errors do not quote values.
func NewReplicaClientFromURL(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	if scheme != ReplicaClientType {
		return nil, clientio.Invalid("url scheme is not %s", ReplicaClientType)
	}
	if userinfo != nil {
		return nil, clientio.Invalid("url holds credentials, set %s instead", credentialsEnv)
	}
	if host == "" || strings.ContainsAny(host, ":[]") {
		return nil, clientio.Invalid("url has no bucket, want one like gs://bucket/path")
	}
	c := NewReplicaClient()
	c.Bucket = host
	c.Path = strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if err := clientio.SetParameters(query, c.setParameter); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ReplicaClient) setParameter(name, value string) error {
	switch name {
	case "endpoint":
		if _, _, err := resolveEndpoint(value); err != nil {
			return fmt.Errorf("url parameter %q: %w", name, err)
		}
		c.Endpoint = value
	case "part-size":
		n, err := bytesize.Parse(value)
		if err != nil || n <= 0 || n > maxPartSize {
			return clientio.Invalid("url parameter %q is not a size up to 2GiB, like 16777216 or 16MiB", name)
		}
		c.PartSize = n
	default:
		return clientio.UnknownParameter(name, []string{"endpoint", "part-size"})
	}
	return nil
}
