package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// A caller that waits for a connection gets an error early enough to try
	// again within its time limit.
	connectTimeout = 5 * time.Second
	dialTimeout    = 10 * time.Second // with the handshake
)

// dialer makes connections to a server. It does not change.
type dialer struct {
	addr string
	user string
	keys hostKeys
	auth auth
	open func(ctx context.Context, network, addr string) (net.Conn, error)
}

func newDialer(c *ReplicaClient) (*dialer, error) {
	if err := checkHost(c.Host, c.User); err != nil {
		return nil, err
	}
	d := &dialer{addr: net.JoinHostPort(splitHost(c.Host)), user: c.User, open: c.Dial}
	if d.open == nil {
		d.open = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	var err error
	if d.keys, err = newHostKeys(c); err != nil {
		return nil, err
	}
	d.auth, err = newAuth(c)
	return d, err
}

// dial makes a connection.
func (d *dialer) dial(ctx context.Context) (*link, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	l, err := d.handshake(dialCtx)
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return nil, clientio.WithCause(ctx, err)
	case dialCtx.Err() != nil:
		return nil, fmt.Errorf("connect to %s: no handshake within %s", d.addr, dialTimeout)
	}
	return nil, fmt.Errorf("connect to %s: %w", d.addr, err)
}

// handshake connects, verifies the server, logs in and begins SFTP.
func (d *dialer) handshake(ctx context.Context) (_ *link, err error) {
	raw, err := d.open(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	conn := &meteredConn{Conn: raw}
	conn.heard.Store(time.Now().UnixNano())
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // it ends the handshake
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close() // the error says what matters
		}
	}()

	check, algorithms, err := d.keys.prepare(d.addr)
	if err != nil {
		return nil, err
	}
	methods, done, err := d.auth.methods(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	verified, wrong := false, error(nil)
	config := &ssh.ClientConfig{
		User: d.user, Auth: methods, HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			wrong = check(host, remote, key)
			verified = wrong == nil
			return wrong
		},
	}
	c, channels, requests, err := ssh.NewClientConn(conn, d.addr, config)
	switch {
	case err == nil:
	case wrong != nil:
		return nil, wrong
	case verified && !isNetwork(err):
		return nil, fmt.Errorf("user %s is not let in with %s: %w (%w)", d.user, d.auth.names(), fs.ErrPermission, errors.New(d.auth.redact(err.Error())))
	default:
		return nil, explainHandshake(err)
	}
	client := ssh.NewClient(c, channels, requests)
	all := new(listings)
	sftpClient, err := beginSFTP(client, all)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin sftp: %w", err), client.Close())
	}
	return newLink(conn, client, sftpClient, all), nil
}

// beginSFTP does what sftp.NewClient does, but for the errors of writes, and the listings
// that learn of what the server answers.
func beginSFTP(client *ssh.Client, all *listings) (*sftp.Client, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := session.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }() // until the connection ends; unread, it would stop stdout
	return sftp.NewClientPipe(&answers{Reader: stdout, listings: all}, requestWriter{stdin}, sftp.UseConcurrentWrites(true))
}

// requestWriter writes requests to a channel. On a connection that has ended, that is
// io.EOF, which the answer to a read at the end of a file is as well: a body that was
// cut off would count as whole.
type requestWriter struct{ io.WriteCloser }

func (w requestWriter) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// isNetwork reports whether a connection failed, and not the other side refused
// something.
func isNetwork(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// explainHandshake returns the error of a handshake that ended before the server
// was known.
func explainHandshake(err error) error {
	var none *ssh.AlgorithmNegotiationError
	if errors.As(err, &none) {
		return clientio.Permanent(err)
	}
	return err
}

// meteredConn is a connection that knows when it last received something.
type meteredConn struct {
	net.Conn
	heard atomic.Int64 // in nanoseconds of Unix time
}

// Read implements net.Conn.
func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// silence returns for how long nothing was received.
func (c *meteredConn) silence() time.Duration {
	return time.Duration(time.Now().UnixNano() - c.heard.Load())
}
