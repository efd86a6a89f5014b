// Package remote is a driver of database/sql for tests. Its connections are those
// of Python's sqlite3 module in another process, which has loaded the extension.
//
// All statements run in the order of the calls. Rows are read completely before a
// query returns. A context that ends interrupts its statement.
package remote

import (
	"bufio"
	"context"
	"database/sql/driver"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

//go:embed child.py
var program string

// Python is the interpreter, whose sqlite3 module must be able to load extensions.
const Python = "/usr/bin/python3"

// Args returns the arguments of Python for a process that loads an extension, or
// none if its path is empty.
func Args(extension string) []string { return []string{"-X", "faulthandler", "-c", program, extension} }

// Error is an error of the sqlite3 module.
type Error struct {
	Code    int    `json:"code"` // extended result code of SQLite; 0 if the error is not SQLite's
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Process is a process that runs statements. It is safe for concurrent use.
type Process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	ended  chan struct{} // closed when the process has closed its standard output
	cause  error         // why no more replies come; set before ended is closed
	number struct {
		sync.Mutex
		request, conn int64
	}
	write   sync.Mutex // held while a request is written
	waiting struct {
		sync.Mutex
		replies map[int64]chan reply // by the number of the request
	}
}

type request struct {
	ID    int64  `json:"id"`
	Op    string `json:"op"`
	Conn  int64  `json:"conn"`
	URI   string `json:"uri,omitempty"`
	Query string `json:"query,omitempty"`
	Args  []any  `json:"args,omitempty"`
}

type reply struct {
	ID      int64    `json:"id"`
	Error   *Error   `json:"error"`
	Columns []string `json:"columns"`
	Rows    [][]cell `json:"rows"`
	Changes int64    `json:"changes"`
	Last    int64    `json:"last"`
}

// Start starts a command that runs Python with Args, and waits until the extension
// is loaded. Standard input and output of the command must not be set.
func Start(cmd *exec.Cmd) (*Process, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, in: in, ended: make(chan struct{})}
	loaded := make(chan reply, 1)
	p.waiting.replies = map[int64]chan reply{0: loaded}
	go p.read(out)
	select {
	case <-loaded:
		return p, nil
	case <-p.ended:
		return nil, errors.Join(p.cause, p.Close())
	}
}

// read passes replies on to the calls that wait for them.
func (p *Process) read(out io.Reader) {
	defer close(p.ended)
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			p.cause = fmt.Errorf("the process has ended: %w", err)
			return
		}
		var a reply
		if err := json.Unmarshal(line, &a); err != nil {
			p.cause = fmt.Errorf("the process has written %.100q: %w", line, err)
			return
		}
		p.waiting.Lock()
		c := p.waiting.replies[a.ID]
		delete(p.waiting.replies, a.ID)
		p.waiting.Unlock()
		if c != nil {
			c <- a
		}
	}
}

// Close ends the process, and returns an error unless it exits with status 0.
func (p *Process) Close() error {
	_ = p.in.Close()
	<-p.ended
	return p.cmd.Wait()
}

func (p *Process) send(r request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	p.write.Lock()
	defer p.write.Unlock()
	_, err = p.in.Write(append(line, '\n'))
	return err
}

// interruptAgain is the time between two interrupts of a statement.
const interruptAgain = 20 * time.Millisecond

// call sends a request and waits for the reply. If the context ends, it interrupts
// the connection and waits for the end of the statement.
func (p *Process) call(ctx context.Context, r request) (reply, error) {
	p.number.Lock()
	p.number.request++
	r.ID = p.number.request
	p.number.Unlock()
	c := make(chan reply, 1)
	p.waiting.Lock()
	p.waiting.replies[r.ID] = c
	p.waiting.Unlock()
	if err := p.send(r); err != nil {
		return reply{}, err
	}
	// SQLite ignores an interrupt that comes before the statement has begun, so it
	// is sent again and again.
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	done := ctx.Done()
	for {
		select {
		case a := <-c:
			if ctx.Err() != nil && a.Error != nil {
				return reply{}, ctx.Err()
			}
			if a.Error != nil {
				return reply{}, a.Error
			}
			return a, nil
		case <-p.ended:
			return reply{}, p.cause
		case <-done:
			done = nil
			again.Reset(0)
		case <-again.C:
			again.Reset(interruptAgain)
			if err := p.send(request{Op: "interrupt", Conn: r.Conn}); err != nil {
				return reply{}, err
			}
		}
	}
}

// Connector returns a connector for sql.OpenDB that opens a URI of SQLite.
func (p *Process) Connector(uri string) driver.Connector { return connector{p, uri} }

