package sqlconn

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
)

// plain is a driver with nothing but what package driver demands. Its calls fail
// with err.
type plain struct {
	err  error
	rows int // that a query returns
}

func (p *plain) Prepare(string) (driver.Stmt, error)          { return &plainStmt{p}, p.err }
func (p *plain) Begin() (driver.Tx, error)                    { return plainTx{p}, p.err }
func (p *plain) Close() error                                 { return p.err }
func (p *plain) Connect(context.Context) (driver.Conn, error) { return p, nil }
func (p *plain) Driver() driver.Driver                        { return nil }

type plainStmt struct{ p *plain }

func (s *plainStmt) Close() error  { return nil }
func (s *plainStmt) NumInput() int { return -1 }
func (s *plainStmt) Exec([]driver.Value) (driver.Result, error) {
	return driver.RowsAffected(3), s.p.err
}
func (s *plainStmt) Query([]driver.Value) (driver.Rows, error) {
	return &plainRows{s.p, s.p.rows}, s.p.err
}

type plainTx struct{ p *plain }

func (t plainTx) Commit() error   { return t.p.err }
func (t plainTx) Rollback() error { return t.p.err }

type plainRows struct {
	p    *plain
	left int
}

func (r *plainRows) Columns() []string { return []string{"n"} }
func (r *plainRows) Close() error      { return nil }
func (r *plainRows) Next(dest []driver.Value) error {
	if r.p.err != nil {
		return r.p.err
	}
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	dest[0] = int64(r.left)
	return nil
}

// explainer counts its calls.
type explainer struct{ begun, ended, explained int }

func (e *explainer) Begin(context.Context) { e.begun++ }
func (e *explainer) End()                  { e.ended++ }
func (e *explainer) Explain(err error) error {
	e.explained++
	return fmt.Errorf("because: %w", err)
}

// connector wraps the connections of a plain driver.
type connector struct {
	*plain
	e *explainer
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return Wrap(c.plain, c.e), nil }

// TestConn_Plain uses a driver without any optional interface through database/sql,
// which behaves as without the wrapper.
func TestConn_Plain(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		p, e := &plain{rows: 2}, new(explainer)
		var c driver.Connector = p
		if wrapped {
			c = connector{p, e}
		}
		db := sql.OpenDB(c)
		if err := db.Ping(); err != nil {
			t.Error(wrapped, err)
		}
		if r, err := db.Exec("x", 1, "two"); err != nil {
			t.Error(wrapped, err)
		} else if n, _ := r.RowsAffected(); n != 3 {
			t.Error(wrapped, n)
		}
		rows, err := db.Query("x")
		if err != nil {
			t.Fatal(wrapped, err)
		}
		types, err := rows.ColumnTypes()
		if err != nil || types[0].ScanType() != reflect.TypeFor[any]() || types[0].DatabaseTypeName() != "" {
			t.Error(wrapped, types[0], err)
		}
		if _, ok := types[0].Nullable(); ok {
			t.Error(wrapped, "nullable is known")
		}
		n := 0
		for rows.Next() {
			n++
		}
		if err := rows.Err(); err != nil || n != 2 || rows.NextResultSet() {
			t.Error(wrapped, n, err)
		}
		_ = rows.Close()
		if _, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true}); err == nil {
			t.Error(wrapped, "options of a transaction are ignored")
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(wrapped, err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(wrapped, err)
		}
		if _, err := db.Exec("x", struct{}{}); err == nil {
			t.Error(wrapped, "an argument of a strange type is taken")
		}
		p.err = errors.New("no luck")
		for name, call := range map[string]func() error{
			"exec":  func() error { _, err := db.Exec("x"); return err },
			"query": func() error { _, err := db.Query("x"); return err },
			"begin": func() error { _, err := db.Begin(); return err },
		} {
			before := e.explained
			err := call()
			if !errors.Is(err, p.err) || wrapped && (e.explained != before+1 || err.Error() != "because: no luck") {
				t.Errorf("%t: %s: %v, explained %d times", wrapped, name, err, e.explained-before)
			}
		}
		p.err = nil
		if err := db.Close(); err != nil {
			t.Error(wrapped, err)
		}
		if wrapped && (e.begun < e.explained || e.begun != e.ended) {
			t.Errorf("%d calls, %d ends, %d errors", e.begun, e.ended, e.explained)
		}
	}
}

// TestConn_Talk passes on the errors by which a driver talks to database/sql.
func TestConn_Talk(t *testing.T) {
	for _, err := range []error{driver.ErrSkip, driver.ErrBadConn, io.EOF} {
		e := new(explainer)
		c := Wrap(&plain{err: err}, e)
		if _, got := c.Prepare("x"); got != err || e.explained > 0 {
			t.Errorf("%v became %v", err, got)
		}
	}
	c := Wrap(new(plain), new(explainer))
	if _, ok := c.Unwrap().(*plain); !ok {
		t.Errorf("unwraps to a %T", c.Unwrap())
	}
}
