package webdav

import (
	"net/url"
	"path"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

func init() {
	replica.Register("webdav", NewReplicaClientFromURL)
	replica.Register("webdavs", NewReplicaClientFromURL)
}

// NewReplicaClientFromURL makes a client from the parts of a URL of the form
//
//	webdavs://[user[:password]@]host[:port]/path
//
// for https, or with webdav for http. There are no parameters.
func NewReplicaClientFromURL(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	c := NewReplicaClient()
	c.URL = (&url.URL{Scheme: "http", Host: host}).String()
	if scheme == "webdavs" {
		c.URL = (&url.URL{Scheme: "https", Host: host}).String()
	}
	c.Path = path.Clean("/" + urlPath)
	if userinfo != nil {
		c.Username = userinfo.Username()
		c.Password, _ = userinfo.Password()
	}
	if host == "" {
		return nil, clientio.Invalid("url has no host, want one like %s://host/path", scheme)
	}
	if err := clientio.NoParameters(query, "a "+scheme); err != nil {
		return nil, err
	}
	if _, err := parseServer(c.URL); err != nil {
		return nil, err
	}
	return c, nil
}

// parseServer parses the address of a server. Its errors do not show the address.
func parseServer(text string) (*url.URL, error) {
	u, err := clientio.WebAddress(text, "server", "https://example.com")
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

// ReplicaIdentity implements replica.Identifier: it is the address of the folder.
func (c *ReplicaClient) ReplicaIdentity() string {
	u, err := parseServer(c.URL)
	if err != nil {
		return ""
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "webdav", 1)
	u.Host, u.Path = strings.ToLower(u.Host), path.Join("/", u.Path, c.Path)
	return u.String()
}
