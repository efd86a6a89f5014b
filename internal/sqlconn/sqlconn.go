// Package sqlconn wraps connections of database/sql drivers, so that their errors
// say why. It has every optional interface of package driver, and behaves as
// database/sql does without them where the driver has not.
package sqlconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Explainer explains errors of one connection. As the connection, it is used by one
// goroutine at a time.
type Explainer interface {
	// Begin is called before each call of the driver that may fail, with the
	// context that ends it. End is called after it.
	Begin(ctx context.Context)
	End()

	// Explain is called with the error of that call, which is not nil, and returns
	// the error for the caller.
	Explain(err error) error
}

// Conn is a connection whose errors are explained.
type Conn struct {
	inner   driver.Conn
	explain Explainer
}

var (
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
)

// Wrap returns inner with its errors explained.
func Wrap(inner driver.Conn, explain Explainer) *Conn { return &Conn{inner, explain} }

// Unwrap returns the driver's own connection, for sql.Conn.Raw.
func (c *Conn) Unwrap() driver.Conn { return c.inner }

// do makes a call of the driver, with a context that ends it.
func do[T any](ctx context.Context, e Explainer, call func() (T, error)) (T, error) {
	e.Begin(ctx)
	v, err := call()
	e.End()
	if err != nil {
		err = explained(ctx, e, err)
	}
	return v, err
}

// explained explains an error, unless it is one by which a driver talks to
// database/sql. If ctx has ended, the error is that of ctx as well: some drivers only
// say that they were interrupted.
func explained(ctx context.Context, e Explainer, err error) error {
	switch err {
	case driver.ErrSkip, driver.ErrBadConn, driver.ErrRemoveArgument, io.EOF:
		return err
	}
	err = e.Explain(err)
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// none is the result of a call that has only an error.
func none(call func() error) func() (struct{}, error) {
	return func() (struct{}, error) { return struct{}{}, call() }
}

// Ping does nothing if the driver cannot ping.
func (c *Conn) Ping(ctx context.Context) error {
	p, ok := c.inner.(driver.Pinger)
	if !ok {
		return nil
	}
	_, err := do(ctx, c.explain, none(func() error { return p.Ping(ctx) }))
	return err
}

// ExecContext runs a statement without rows.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	x, ok := c.inner.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	return do(ctx, c.explain, func() (driver.Result, error) { return x.ExecContext(ctx, query, args) })
}

// QueryContext runs a statement with rows.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.inner.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	return c.wrapRows(ctx)(do(ctx, c.explain, func() (driver.Rows, error) { return q.QueryContext(ctx, query, args) }))
}

// wrapRows returns a function that wraps the rows of a query with a context.
func (c *Conn) wrapRows(ctx context.Context) func(driver.Rows, error) (driver.Rows, error) {
	return func(inner driver.Rows, err error) (driver.Rows, error) {
		if err != nil {
			return nil, err
		}
		return &rows{inner, ctx, c.explain}, nil
	}
}

// Prepare is PrepareContext without a context.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext prepares a statement.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := do(ctx, c.explain, func() (driver.Stmt, error) {
		if p, ok := c.inner.(driver.ConnPrepareContext); ok {
			return p.PrepareContext(ctx, query)
		}
		return c.inner.Prepare(query)
	})
	if err != nil {
		return nil, err
	}
	return &stmt{s, c}, nil
}

// Begin is BeginTx without options.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	t, err := do(ctx, c.explain, func() (driver.Tx, error) {
		if b, ok := c.inner.(driver.ConnBeginTx); ok {
			return b.BeginTx(ctx, opts)
		}
		if opts != (driver.TxOptions{}) {
			return nil, errors.New("the driver does not support options of transactions")
		}
		//lint:ignore SA1019 some drivers have nothing else
		return c.inner.Begin()
	})
	if err != nil {
		return nil, err
	}
	return &tx{t, ctx, c.explain}, nil
}

