package https

import (
	"net/url"
	"path"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

func init() {
	replica.Register("https", NewReplicaClientFromURL)
	replica.Register("http", NewReplicaClientFromURL)
}

// NewReplicaClientFromURL makes a client from the parts of a URL of the form
//
//	https://[user[:password]@]host[:port]/path
//
// or with http. There are no parameters.
func NewReplicaClientFromURL(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	c := NewReplicaClient()
	c.URL = (&url.URL{Scheme: scheme, Host: host, Path: urlPath}).String()
	if userinfo != nil {
		c.Username = userinfo.Username()
		c.Password, _ = userinfo.Password()
	}
	if host == "" {
		return nil, clientio.Invalid("url has no host, want one like https://example.com/path")
	}
	if err := clientio.NoParameters(query, "an "+scheme); err != nil {
		return nil, err
	}
	if _, err := parseBase(c.URL); err != nil {
		return nil, err
	}
	return c, nil
}

// parseBase parses the address of a replica. The result has a slash at the end of
// its path. Errors do not show the address, which may contain a token.
func parseBase(text string) (*url.URL, error) {
	u, err := clientio.WebAddress(text, "replica", "https://example.com/path")
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimSuffix(path.Clean("/"+u.Path), "/") + "/"
	return u, nil
}

// ReplicaIdentity implements replica.Identifier: it is the address of the folder.
func (c *ReplicaClient) ReplicaIdentity() string {
	u, err := parseBase(c.URL)
	if err != nil {
		return ""
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u.String()
}
