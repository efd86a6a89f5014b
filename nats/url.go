package nats

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/booltext"
	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// parameters are the parameters of a URL.
var parameters = []string{"chunk-size", "client-cert", "client-key", "creds", "nkey", "reconnect-wait", "root-cas", "timeout", "tls"}

// NewReplicaClientFromURL makes a client from the parts of a URL
//
//	nats://[user:password@]host[:port]/bucket[/path]
//
// The server tells the client of the other servers of its cluster. A user without a
// password is a token. The parameters have the names of upstream's settings and set
// the fields of these names: creds, tls, root-cas with files separated by commas,
// client-cert, client-key, timeout, reconnect-wait. The parameter nkey names a file
// that holds the seed of an NKey, and chunk-size sets ChunkSize.
// NewReplicaClientFromURL does no I/O, and its errors do not quote values.
func NewReplicaClientFromURL(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	if scheme != ReplicaClientType {
		return nil, clientio.Invalid("url scheme is not %s", ReplicaClientType)
	}
	c := NewReplicaClient()
	if host != "" {
		if _, err := hostOf("nats://" + host); err != nil {
			return nil, fmt.Errorf("host of the url: %w", err)
		}
		c.URL = "nats://" + host
	}
	if userinfo != nil {
		if password, ok := userinfo.Password(); ok {
			c.Username, c.Password = userinfo.Username(), password
			if c.Username == "" || password == "" {
				return nil, clientio.Invalid("user or password in the url is empty")
			}
		} else if c.Token = userinfo.Username(); c.Token == "" {
			return nil, clientio.Invalid("token in the url is empty")
		}
	}
	c.BucketName, c.Path, _ = strings.Cut(strings.TrimPrefix(path.Clean("/"+urlPath), "/"), "/")
	if !bucketNames.MatchString(c.BucketName) {
		return nil, clientio.Invalid("url has no bucket, want one like nats://host:4222/bucket")
	}
	if err := clientio.SetParameters(query, c.setParameter); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ReplicaClient) setParameter(name, value string) error {
	invalid := func(what string) error { return clientio.Invalid("url parameter %q is not %s", name, what) }
	var err error
	switch name {
	case "creds":
		c.Creds = value
	case "nkey":
		c.NKeyFile = value
	case "root-cas":
		c.RootCAs = strings.Split(value, ",")
	case "client-cert":
		c.ClientCert = value
	case "client-key":
		c.ClientKey = value
	case "tls":
		if c.TLS, err = booltext.Parse(value); err != nil {
			return invalid("true or false")
		}
	case "timeout":
		if c.Timeout, err = time.ParseDuration(value); err != nil || c.Timeout <= 0 {
			return invalid("a duration like 5s")
		}
	case "reconnect-wait":
		if c.ReconnectWait, err = time.ParseDuration(value); err != nil || c.ReconnectWait <= 0 {
			return invalid("a duration like 250ms")
		}
	case "chunk-size":
		if c.ChunkSize, err = bytesize.Parse(value); err != nil || c.ChunkSize < minChunkSize || c.ChunkSize > maxChunkSize {
			return invalid("a size from 4KiB to 64MiB")
		}
	default:
		return clientio.UnknownParameter(name, parameters)
	}
	return nil
}

// hostOf returns the host and the port of the address of a server. Its errors show
// nothing of the address, which may hold a password.
func hostOf(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", clientio.Invalid("address of a server is not a url")
	case u.Scheme != "nats" && u.Scheme != "tls":
		return "", clientio.Invalid("address of a server has another scheme than nats")
	case u.User != nil:
		return "", clientio.Invalid("address of a server has credentials, which are fields of their own")
	case u.Hostname() == "" || strings.Contains(u.Host, ",") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", clientio.Invalid("address of a server is not like nats://host:4222")
	}
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port), nil
}
