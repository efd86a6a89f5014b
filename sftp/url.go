package sftp

import (
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/booltext"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClientType is the URL scheme of the package.
const ReplicaClientType = "sftp"

func init() { replica.Register(ReplicaClientType, NewReplicaClientFromURL) }

const defaultPort = "22"

// parameters are the parameters of a URL.
var parameters = []string{"key-path", "host-key", "known-hosts", "insecure-skip-host-key", "connections"}

// NewReplicaClientFromURL makes a client from the parts of a URL of the form
//
//	sftp://user[:password]@host[:port]/path[?parameters]
//
// with the parameters key-path, host-key, known-hosts, insecure-skip-host-key and
// connections, which set the fields of that name. The path is absolute, unless it
// begins with /~/, which is the folder in which the server begins. An unknown
// parameter and an invalid value are errors that wrap fs.ErrInvalid.
func NewReplicaClientFromURL(_, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	c := NewReplicaClient()
	c.Host = host
	if userinfo != nil {
		c.User = userinfo.Username()
		c.Password, _ = userinfo.Password()
	}
	if err := checkHost(c.Host, c.User); err != nil {
		return nil, err
	}
	if urlPath != "" {
		c.Path = path.Clean("/" + urlPath)
	}
	if rest, ok := strings.CutPrefix(c.Path+"/", "/~/"); ok {
		c.Path = path.Clean(rest)
	}
	if err := checkPath(c.Path); err != nil {
		return nil, err
	}
	if err := clientio.SetParameters(query, c.setParameter); err != nil {
		return nil, err
	}
	return c, nil
}

// setParameter sets the field of a URL's parameter.
func (c *ReplicaClient) setParameter(name, value string) error {
	switch name {
	case "key-path":
		c.KeyPath = value
	case "host-key":
		c.HostKey = value
		_, err := parseHostKey(value)
		return err
	case "known-hosts":
		c.KnownHosts = value
	case "insecure-skip-host-key":
		skip, err := booltext.Parse(value)
		if err != nil {
			return clientio.Invalid("parameter %q is neither true nor false", name)
		}
		c.InsecureSkipHostKey = skip
	case "connections":
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n > maxConnections {
			return clientio.Invalid("parameter %q is not a number between 1 and %d", name, maxConnections)
		}
		c.Connections = n
	default:
		return clientio.UnknownParameter(name, parameters)
	}
	return nil
}

// checkHost checks where a client connects to.
func checkHost(host, user string) error {
	name, port := splitHost(host)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case name == "":
		return clientio.Invalid("no host, want sftp://user@host/path")
	case err != nil || n == 0:
		return clientio.Invalid("port of the host is no number from 1 to 65535")
	case strings.ContainsAny(name, "/@ \x00\r\n"):
		return clientio.Invalid("host %q is no name of a host", name)
	case user == "":
		return clientio.Invalid("no user, want sftp://user@host/path")
	}
	return nil
}

// checkPath checks the folder of a replica.
func checkPath(p string) error {
	if p == "" {
		return clientio.Invalid("no path, want sftp://user@host/path")
	}
	if strings.Contains(p, "\x00") {
		return clientio.Invalid("path has a zero byte")
	}
	return nil
}

// splitHost returns the name and the port of a host.
func splitHost(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if port == "" {
			port = defaultPort
		}
		return name, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), defaultPort
}

// ReplicaIdentity implements replica.Identifier. The identity consists of the host
// and the path, and of the user if the path is relative to the user's folder.
func (c *ReplicaClient) ReplicaIdentity() string {
	if checkHost(c.Host, c.User) != nil || checkPath(c.Path) != nil {
		return ""
	}
	name, port := splitHost(c.Host)
	u := url.URL{Scheme: ReplicaClientType, Host: strings.ToLower(name), Path: path.Clean(c.Path)}
	if strings.Contains(name, ":") {
		u.Host = "[" + u.Host + "]"
	}
	if port != defaultPort {
		u.Host += ":" + port
	}
	if !path.IsAbs(c.Path) {
		u.User, u.Path = url.User(c.User), path.Join("/~", c.Path)
	}
	return u.String()
}
