package rowdiff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// isOrdered reports whether compare can order the rows of a table.
func (t *table) isOrdered() bool {
	return !slices.ContainsFunc(t.key, func(k key) bool { return !isKnown(k.collation) })
}

// merge compares the rows of a table that may differ.
func (d *differ) merge(old, new *table, before, after iter.Seq2[row, error]) error {
	if !old.isOrdered() {
		return d.match(old, new, before, after)
	}
	a, stopA := newStream(old, d.old.encoding, before)
	defer stopA()
	b, stopB := newStream(new, d.new.encoding, after)
	defer stopB()
	for {
		if err := errors.Join(a.err, b.err); err != nil {
			return err
		}
		order := 0
		switch {
		case !a.ok && !b.ok:
			return nil
		case !a.ok:
			order = 1
		case !b.ok:
			order = -1
		default:
			order = old.compare(a.row, b.row, d.new.encoding)
		}
		var err error
		switch {
		case order < 0:
			err = d.change(Deleted, old, &a.row, nil, nil)
			a.next()
		case order > 0:
			err = d.change(Inserted, nil, nil, new, &b.row)
			b.next()
		default:
			err = d.change(Updated, old, &a.row, new, &b.row)
			a.next()
			b.next()
		}
		if err != nil {
			return err
		}
	}
}

// match is merge for a table whose order is that of a collation of the program. It
// holds the rows of the state after in memory. It emits the inserted rows last: their
// keys may be the same as those of deleted rows by the collation, and a program that
// applies the changes one by one can have only one row of them.
func (d *differ) match(old, new *table, before, after iter.Seq2[row, error]) error {
	keyOf := func(r row) string {
		var b []byte
		for _, f := range r.key {
			b = binary.AppendUvarint(b, f.serial)
			b = append(b, f.bytes...)
		}
		return string(b)
	}
	has := make(map[string]row)
	var order []string
	for r, err := range after {
		if err != nil {
			return err
		}
		k := keyOf(r)
		has[k] = r
		order = append(order, k)
	}
	for r, err := range before {
		if err != nil {
			return err
		}
		k := keyOf(r)
		if b, ok := has[k]; ok {
			delete(has, k)
			err = d.change(Updated, old, &r, new, &b)
		} else {
			err = d.change(Deleted, old, &r, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range order {
		if r, ok := has[k]; ok {
			if err := d.change(Inserted, nil, nil, new, &r); err != nil {
				return err
			}
		}
	}
	return nil
}

// stream is the rows of one state, which must be in the order of their keys.
type stream struct {
	t    *table
	e    encoding
	pull func() (row, error, bool)

	row row
	ok  bool // there is a row
	err error
	any bool // there was one
}

func newStream(t *table, e encoding, rows iter.Seq2[row, error]) (*stream, func()) {
	pull, stop := iter.Pull2(rows)
	s := &stream{t: t, e: e, pull: pull}
	s.next()
	return s, stop
}

func (s *stream) next() {
	last := s.row
	s.row, s.err, s.ok = s.pull()
	if s.err != nil {
		s.ok = false
		return
	}
	if s.ok && s.any && s.t.compare(last, s.row, s.e) >= 0 {
		s.ok, s.err = false, fmt.Errorf("%w: the rows of table %s are not in order", errs.ErrCorrupt, s.t.name)
	}
	s.any = s.any || s.ok
}

// change emits a change of a row, unless the row is the same.
func (d *differ) change(kind Kind, old *table, a *row, new *table, b *row) (err error) {
	if kind == Updated && bytes.Equal(a.rec, b.rec) && old.alias == new.alias && slices.Equal(old.columns, new.columns) {
		return nil
	}
	c := Change{Kind: kind}
	if a != nil {
		c.of(old, a)
		c.OldColumns = old.names()
		if c.Old, err = old.values(*a, d.old.encoding); err != nil {
			return err
		}
	}
	if b != nil {
		c.of(new, b)
		c.Columns = new.names()
		if c.New, err = new.values(*b, d.new.encoding); err != nil {
			return err
		}
	} else {
		c.Columns = c.OldColumns
	}
	if kind == Updated {
		if same, err := isSameRow(&c, new); err != nil || same {
			return err
		}
	}
	return d.emit(c)
}

// of sets what tells which row a change is of.
func (c *Change) of(t *table, r *row) {
	c.Table, c.HasRowid, c.Rowid = t.name, t.key == nil, r.rowid
	if t.alias >= 0 {
		c.RowidColumn = t.columns[t.alias].name
	}
	c.Key, c.Generated = nil, nil
	at := make([]int, len(t.columns)) // index among the columns that rows have values of
	n := 0
	for i, column := range t.columns {
		if at[i] = n; column.virtual {
			continue
		}
		if column.generated {
			c.Generated = append(c.Generated, n)
		}
		n++
	}
	for _, k := range t.key {
		c.Key = append(c.Key, at[k.column])
	}
}

// isSameRow reports whether a row has the same values after a change of its record,
// such as one by a column that was added or dropped.
func isSameRow(c *Change, new *table) (bool, error) {
	for i, name := range c.Columns {
		n := indexOf(c.OldColumns, name)
		if n < 0 && len(c.OldColumns) == len(c.Columns) && indexOf(c.Columns, c.OldColumns[i]) < 0 {
			n = i // it was renamed
		}
		var before any
		if n >= 0 {
			before = c.Old[n]
		} else {
			var err error
			if before, err = new.columns[new.indexOf(name)].defaultOf(); err != nil {
				return false, err
			}
		}
		if !isSameValue(before, c.New[i]) {
			return false, nil
		}
	}
	return true, nil
}

// indexOf returns the index of a name, -1 if there is none.
func indexOf(names []string, name string) int {
	return slices.IndexFunc(names, func(s string) bool { return sqltokens.EqualFold(s, name) })
}

func isSameValue(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	if _, ok := b.([]byte); ok {
		return false
	}
	return a == b
}
