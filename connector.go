package litestream

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/sqlconn"
)

// connectionParam is the parameter by which a connector finds the Conn of a
// connection that it has opened.
const connectionParam = "_litestream_connection"

// ConnectorDriver is a driver of database/sql over SQLite, as NewDriverConnector
// needs it. It is for adapters of drivers. All methods are safe for concurrent use.
type ConnectorDriver interface {
	driver.Driver // Open takes a URI of SQLite

	// Register makes a VFS known to SQLite by a name that no other VFS has, and
	// returns the name. Unregister is called once, after vfs was closed.
	Register(vfs *VFS) (name string, unregister func(), err error)

	// CodeOf returns the result code of an error that comes from SQLite, which may
	// be an extended one, with SQLite's text for it. Ok is false for other errors.
	CodeOf(err error) (code Code, text string, ok bool)
}

// NewDriverConnector returns what NewConnector returns, for any driver. It is for
// adapters of drivers. The connections of the connector have a method Unwrap, which
// returns the driver's own connection.
func NewDriverConnector(url string, opts *Options, d ConnectorDriver) (driver.Connector, error) {
	c := &connector{driver: d, vfs: NewVFS(nil, opts), url: url, shown: shownURL(url)}
	if err := c.vfs.Options.validate(); err != nil {
		return nil, fmt.Errorf("connector for %s: %w", c.shown, err)
	}
	client, err := NewReplicaClientFromURL(url)
	if err == nil {
		c.shown = placeOf(client, url)
		err = closeClient(client)
	}
	if err != nil {
		return nil, fmt.Errorf("connector for %s: %w", c.shown, err)
	}
	return c, nil
}

// VFSOf returns the VFS of a connector that NewConnector or NewDriverConnector has
// returned, for its Stats and Health. It returns nil for any other connector.
func VFSOf(c driver.Connector) *VFS {
	if c, ok := c.(*connector); ok {
		return c.vfs
	}
	return nil
}

// connector makes connections of one replica. It is safe for concurrent use.
type connector struct {
	driver ConnectorDriver
	vfs    *VFS
	url    string
	shown  string       // the URL without secrets
	opened atomic.Int64 // number of connections

	mu struct {
		sync.Mutex
		name       string // of the VFS; "" before the first connection
		unregister func() // nil unless the VFS is registered
		closed     bool
	}
}

// Connect opens a connection. If ctx ends first, it returns the error of ctx. The
// database is opened first and by Go, so that the error is whole and ctx ends the
// wait.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	first, err := c.vfs.openConn(ctx, c.url, map[string]string{replicaURL: c.url}, OpenMode{ReadOnly: true})
	if err != nil {
		return nil, c.errorf(err)
	}
	defer first.Close()
	name, err := c.vfsName()
	if err != nil {
		return nil, c.errorf(err)
	}
	token := fmt.Sprint(c.opened.Add(1))
	defer c.vfs.opens.begin(token, ctx)()
	conn, err := c.driver.Open("file:" + escapeURI(c.shown) + "?vfs=" + name + "&" + replicaURL + "=" + escapeURI(c.url) + "&" + connectionParam + "=" + token)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if err != nil {
		return nil, c.errorf(err)
	}
	own := first.db.connection(token)
	if own == nil {
		return nil, c.errorf(errors.Join(errors.New("the driver did not open it through its VFS"), conn.Close()))
	}
	own.call = nil
	return sqlconn.Wrap(conn, &connExplainer{conn: own, shown: c.shown, codeOf: c.driver.CodeOf}), nil
}

// connectorOpens are the contexts of connectors that open a connection, by token. A
// driver may read from the database before it returns the connection. It is safe
// for concurrent use.
type connectorOpens struct {
	mu struct {
		sync.Mutex
		contexts map[string]context.Context
	}
}

// begin records a context until the function that it returns is called.
func (o *connectorOpens) begin(token string, ctx context.Context) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.contexts == nil {
		o.mu.contexts = make(map[string]context.Context)
	}
	o.mu.contexts[token] = ctx
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.mu.contexts, token)
	}
}

// context returns the context of a token, nil if there is none.
func (o *connectorOpens) context(token string) context.Context {
	if token == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.contexts[token]
}

// vfsName returns the name of the VFS, which it registers at the first call.
func (c *connector) vfsName() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return "", ErrClosed
	}
	if c.mu.unregister == nil {
		name, unregister, err := c.driver.Register(c.vfs)
		if err != nil {
			return "", err
		}
		c.mu.name, c.mu.unregister = name, unregister
	}
	return c.mu.name, nil
}

// Driver returns the driver.
func (c *connector) Driver() driver.Driver { return c.driver }

// Close closes the databases of the connector. sql.DB.Close calls it after the last
// connection was closed.
func (c *connector) Close() error {
	c.mu.Lock()
	unregister := c.mu.unregister
	c.mu.unregister, c.mu.closed = nil, true
	c.mu.Unlock()
	err := c.vfs.Close(context.Background()) // within CloseTimeout
	if unregister != nil {
		unregister()
	}
	return err
}

// escapeURI escapes a part of a URI file name of SQLite's.
func escapeURI(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

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

// connExplainer explains errors of a connection of SQLite's by what its Conn knows:
// SQLite passes on codes only.
type connExplainer struct {
	conn   *Conn
	shown  string     // the URL of the replica without secrets
	before *connError // the last error before the call

	codeOf func(err error) (code Code, text string, ok bool) // of the driver
}

// Begin has ctx end waits of the connection for storage. Drivers do not interrupt
// everything that waits, such as the statement that reads the schema first.
func (e *connExplainer) Begin(ctx context.Context) {
	e.before = e.conn.lastErr.Load()
	e.conn.call = ctx
}

func (e *connExplainer) End() { e.conn.call = nil }

func (e *connExplainer) Explain(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return e.ended(err)
	}
	code, text, ok := e.codeOf(err)
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
	if !strings.Contains(text, e.shown) {
		text = e.shown + ": " + text
	}
	return &explainedError{text: text, cause: cause, err: err}
}

// ended explains that the context of a call has ended, with what the connection
// waited for, if it did.
func (e *connExplainer) ended(err error) error {
	if last := e.conn.lastErr.Load(); last != e.before {
		return &explainedError{text: err.Error() + ": " + last.err.Error(), cause: last.err, err: err}
	}
	return fmt.Errorf("%s: %w", e.shown, err)
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
