package ncruces

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/changetable"
)

// registerChanges gives a connection the table-valued function litestream_changes.
func registerChanges(conn *sqlite3.Conn, main *file) error {
	//lint:ignore SA1019 the method that takes its place is generic, which needs Go 1.27
	return sqlite3.CreateModule(conn, changetable.Name, nil, func(conn *sqlite3.Conn, _, _, _ string, _ ...string) (changes, error) {
		return changes{main}, conn.DeclareVTab(changetable.Schema)
	})
}

// changes is the virtual table litestream_changes of a connection.
type changes struct {
	main *file // nil if the main database is not a replica
}

// BestIndex asks for the values of the arguments, in their order. The bits of IdxNum
// are those that Filter gets.
func (changes) BestIndex(info *sqlite3.IndexInfo) error {
	var at [changetable.Arguments]int // number of the constraint, from 1
	var unusable [changetable.Arguments]bool
	for i, c := range info.Constraint {
		arg := c.Column - changetable.TableArgument
		switch {
		case arg < 0 || c.Op != sqlite3.INDEX_CONSTRAINT_EQ:
		case !c.Usable:
			unusable[arg] = true
		case at[arg] == 0:
			at[arg] = i + 1
		}
	}
	n := 0
	for arg, i := range at {
		if i == 0 {
			if unusable[arg] {
				return sqlite3.CONSTRAINT // it comes from a table that has to be read first
			}
			continue
		}
		n++
		info.ConstraintUsage[i-1] = sqlite3.IndexConstraintUsage{ArgvIndex: n, Omit: true}
		info.IdxNum |= 1 << arg
	}
	info.EstimatedCost = 1e6 // a comparison takes round trips, so it is not repeated for the rows of another table
	info.EstimatedRows = 1000
	return nil
}

func (t changes) Open() (sqlite3.VTabCursor, error) { return &changesCursor{main: t.main}, nil }

// changesCursor reads the rows of a call of litestream_changes.
type changesCursor struct {
	main   *file
	rows   *litestream.ChangeRows // nil before the first Filter
	atEnd  bool
	number int64 // of the row
}

func (c *changesCursor) Filter(idxNum int, _ string, values ...sqlite3.Value) error {
	if c.main == nil {
		return errNotServed
	}
	if err := c.Close(); err != nil {
		return err
	}
	c.number, c.atEnd = 0, true
	var args [changetable.Arguments]*string
	for arg := range args {
		if idxNum&(1<<arg) == 0 || len(values) == 0 {
			continue
		}
		if values[0].Type() != sqlite3.NULL {
			text := values[0].Text()
			args[arg] = &text
		}
		values = values[1:]
	}
	var err error
	if c.rows, err = c.main.conn.Changes(args[0], args[1], args[2]); err != nil {
		return functionError{err}
	}
	return c.Next()
}

func (c *changesCursor) Next() error {
	c.number++
	ok, err := c.rows.Next()
	if c.atEnd = !ok; err != nil {
		return functionError{err}
	}
	return nil
}

func (c *changesCursor) EOF() bool { return c.atEnd }

func (c *changesCursor) Column(ctx sqlite3.Context, column int) error {
	switch v := c.rows.Value(column).(type) {
	case int64:
		ctx.ResultInt64(v)
	case string:
		ctx.ResultText(v)
	}
	return nil
}

func (c *changesCursor) RowID() (int64, error) { return c.number, nil }

// Close ends the comparison, also in the middle.
func (c *changesCursor) Close() error {
	if c.rows != nil {
		c.rows.Close()
		c.rows = nil
	}
	return nil
}
