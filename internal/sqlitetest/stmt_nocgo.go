//go:build !cgo

package sqlitetest

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"io"

	"github.com/ncruces/go-sqlite3"
)

// stmt is a prepared statement. The one of an empty text has no raw statement.
type stmt struct {
	c   *conn
	raw *sqlite3.Stmt
}

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

func (s *stmt) Close() error { return s.raw.Close() }

func (s *stmt) NumInput() int { return s.raw.BindCount() }

// Exec implements driver.Stmt. database/sql calls ExecContext instead.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

// Query implements driver.Stmt. database/sql calls QueryContext instead.
func (s *stmt) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	defer s.c.interruptedBy(ctx)()
	if err := s.bind(args); err != nil {
		return nil, err
	}
	if err := errors.Join(s.raw.Exec(), s.raw.ClearBindings()); err != nil {
		return nil, causeOf(ctx, err)
	}
	return result{s.c.raw.LastInsertRowID(), s.c.raw.Changes()}, nil
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.bind(args); err != nil {
		return nil, err
	}
	return &rows{ctx: ctx, s: s}, nil
}

// result is what a statement has changed.
type result struct{ id, changes int64 }

func (r result) LastInsertId() (int64, error) { return r.id, nil }
func (r result) RowsAffected() (int64, error) { return r.changes, nil }

// rows are the rows of a statement.
type rows struct {
	ctx   context.Context
	s     *stmt
	owned bool // the statement is closed with the rows
}

func (r *rows) Columns() []string {
	if r.s.raw == nil {
		return nil
	}
	names := make([]string, r.s.raw.ColumnCount())
	for i := range names {
		names[i] = r.s.raw.ColumnName(i)
	}
	return names
}

func (r *rows) Close() error {
	switch {
	case r.s.raw == nil:
		return nil
	case r.owned:
		return r.s.raw.Close()
	default:
		_ = r.s.raw.Reset() // the error of the last step, which Next has returned
		return r.s.raw.ClearBindings()
	}
}

func (r *rows) Next(dest []driver.Value) error {
	if r.s.raw == nil {
		return io.EOF
	}
	defer r.s.c.interruptedBy(r.ctx)()
	if !r.s.raw.Step() {
		if err := r.s.raw.Err(); err != nil {
			return causeOf(r.ctx, err)
		}
		return io.EOF
	}
	for i := range dest {
		switch r.s.raw.ColumnType(i) {
		case sqlite3.INTEGER:
			dest[i] = r.s.raw.ColumnInt64(i)
		case sqlite3.FLOAT:
			dest[i] = r.s.raw.ColumnFloat(i)
		case sqlite3.TEXT:
			dest[i] = r.s.raw.ColumnText(i)
		case sqlite3.BLOB:
			dest[i] = bytes.Clone(r.s.raw.ColumnRawBlob(i))
		default:
			dest[i] = nil
		}
	}
	return nil
}
