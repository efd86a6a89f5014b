package litestream

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
)

// connectionParam is the parameter by which a connector finds the Conn of a
// connection that it has opened.
const connectionParam = "_litestream_connection"

// connector makes connections of one replica, for any driver.
type connector struct {
	vfs    *VFS
	url    string
	shown  string                                        // the URL without secrets
	open   func(name, token string) (driver.Conn, error) // opens a connection of SQLite's, without wrapping it
	opened atomic.Int64                                  // number of connections
}

// newConnector returns a connector without a driver. It checks the URL and the
// options, and makes no request.
func newConnector(url string, opts *Options) (*connector, error) {
	c := &connector{vfs: NewVFS(nil, opts), url: url, shown: shownURL(url)}
	if err := c.vfs.Options.validate(); err != nil {
		return nil, fmt.Errorf("connector for %s: %w", c.shown, err)
	}
	client, err := NewReplicaClientFromURL(url)
	if err != nil {
		return nil, fmt.Errorf("connector for %s: %w", c.shown, err)
	}
	if closer, ok := client.(interface{ Close() error }); ok {
		err = closer.Close()
	}
	return c, err
}

// connect opens a connection. The database is opened first and by Go, so that the
// error is whole and ctx ends the wait.
func (c *connector) connect(ctx context.Context) (driver.Conn, *Conn, error) {
	first, err := c.vfs.openConn(ctx, c.url, map[string]string{replicaURL: c.url}, OpenMode{ReadOnly: true})
	if err != nil {
		return nil, nil, c.errorf(err)
	}
	defer first.Close()
	token := fmt.Sprint(c.opened.Add(1))
	conn, err := c.open(c.url, token)
	if err != nil {
		return nil, nil, c.errorf(err)
	}
	own := first.db.connection(token)
	if own == nil {
		return nil, nil, c.errorf(errors.Join(errors.New("the driver did not open it through its VFS"), conn.Close()))
	}
	return conn, own, nil
}

// errorf adds the place to an error of an open.
func (c *connector) errorf(err error) error {
	if strings.HasPrefix(err.Error(), "open "+c.shown+":") {
		return err
	}
	return fmt.Errorf("open %s: %w", c.shown, err)
}

// connection returns the connection that was opened with a token, nil if there is
// none.
func (db *database) connection(token string) *Conn {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		if c.token == token {
			return c
		}
	}
	return nil
}

// shownURL returns a replica URL for texts: without user information and without
// parameters, except the endpoint, since they may be secret.
func shownURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a replica with a malformed URL"
	}
	shown := (&url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path}).String()
	if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
		shown += " at " + (&url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host}).String()
	}
	return shown
}

// connExplainer explains errors of a connection of SQLite's by what its Conn knows:
// SQLite passes on codes only.
type connExplainer struct {
	conn   *Conn
	shown  string     // the URL of the replica without secrets
	before *connError // the last error before the call

	// code returns SQLite's code and text for it, if err is an error of the driver
	// that comes from SQLite.
	code func(err error) (code Code, text string, ok bool)
}

func (e *connExplainer) Begin() { e.before = e.conn.lastErr.Load() }

func (e *connExplainer) Explain(err error) error {
	code, text, ok := e.code(err)
	if !ok {
		return err
	}
	cause := e.cause(code)
	if cause == nil {
		return err
	}
	if s := err.Error(); strings.Contains(s, cause.Error()) {
		text = s
	} else {
		text += ": " + cause.Error()
	}
	return &explainedError{text: e.shown + ": " + text, cause: cause, err: err}
}

// cause returns why SQLite returned a code, nil if the database had no part in it.
func (e *connExplainer) cause(code Code) error {
	if last := e.conn.lastErr.Load(); last != e.before {
		return last.err
	}
	if code&0xff != CodeReadOnly {
		return nil
	}
	if err := e.conn.db.writer.Status().Problem; err != nil {
		return err
	}
	return fmt.Errorf("%w: write mode is off, see Options.WriteEnabled", ErrReadOnly)
}

// explainedError is an error of a driver with its cause. errors.Is and errors.As
// find both.
type explainedError struct {
	text       string
	cause, err error
}

func (e *explainedError) Error() string   { return e.text }
func (e *explainedError) Unwrap() []error { return []error{e.cause, e.err} }