type connector struct {
	p   *Process
	uri string
}

func (c connector) Driver() driver.Driver { return noDriver{} }

// Connect opens a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	c.p.number.Lock()
	c.p.number.conn++
	number := c.p.number.conn
	c.p.number.Unlock()
	opened := &conn{c.p, number}
	if _, err := c.p.call(ctx, request{Op: "open", Conn: number, URI: c.uri}); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// noDriver is the driver of connections that only a Process can open.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("remote: use Process.Connector")
}

type conn struct {
	p      *Process
	number int64
}

var (
	_ driver.QueryerContext = (*conn)(nil)
	_ driver.ExecerContext  = (*conn)(nil)
)

func (c *conn) Prepare(query string) (driver.Stmt, error) { return &stmt{c, query}, nil }

func (c *conn) Close() error {
	_, err := c.p.call(context.Background(), request{Op: "close", Conn: c.number})
	return err
}

// Begin begins a transaction.
func (c *conn) Begin() (driver.Tx, error) {
	_, err := c.run(context.Background(), "BEGIN", nil)
	return tx{c}, err
}

func (c *conn) run(ctx context.Context, query string, args []driver.NamedValue) (reply, error) {
	r := request{Op: "run", Conn: c.number, Query: query}
	for _, arg := range args {
		v, err := encode(arg.Value)
		if err != nil {
			return reply{}, err
		}
		r.Args = append(r.Args, v)
	}
	return c.p.call(ctx, r)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	a, err := c.run(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return &rows{a.Columns, a.Rows}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	a, err := c.run(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return result{a.Last, a.Changes}, nil
}

type tx struct{ c *conn }

func (t tx) Commit() error { return t.end("COMMIT") }

func (t tx) Rollback() error { return t.end("ROLLBACK") }

func (t tx) end(query string) error {
	_, err := t.c.run(context.Background(), query, nil)
	return err
}

// stmt is a statement that the module prepares, and keeps prepared in its cache.
type stmt struct {
	c     *conn
	query string
}

var (
	_ driver.StmtQueryContext = (*stmt)(nil)
	_ driver.StmtExecContext  = (*stmt)(nil)
)

func (s *stmt) Close() error { return nil }

func (s *stmt) NumInput() int { return -1 }

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.query, args)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}

// Query is not called, since there is QueryContext.
func (s *stmt) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

// Exec is not called, since there is ExecContext.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

type result struct{ last, changes int64 }

func (r result) LastInsertId() (int64, error) { return r.last, nil }

func (r result) RowsAffected() (int64, error) { return r.changes, nil }

type rows struct {
	columns []string
	rest    [][]cell
}

func (r *rows) Columns() []string { return r.columns }

func (r *rows) Close() error { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if len(r.rest) == 0 {
		return io.EOF
	}
	for i, c := range r.rest[0] {
		dest[i] = c.value
	}
	r.rest = r.rest[1:]
	return nil
}

// cell is a value of SQLite, written as null or as a pair of its type (i, r, t or
// b) and its content. That of texts and blobs is in base64.
type cell struct{ value driver.Value }

// UnmarshalJSON decodes a value.
func (c *cell) UnmarshalJSON(line []byte) error {
	var pair []string
	if err := json.Unmarshal(line, &pair); err != nil || pair == nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("value %.100q is no pair", line)
	}
	var err error
	switch text := pair[1]; pair[0] {
	case "i":
		c.value, err = strconv.ParseInt(text, 10, 64)
	case "r":
		c.value, err = strconv.ParseFloat(text, 64)
	case "t":
		var b []byte
		b, err = base64.StdEncoding.DecodeString(text)
		c.value = string(b)
	case "b":
		c.value, err = base64.StdEncoding.DecodeString(text)
	default:
		err = fmt.Errorf("value has the unknown type %q", pair[0])
	}
	return err
}

// encode returns a value as it is in a request.
func encode(v driver.Value) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case int64:
		return []string{"i", strconv.FormatInt(v, 10)}, nil
	case float64:
		return []string{"r", strconv.FormatFloat(v, 'g', -1, 64)}, nil
	case bool:
		return []string{"i", map[bool]string{false: "0", true: "1"}[v]}, nil
	case string:
		return []string{"t", base64.StdEncoding.EncodeToString([]byte(v))}, nil
	case []byte:
		return []string{"b", base64.StdEncoding.EncodeToString(v)}, nil
	default:
		return nil, fmt.Errorf("argument has the type %T", v)
	}
}