// ResetSession is called before a connection of the pool is used again.
func (c *Conn) ResetSession(ctx context.Context) error {
	if r, ok := c.inner.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

// IsValid reports whether the pool may keep the connection.
func (c *Conn) IsValid() bool {
	v, ok := c.inner.(driver.Validator)
	return !ok || v.IsValid()
}

// CheckNamedValue converts an argument.
func (c *Conn) CheckNamedValue(v *driver.NamedValue) error { return check(c.inner, v) }

// Close closes the driver's connection.
func (c *Conn) Close() error {
	_, err := do(context.Background(), c.explain, none(c.inner.Close))
	return err
}

func check(inner any, v *driver.NamedValue) error {
	if n, ok := inner.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// tx is a transaction.
type tx struct {
	inner   driver.Tx
	ctx     context.Context // of the transaction, which database/sql rolls back at its end
	explain Explainer
}

func (t *tx) Commit() error {
	_, err := do(t.ctx, t.explain, none(t.inner.Commit))
	return err
}

func (t *tx) Rollback() error {
	_, err := do(t.ctx, t.explain, none(t.inner.Rollback))
	return err
}

// stmt is a prepared statement.
type stmt struct {
	inner driver.Stmt
	conn  *Conn
}

var (
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.NamedValueChecker = (*stmt)(nil)
)

func (s *stmt) Close() error  { return s.inner.Close() }
func (s *stmt) NumInput() int { return s.inner.NumInput() }

func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	err := check(s.inner, v)
	if err == driver.ErrSkip {
		err = check(s.conn.inner, v)
	}
	return err
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return do(ctx, s.conn.explain, func() (driver.Result, error) {
		if x, ok := s.inner.(driver.StmtExecContext); ok {
			return x.ExecContext(ctx, args)
		}
		//lint:ignore SA1019 some drivers have nothing else
		return s.inner.Exec(values(args))
	})
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.wrapRows(ctx)(do(ctx, s.conn.explain, func() (driver.Rows, error) {
		if q, ok := s.inner.(driver.StmtQueryContext); ok {
			return q.QueryContext(ctx, args)
		}
		//lint:ignore SA1019 some drivers have nothing else
		return s.inner.Query(values(args))
	}))
}

func named(args []driver.Value) []driver.NamedValue {
	all := make([]driver.NamedValue, len(args))
	for i, v := range args {
		all[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return all
}

func values(args []driver.NamedValue) []driver.Value {
	all := make([]driver.Value, len(args))
	for i, v := range args {
		all[i] = v.Value
	}
	return all
}

// rows are the rows of a query.
type rows struct {
	inner   driver.Rows
	ctx     context.Context // of the query
	explain Explainer
}

var (
	_ driver.RowsNextResultSet              = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypeNullable         = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
)

func (r *rows) Columns() []string { return r.inner.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	r.explain.Begin(r.ctx)
	err := r.inner.Next(dest)
	r.explain.End()
	if err != nil {
		return explained(r.ctx, r.explain, err)
	}
	return nil
}

func (r *rows) Close() error {
	_, err := do(r.ctx, r.explain, none(r.inner.Close))
	return err
}

func (r *rows) HasNextResultSet() bool {
	n, ok := r.inner.(driver.RowsNextResultSet)
	return ok && n.HasNextResultSet()
}

func (r *rows) NextResultSet() error {
	n, ok := r.inner.(driver.RowsNextResultSet)
	if !ok {
		return io.EOF
	}
	_, err := do(r.ctx, r.explain, none(n.NextResultSet))
	return err
}

func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if t, ok := r.inner.(driver.RowsColumnTypeScanType); ok {
		return t.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if t, ok := r.inner.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return t.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *rows) ColumnTypeLength(i int) (length int64, ok bool) {
	if t, ok := r.inner.(driver.RowsColumnTypeLength); ok {
		return t.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if t, ok := r.inner.(driver.RowsColumnTypeNullable); ok {
		return t.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if t, ok := r.inner.(driver.RowsColumnTypePrecisionScale); ok {
		return t.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}
