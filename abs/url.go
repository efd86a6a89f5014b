package abs

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

func init() {
	replica.Register("abs", NewReplicaClientFromURL)
}

// NewReplicaClientFromURL makes a client from the parts of a URL of the form
//
//	abs://[account@]container/path[?parameters]
//
// with the parameters endpoint, account, part-size and concurrency, which set
// the fields of that name. Credentials come from the environment. An unknown
// parameter and an invalid value are errors that wrap fs.ErrInvalid.
func NewReplicaClientFromURL(_, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	c := NewReplicaClient()
	c.Bucket = host
	c.Path = strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if err := checkBucket(c.Bucket); err != nil {
		return nil, err
	}
	if userinfo != nil {
		if _, ok := userinfo.Password(); ok {
			return nil, clientio.Invalid("an abs url takes no account key, set %s", envAccountKey)
		}
		c.AccountName = userinfo.Username()
	}
	if err := clientio.SetParameters(query, c.setParameter); err != nil {
		return nil, err
	}
	// These checks do not wait for the first request. The others depend on the
	// environment.
	if _, err := endpointOf(c); err != nil && (c.Endpoint != "" || c.AccountName != "") {
		return nil, err
	}
	return c, nil
}

// setParameter sets the field of a URL's parameter.
func (c *ReplicaClient) setParameter(name, value string) error {
	switch name {
	case "endpoint":
		c.Endpoint = value
	case "account", "account-name":
		if c.AccountName != "" && c.AccountName != value {
			return clientio.Invalid("parameter %q is another account than there is already", name)
		}
		c.AccountName = value
	case "part-size", "partSize":
		n, err := bytesize.Parse(value)
		if err != nil || n <= 0 || n > maxPartSize {
			return clientio.Invalid("parameter %q is not a size up to %d, like 16777216 or 16MiB", name, maxPartSize)
		}
		c.PartSize = n
	case "concurrency":
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n > maxConcurrency {
			return clientio.Invalid("parameter %q is not a number between 1 and %d", name, maxConcurrency)
		}
		c.Concurrency = n
	default:
		return clientio.UnknownParameter(name, []string{"endpoint", "account", "account-name", "part-size", "concurrency"})
	}
	return nil
}
