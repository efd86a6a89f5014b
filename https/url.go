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
	for name := range query {
		return nil, clientio.Invalid("unknown parameter %q: an %s url has no parameters", name, scheme)
	}
	if _, err := parseBase(c.URL); err != nil {
		return nil, err
	}
	return c, nil
}

// parseBase parses the address of a replica. The result has a slash at the end of
// its path. Errors do not show the address, which may contain a token.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, clientio.Invalid("address of the replica is no url")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, clientio.Invalid("address of the replica has no host, want one like https://example.com/path")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, clientio.Invalid("address of the replica has more than a host and a path")
	}
	clean := path.Clean("/" + u.Path)
	u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(clean, "/") + "/"}
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
