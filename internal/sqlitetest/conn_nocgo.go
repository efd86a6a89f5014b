//go:build !cgo

package sqlitetest

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	"github.com/ncruces/go-sqlite3/ext/rtree"
)

// parameters are the URI parameters that set PRAGMAs. Each PRAGMA has a short name
// as well.
var parameters = map[string]string{
	"_busy_timeout": "busy_timeout", "_timeout": "busy_timeout",
	"_locking_mode": "locking_mode", "_locking": "locking_mode",
	"_journal_mode": "journal_mode", "_journal": "journal_mode",
	"_synchronous": "synchronous", "_sync": "synchronous",
	"_foreign_keys": "foreign_keys", "_fk": "foreign_keys",
	"_query_only": "query_only",
	"_cache_size": "cache_size",
}

// conn is a connection of the driver.
type conn struct {
	raw   *sqlite3.Conn
	begin string // statement that begins a transaction
}

var (
	_ driver.ExecerContext  = (*conn)(nil)
	_ driver.QueryerContext = (*conn)(nil)
	_ driver.ConnBeginTx    = (*conn)(nil)
)

// Open implements driver.Driver.
func (SQLite) Open(dsn string) (driver.Conn, error) {
	name, query, _ := strings.Cut(dsn, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(dsn, "file:") {
		name = dsn
	}
	raw, err := sqlite3.OpenFlags(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, begin: "BEGIN " + values.Get("_txlock")}
	if err := configure(c, values); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// configure sets what the other driver has as defaults, and the parameters.
func configure(c *conn, values url.Values) error {
	for _, config := range []sqlite3.DBConfig{sqlite3.DBCONFIG_DQS_DML, sqlite3.DBCONFIG_DQS_DDL, sqlite3.DBCONFIG_TRUSTED_SCHEMA} {
		if _, err := c.raw.Config(config, true); err != nil {
			return err
		}
	}
	if err := c.raw.Exec("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF; PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	for key, value := range values {
		if pragma := parameters[key]; pragma != "" {
			if err := c.raw.Exec(fmt.Sprintf("PRAGMA %s = %s", pragma, value[0])); err != nil {
				return err
			}
		}
	}
	return errors.Join(fts5.Register(c.raw), rtree.Register(c.raw))
}

func (c *conn) Close() error { return c.raw.Close() }

// interruptedBy has ctx interrupt statements until the function that it returns is
// called.
func (c *conn) interruptedBy(ctx context.Context) func() {
	old := c.raw.SetInterrupt(ctx)
	return func() { c.raw.SetInterrupt(old) }
}

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	defer c.interruptedBy(ctx)()
	t := &tx{c: c}
	if opts.ReadOnly {
		t.after = "; PRAGMA query_only = OFF"
		if err := c.raw.Exec("PRAGMA query_only = ON"); err != nil {
			return nil, err
		}
	}
	return t, causeOf(ctx, c.raw.Exec(c.begin))
}

// tx is a transaction.
type tx struct {
	c     *conn
	after string // statement that ends what BeginTx has set
}

func (t *tx) Commit() error {
	err := t.c.raw.Exec("COMMIT" + t.after)
	if err != nil && !t.c.raw.GetAutocommit() {
		_ = t.Rollback()
	}
	return err
}

func (t *tx) Rollback() error { return t.c.raw.Exec("ROLLBACK" + t.after) }

// causeOf returns the error of a context that has interrupted a statement.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	s, _, err := c.prepare(query)
	if err == nil && s == nil {
		return nil, errors.New("no statement")
	}
	return s, err
}

// prepare compiles the first statement, and returns the rest of the text. Of a
// text without one it returns nil.
func (c *conn) prepare(query string) (*stmt, string, error) {
	s, tail, err := c.raw.Prepare(query)
	if err != nil {
		return nil, "", err
	}
	if s == nil {
		return nil, tail, nil
	}
	return &stmt{c: c, raw: s}, tail, nil
}

// ExecContext runs all statements of a text. Each takes its share of args.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	var result driver.Result = driver.ResultNoRows
	for query != "" {
		s, tail, err := c.prepare(query)
		if err != nil {
			return nil, causeOf(ctx, err)
		}
		if query = tail; s == nil {
			continue
		}
		if n := s.raw.BindCount(); n > len(args) {
			err = fmt.Errorf("not enough args to execute query: want %d got %d", n, len(args))
		} else {
			result, err = s.ExecContext(ctx, shareOf(args[:n]))
			args = args[n:]
		}
		if err := errors.Join(err, s.raw.Close()); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// shareOf numbers the arguments of a statement from 1.
func shareOf(args []driver.NamedValue) []driver.NamedValue {
	share := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		arg.Ordinal = i + 1
		share[i] = arg
	}
	return share
}

// QueryContext runs all statements of a text, and returns the rows of the last
// one.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	for {
		s, tail, err := c.prepare(query)
		if err != nil || s == nil {
			return &rows{s: &stmt{}}, causeOf(ctx, err)
		}
		n := min(s.raw.BindCount(), len(args))
		if strings.TrimSpace(tail) == "" {
			r, err := s.QueryContext(ctx, shareOf(args[:n]))
			if err != nil {
				return nil, errors.Join(err, s.raw.Close())
			}
			r.(*rows).owned = true
			return r, nil
		}
		_, err = s.ExecContext(ctx, shareOf(args[:n]))
		if err := errors.Join(err, s.raw.Close()); err != nil {
			return nil, err
		}
		query, args = tail, args[n:]
	}
}

// bind sets the parameters of a statement.
func (s *stmt) bind(args []driver.NamedValue) error {
	for _, arg := range args {
		params := []int{arg.Ordinal}
		if arg.Name != "" {
			params = nil
			for _, prefix := range []string{":", "@", "$"} {
				if i := s.raw.BindIndex(prefix + arg.Name); i != 0 {
					params = append(params, i)
				}
			}
		}
		for _, i := range params {
			if err := s.bindValue(i, arg.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stmt) bindValue(i int, value driver.Value) error {
	switch v := value.(type) {
	case nil:
		return s.raw.BindNull(i)
	case bool:
		return s.raw.BindBool(i, v)
	case int64:
		return s.raw.BindInt64(i, v)
	case float64:
		return s.raw.BindFloat(i, v)
	case string:
		return s.raw.BindText(i, v)
	case []byte:
		if v == nil {
			return s.raw.BindNull(i)
		}
		return s.raw.BindBlob(i, v)
	case time.Time:
		return s.raw.BindText(i, v.Format("2006-01-02 15:04:05.999999999-07:00"))
	default:
		return fmt.Errorf("argument of type %T", value)
	}
}
