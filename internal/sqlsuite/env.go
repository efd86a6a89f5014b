package sqlsuite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// env is the environment of a case. Methods that return no error end the case if
// they fail, except those of which the comment says otherwise.
type env struct {
	*testing.T
	ctx      context.Context
	binding  Binding
	store    Store
	hydrated bool // databases are hydrated
}

// instance is an Instance of a case.
type instance struct {
	e *env
	Instance
}

// start starts an instance.
func (e *env) start() *instance { return &instance{e, e.binding.New(e, e.store)} }

// replica is a replica in the store. A case that calls a method of it with a
// connection has the database open in that mode.
type replica struct{ url, name string }

var replicas atomic.Int64

// replica returns a replica that is empty.
func (e *env) replica() replica { return e.replicaAt(e.store.URL(e)) }

// replicaAt returns the replica of a URL.
func (e *env) replicaAt(url string) replica {
	return replica{url, fmt.Sprintf("replica-%d.db", replicas.Add(1))}
}

// parameter returns a parameter of a URI.
func parameter(name, value string) string {
	return name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// uri returns the URI by which an instance opens a replica, with further
// parameters.
func (in *instance) uri(r replica, params ...string) string {
	all := append([]string{"vfs=" + in.VFS, parameter("replica_url", r.url), "poll_interval=10ms"}, params...)
	if in.e.hydrated {
		all = append(all, "hydration_enabled=true")
	}
	return "file:" + r.name + "?" + strings.Join(all, "&")
}

// writing are the parameters of a database in write mode. It uploads when a case
// says so, and when it is closed.
var writing = []string{"write_enabled=true", "sync_interval=-1s"}

// reader opens a connection to a replica in read mode.
func (in *instance) reader(r replica, params ...string) *conn {
	in.e.Helper()
	return in.connect(in.uri(r, params...))
}

// writer opens a connection to a replica in write mode.
func (in *instance) writer(r replica, params ...string) *conn {
	in.e.Helper()
	return in.connect(in.uri(r, append(writing[:len(writing):len(writing)], params...)...))
}

// plain opens a new local file with SQLite's own VFS.
func (in *instance) plain() *conn {
	in.e.Helper()
	return in.connect(fileURI(filepath.Join(in.e.TempDir(), "plain.db")))
}

// fileURI returns the URI of a local file, with parameters.
func fileURI(path string, params ...string) string {
	return "file:" + filepath.ToSlash(path) + "?" + strings.Join(params, "&")
}

// connect opens a connection until the end of the case, if it is not closed
// before. It does not wait for locks.
func (in *instance) connect(uri string) *conn {
	in.e.Helper()
	c, err := in.tryConnect(uri)
	if err != nil {
		in.e.Fatalf("open %s: %v", uri, err)
	}
	return c
}

func (in *instance) tryConnect(uri string) (*conn, error) {
	db, err := in.Open(uri)
	if err != nil {
		return nil, err
	}
	c, err := db.Conn(in.e.ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	opened := &conn{in.e, in, uri, db, c}
	in.e.Cleanup(func() { _ = opened.tryClose() })
	_, err = opened.try("PRAGMA busy_timeout = 0")
	return opened, err
}

// conn is one connection of SQLite.
type conn struct {
	e   *env
	in  *instance
	uri string
	db  *sql.DB
	c   *sql.Conn
}

// another opens another connection to the same database.
func (c *conn) another() *conn {
	c.e.Helper()
	return c.in.connect(c.uri)
}

func (c *conn) tryClose() error { return errors.Join(c.c.Close(), c.db.Close()) }

// close closes the connection. The last one of a database uploads its commits.
func (c *conn) close() {
	c.e.Helper()
	if err := c.tryClose(); err != nil {
		c.e.Fatal(err)
	}
}

// try runs a statement, and returns its rows as text: columns separated by |, rows
// by newlines.
func (c *conn) try(query string, args ...any) (string, error) {
	rows, err := c.c.QueryContext(c.e.ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	return textOf(rows)
}

// textOf returns rows as text.
func textOf(rows *sql.Rows) (string, error) {
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	var b strings.Builder
	for n := 0; rows.Next(); n++ {
		if err := rows.Scan(dest...); err != nil {
			return "", err
		}
		if n > 0 {
			b.WriteByte('\n')
		}
		for i, v := range values {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(valueText(v))
		}
	}
	return b.String(), rows.Err()
}

// valueText returns a value as text, of a long one the length and a checksum.
func valueText(v any) string {
	const long = 100
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		if len(v) > long {
			return fmt.Sprintf("blob of %d bytes %08x", len(v), crc32.ChecksumIEEE(v))
		}
		return fmt.Sprintf("x'%X'", v)
	case string:
		if len(v) > long && !json.Valid([]byte(v)) {
			return fmt.Sprintf("text of %d bytes %08x", len(v), crc32.ChecksumIEEE([]byte(v)))
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// run runs a statement and returns its rows.
func (c *conn) run(query string, args ...any) string {
	c.e.Helper()
	s, err := c.try(query, args...)
	if err != nil {
		c.e.Fatalf("%s: %v", query, err)
	}
	return s
}

// runAll runs statements.
func (c *conn) runAll(queries ...string) {
	c.e.Helper()
	for _, query := range queries {
		c.run(query)
	}
}

// want compares the rows of a statement. The case goes on if they differ.
func (c *conn) want(query, want string, args ...any) {
	c.e.Helper()
	if got := c.run(query, args...); got != want {
		c.e.Errorf("%s: got %.300q, want %.300q", query, got, want)
	}
}

// result runs a statement and returns its rows, or its error with the result code.
func (c *conn) result(query string, args ...any) string {
	s, err := c.try(query, args...)
	if err != nil {
		return fmt.Sprintf("error %d: %v", c.e.code(err), err)
	}
	return s
}

// Result codes of SQLite.
const (
	codeError      = 1
	codeBusy       = 5
	codeReadOnly   = 8
	codeCantOpen   = 14
	codeConstraint = 19
)

// code returns the primary result code of an error.
func (e *env) code(err error) int { return e.binding.Code(err) & 0xff }

// fails runs a statement that must fail with a code and, unless it is empty, a
// text. The case goes on if it does not.
func (c *conn) fails(code int, text, query string, args ...any) {
	c.e.Helper()
	switch got, err := c.try(query, args...); {
	case err == nil:
		c.e.Errorf("%s: got %.300q, want error %d", query, got, code)
	case c.e.code(err) != code:
		c.e.Errorf("%s: error has code %d, want %d: %v", query, c.e.code(err), code, err)
	case !strings.Contains(err.Error(), text):
		c.e.Errorf("%s: error is %v, want %s", query, err, text)
	}
}

// sync uploads what is committed, and returns the transaction on the replica.
func (c *conn) sync() string {
	c.e.Helper()
	return c.run("PRAGMA litestream_sync")
}

// deadline is how long a case waits for something that goes on in the background.
const deadline = 30 * time.Second

// eventually repeats a query until it gives the rows that are wanted.
func (c *conn) eventually(query, want string) {
	c.e.Helper()
	var got string
	c.e.until(func() bool { got = c.run(query); return got == want }, func() string {
		return fmt.Sprintf("%s: got %.300q, want %.300q", query, got, want)
	})
}

// until polls a condition, and ends the case with a text if the deadline passes.
func (e *env) until(condition func() bool, text func() string) {
	e.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !condition(); {
		if time.Now().After(end) {
			e.Fatalf("after %v: %s", deadline, text())
		}
		<-tick.C
	}
}

// follow waits until the connection sees a transaction.
func (c *conn) follow(txid string) {
	c.e.Helper()
	var got string
	c.e.until(func() bool {
		c.run("SELECT count(*) FROM sqlite_schema") // transactions keep the poller awake, PRAGMAs do not
		got = c.run("PRAGMA litestream_txid")
		return got == txid
	}, func() string { return "the connection is at " + got + ", want " + txid })
}

// complete waits until a hydrated database is in its local file.
func (c *conn) complete() {
	c.e.Helper()
	c.eventually("PRAGMA litestream_hydration_progress", "100.0")
	c.eventually("PRAGMA litestream_hydration_status", "complete")
}

// status is the part of litestream_status that the suite reads.
type status struct {
	PageReads int64 `json:"page_reads"`
	LocalHits int64 `json:"local_hits"`
	View      struct {
		TXID       string
		Travelling bool
	}
	LastError *struct{ Op, Text string } `json:"last_error"`
}

func (c *conn) status() (s status) {
	c.e.Helper()
	if err := json.Unmarshal([]byte(c.run("PRAGMA litestream_status")), &s); err != nil {
		c.e.Fatal(err)
	}
	return s
}

// check runs integrity_check. The case goes on if it finds something.
func (c *conn) check() {
	c.e.Helper()
	c.want("PRAGMA integrity_check", "ok")
}

// pair is a replica and a plain local file that run the same statements.
type pair struct {
	e              *env
	replica, plain *conn
}

// exec runs statements on both, which must succeed. The case goes on if they give
// different rows.
func (p pair) exec(queries ...string) {
	p.e.Helper()
	for _, query := range queries {
		if got, want := p.replica.run(query), p.plain.run(query); got != want {
			p.e.Errorf("%s: got %.500q, plain SQLite gives %.500q", query, got, want)
		}
	}
}

// compare runs statements on both, of which some fail. The case goes on if they
// give different rows, or errors with different codes or texts.
func (p pair) compare(queries ...string) {
	p.e.Helper()
	for _, query := range queries {
		if got, want := p.replica.result(query), p.plain.result(query); got != want {
			p.e.Errorf("%s: got %.500q, plain SQLite gives %.500q", query, got, want)
		}
	}
}

// same compares the content of both databases. The case goes on if it differs.
func (p pair) same() {
	p.e.Helper()
	p.sameAs(p.replica)
}

// sameAs compares the content that a connection sees with the plain file.
func (p pair) sameAs(c *conn) {
	p.e.Helper()
	if got, want := c.dump(), p.plain.dump(); got != want {
		p.e.Errorf("got:\n%.2000s\nplain SQLite has:\n%.2000s", got, want)
	}
}

// dump returns the schema and all rows of a database.
func (c *conn) dump() string {
	c.e.Helper()
	const schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
	const tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name"
	all := c.run(schema)
	if names := c.run(tables); names != "" {
		for name := range strings.SplitSeq(names, "\n") {
			all += "\n-- " + name + "\n" + c.run(`SELECT * FROM "`+name+`" ORDER BY 1`)
		}
	}
	return all
}
