// Package sftp keeps the LTX files of a replica in a folder of an SFTP server.
// Importing it makes litestream.NewReplicaClientFromURL understand sftp:// URLs.
//
//	client := sftp.NewReplicaClient()
//	client.Host = "backup.example.com" // or with a port
//	client.User = "litestream"
//	client.Path = "/srv/replicas/app.db"
//
// The layout is that of upstream Litestream:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// with a decimal level and two TXIDs of 16 hex digits. A file's modification
// time is the timestamp of its LTX header in whole seconds, because the protocol
// has no fractions.
//
// # Credentials
//
// The client offers the server each of these that is there:
//
//  1. the key in the file KeyPath, or of LITESTREAM_SFTP_KEY_PATH
//  2. the password, or that of LITESTREAM_SFTP_PASSWORD
//  3. if there is neither: the keys of the agent at SSH_AUTH_SOCK, and the
//     unencrypted keys id_ed25519, id_ecdsa and id_rsa in ~/.ssh
//
// The key of the server has to be known, from HostKey or from a file in the
// format of OpenSSH's known_hosts.
//
// # Limits
//
// A server without the extension hardlink@openssh.com cannot create a file only
// if there is none. There CreateLTXFile returns errors.ErrUnsupported. Without
// posix-rename@openssh.com, a file that is replaced is absent for a moment.
// Without fsync@openssh.com, a file is as durable as the server makes it.
//
// A process that is killed while it writes leaves a file whose name begins with
// a dot and ends in ".tmp". Listings ignore that file, and it may be removed
// while no process writes.
package sftp

import (
	"context"
	"net"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

const (
	// DefaultConnections is the default of ReplicaClient.Connections.
	DefaultConnections = 4

	maxConnections = 64
)

// ReplicaClient implements replica.Client and its optional interfaces, except
// replica.AllLTXFilesLister and replica.LTXFileCopier, on a folder of an SFTP server.
// Make one with [NewReplicaClient]. The fields may be set until the first call of a
// method. All methods are safe for concurrent use. A ReplicaClient must not be copied.
//
// No method repeats a request.
type ReplicaClient struct {
	// Host is the name or address of the server, with a port unless that is 22.
	Host string

	// User is the user at the server.
	User string

	// Password is the password of the user. Empty: LITESTREAM_SFTP_PASSWORD.
	Password string

	// Path is the folder of the replica: absolute, or relative to the folder in
	// which the server begins, mostly the user's home. The first write makes it.
	Path string

	// KeyPath is a file with a private key. Empty: LITESTREAM_SFTP_KEY_PATH.
	KeyPath string

	// KeyPassphrase decrypts the key. Empty: LITESTREAM_SFTP_KEY_PASSPHRASE.
	KeyPassphrase string

	// HostKey is the key of the server: a line like "ssh-ed25519 AAAA...", as in
	// the server's /etc/ssh/ssh_host_ed25519_key.pub, or a fingerprint like
	// "SHA256:...". Empty: LITESTREAM_SFTP_HOST_KEY, or what KnownHosts has.
	HostKey string

	// KnownHosts is a file with keys of servers. Empty:
	// LITESTREAM_SFTP_KNOWN_HOSTS, or ~/.ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts string

	// InsecureSkipHostKey accepts any key of the server, and with it any server
	// that answers at the address. It gets the password.
	InsecureSkipHostKey bool

	// Connections is the greatest number of connections. The first call makes
	// one, and calls that find all connections busy make another. Zero means
	// DefaultConnections; at most 64.
	Connections int

	// Dial connects to the server. Nil means a TCP connection.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	session clientio.Shared[session]
}

var (
	_ replica.Client         = (*ReplicaClient)(nil)
	_ replica.Initializer    = (*ReplicaClient)(nil)
	_ replica.LTXFileCreator = (*ReplicaClient)(nil)
	_ replica.Identifier     = (*ReplicaClient)(nil)
	_ replica.Surveyor       = (*ReplicaClient)(nil)
	_ replica.IndexWriter    = (*ReplicaClient)(nil)
)

// NewReplicaClient returns a client without a server.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init implements replica.Initializer. It checks the fields and the environment,
// and reads keys. It does not connect. Calling it is optional. An invalid field is
// an error that wraps fs.ErrInvalid.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect returns the session that all calls share.
func (c *ReplicaClient) connect(ctx context.Context) (*session, error) {
	return c.session.Get(ctx, func(context.Context) (*session, error) { return newSession(c) })
}

// Close closes all connections. Calls that are under way fail. The client can
// still be used: the next call connects again.
func (c *ReplicaClient) Close() error {
	if s := c.session.Peek(); s != nil {
		s.pool.close()
	}
	return nil
}

// session is what all calls of a client share.
type session struct {
	pool   *pool
	layout clientio.Layout
	path   string
}

func newSession(c *ReplicaClient) (*session, error) {
	config, err := newDialer(c)
	if err != nil {
		return nil, err
	}
	if err := checkPath(c.Path); err != nil {
		return nil, err
	}
	if c.Connections < 0 || c.Connections > maxConnections {
		return nil, clientio.Invalid("connections %d is not between 0 and %d", c.Connections, maxConnections)
	}
	limit := c.Connections
	if limit == 0 {
		limit = DefaultConnections
	}
	return &session{pool: newPool(limit, config.dial), layout: clientio.NewLayout(c.Path), path: c.Path}, nil
}
