package litestream

import (
	"context"
	"fmt"
	"strings"

	"github.com/ltxvfs/litestream/internal/changetable"
	"github.com/ltxvfs/litestream/internal/feed"
	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/rowjson"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/timeexpr"
	"github.com/ltxvfs/litestream/internal/view"
)

// changesAhead limits the values that are read ahead of the rows that SQLite has
// taken, in bytes.
const changesAhead = 1 << 20

// ChangeRows are the rows of the table-valued function litestream_changes in a
// statement of a connection. An adapter calls Next before each row, and Close in the
// end, which also may come in the middle. Like its Conn, it is used by one call at a
// time, which may come from any thread.
type ChangeRows struct {
	c    *Conn
	args [changetable.Arguments]*string
	feed *feed.Feed[rowdiff.Change]
	row  rowdiff.Change
	err  error // of Value, which the next Next returns
}

// Changes returns the rows of litestream_changes(table, from, to), which adapters of
// SQLite drivers offer as a virtual table. They are what VFS.Changes returns. A nil
// argument is NULL: of table it means all tables, and of to the transaction that the
// connection sees. from and to are transactions of 16 hex digits, times as PRAGMA
// litestream_time accepts them, or "latest", the newest transaction on the replica.
// Commits that are not on the replica yet are in no transaction.
//
// The connection may be within a transaction, also one that writes: the comparison
// takes no lock of it. Values are read ahead up to 1 MiB and the pages that are
// compared at a time.
func (c *Conn) Changes(table, from, to *string) (rows *ChangeRows, err error) {
	defer task.Guard(c.log, "changes", &err)
	d, err := c.differenceOf(from, to)
	if err != nil {
		return nil, c.failChanges(err)
	}
	var tables []string
	if table != nil {
		tables = append(tables, *table)
	}
	log := c.log
	f := feed.Start(c.db.tasks, changesAhead, func(ctx context.Context, out *feed.Output[rowdiff.Change]) (err error) {
		defer task.Guard(log, "changes", &err)
		d.beforePage = out.Flush
		return d.rows(ctx, rowdiff.Options{Tables: tables}, func(r rowdiff.Change) error { return out.Add(r, memoryOf(r)) })
	})
	if f == nil {
		return nil, c.failChanges(ErrClosed)
	}
	return &ChangeRows{c: c, args: [...]*string{table, from, to}, feed: f}, nil
}

// failChanges is fail for litestream_changes.
func (c *Conn) failChanges(err error) error {
	if err == nil {
		return nil
	}
	return c.fail("changes", fmt.Errorf("%s: %w", changetable.Name, err))
}

// differenceOf finds the two states of litestream_changes.
func (c *Conn) differenceOf(from, to *string) (*difference, error) {
	if from == nil {
		return nil, fmt.Errorf("%w: the second argument, a transaction or time to compare with, is missing or NULL", errInvalidValue)
	}
	ctx, cancel := c.waiting(c.db.opts.ReadTimeout)
	defer cancel()
	before, err := c.stateOf(ctx, *from)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	after := c.view()
	if after.Base != nil {
		after = after.Base
	}
	if to != nil {
		if after, err = c.stateOf(ctx, *to); err != nil {
			return nil, causeOf(ctx, err)
		}
	}
	d, err := c.db.difference(ctx, before, after)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	d.pageTimeout = c.db.opts.ReadTimeout
	return d, nil
}

// stateOf returns the state that a text names, which is a transaction or a time.
func (c *Conn) stateOf(ctx context.Context, text string) (*view.View, error) {
	s := strings.TrimSpace(text)
	if strings.EqualFold(s, latest) {
		return c.db.Current.Load(), nil
	}
	if txid, err := parseTXID(s); err == nil {
		return c.db.travelTo(ctx, txid)
	}
	t, err := timeexpr.Parse(s, c.db.opts.clock())
	if err != nil {
		return nil, fmt.Errorf("%w: %.80q is neither a transaction of 16 hex digits nor a time: %w", errInvalidValue, text, err)
	}
	return c.db.travelToTime(ctx, t)
}

// memoryOf returns how much memory a change takes, in bytes.
func memoryOf(c rowdiff.Change) int {
	const (
		change = 300
		value  = 32 // with the name of its column
	)
	n := change + len(c.OldSQL) + len(c.SQL)
	for _, row := range [][]any{c.Old, c.New} {
		n += value * len(row)
		for _, v := range row {
			switch v := v.(type) {
			case string:
				n += len(v)
			case []byte:
				n += len(v)
			}
		}
	}
	return n
}

// Next goes on to the next row, and waits for it. At the end it returns false. It
// fails with ErrInterrupted if SQLite interrupts the statement, as other calls of a
// Conn do.
func (r *ChangeRows) Next() (ok bool, err error) {
	defer task.Guard(r.c.log, "changes", &err)
	if r.err != nil {
		return false, r.c.failChanges(r.err)
	}
	if r.row, ok = r.feed.TryNext(); ok {
		return true, nil
	}
	ctx, cancel := r.c.waiting(-1)
	defer cancel()
	r.row, ok, err = r.feed.Next(ctx)
	return ok, r.c.failChanges(err)
}

// Value returns the value of a column of the row: nil, an int64 or a string. Columns
// are numbered from 0.
func (r *ChangeRows) Value(column int) (value any) {
	defer task.Guard(r.c.log, "changes", &r.err) // a panic would end the program
	c := &r.row
	switch column {
	case changetable.Kind:
		return string(c.Kind)
	case changetable.TableName:
		return c.Table
	case changetable.Rowid:
		if c.HasRowid {
			return c.Rowid
		}
	case changetable.Key:
		return keyOf(c)
	case changetable.Old:
		return objectOf(c.OldColumns, c.Old)
	case changetable.New:
		return objectOf(c.Columns, c.New)
	case changetable.OldSQL:
		return textOrNil(c.OldSQL)
	case changetable.SQL:
		return textOrNil(c.SQL)
	case changetable.TableArgument, changetable.FromArgument, changetable.ToArgument:
		if arg := r.args[column-changetable.TableArgument]; arg != nil {
			return *arg
		}
	}
	return nil
}

// keyOf returns the primary key of a row of a table without rowids as an object.
func keyOf(c *rowdiff.Change) any {
	row := c.New
	if row == nil {
		row = c.Old
	}
	if row == nil || c.HasRowid {
		return nil
	}
	columns, values := make([]string, len(c.Key)), make([]any, len(c.Key))
	for i, k := range c.Key {
		columns[i], values[i] = c.Columns[k], row[k]
	}
	return objectOf(columns, values)
}

// objectOf returns a row as an object of JSON, nil if there is none.
func objectOf(columns []string, values []any) any {
	if values == nil {
		return nil
	}
	s, err := rowjson.Object(columns, values)
	if err != nil {
		return nil // rows have only types that JSON has
	}
	return s
}

func textOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Close ends the comparison and waits for its requests to end.
func (r *ChangeRows) Close() { r.feed.Close() }
