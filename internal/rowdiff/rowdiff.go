// Package rowdiff tells which rows differ between two states of a database, from
// the pages that differ. It imports no SQLite.
//
// A leaf that is in the tree of a table in both states, with the same content,
// holds the same rows. So only the other leaves are read, in the order of their
// keys, and their rows are merged: a row that has moved from one leaf to another,
// because of a split or a VACUUM, is in both and is no change. To find the leaves,
// the interior pages of the trees are read, which are about one in a hundred.
//
// SQLite can change the overflow pages of a large row in place, without a change
// of the leaf. A changed page that is explained by nothing else is looked for in
// the overflow chains of the rows of the other leaves, which takes a scan.
package rowdiff

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// Kind says what has changed.
type Kind string

// The kinds of changes.
const (
	TableCreated Kind = "table_created"
	TableDropped Kind = "table_dropped"
	TableAltered Kind = "table_altered"
	Inserted     Kind = "insert"
	Deleted      Kind = "delete"
	Updated      Kind = "update"
)

// Change is a difference between two states.
type Change struct {
	Kind  Kind
	Table string

	// HasRowid tells whether the table has rowids. Rowid is the one of the row.
	HasRowid bool
	Rowid    int64

	// RowidColumn is the name of the column that is the rowid, empty if none is.
	RowidColumn string

	// Key has the indexes in Columns of the primary key of a table without rowids,
	// and Generated those of generated columns.
	Key, Generated []int

	// Old and New are the values of the row before and after, nil if there was or is
	// none. A value is nil, an int64, a float64, a string or a []byte. OldColumns and
	// Columns name them. Virtual columns are left out.
	Old, New            []any
	OldColumns, Columns []string

	// OldSQL and SQL are the statements that create the table before and after. They
	// are set for changes of tables.
	OldSQL, SQL string
}

// Options say what is compared.
type Options struct {
	// Tables are the tables that are compared. None: all but those of SQLite itself.
	Tables []string

	// Differs reports whether a page may differ between the states, and Each calls fn
	// for these pages, in ascending order.
	Differs func(pgno uint32) bool
	Each    func(fn func(pgno uint32))

	Width int // reads at a time; 0: 32
}

// ErrNoTable means that neither state has a table of a name.
var ErrNoTable = errors.New("no such table")

// Diff calls fn with each change that leads from one state to another, by table.
// Tables that were created come before their rows, and those that were dropped
// after them. An error of fn ends it. Errors of damaged pages are errs.ErrCorrupt.
func Diff(ctx context.Context, from, to State, opts Options, fn func(Change) error) error {
	d := &differ{opts: opts, emit: fn}
	d.opts.Width = cmp.Or(d.opts.Width, 32)
	var err error
	if d.old, err = newSide(ctx, from, d.opts.Width); err != nil {
		return fmt.Errorf("the state before: %w", err)
	}
	if d.new, err = newSide(ctx, to, d.opts.Width); err != nil {
		return fmt.Errorf("the state after: %w", err)
	}
	if d.old.encoding != d.new.encoding {
		// Only a database without tables changes its encoding.
		d.old.encoding = d.new.encoding
	}
	d.overflow = view.NewBitmap(max(from.Commit, to.Commit))
	d.trees = view.NewBitmap(max(from.Commit, to.Commit))
	return d.run(ctx)
}

// differ compares two states.
type differ struct {
	opts     Options
	emit     func(Change) error
	old, new *side

	trees    *view.Bitmap // pages of the trees that were looked at, in either state
	overflow *view.Bitmap // pages of overflow chains that were read, in either state
	same     []unchanged
}

// unchanged are the parts of a table that both states share.
type unchanged struct {
	old, new *table
	parts    []part
}

// entry is a table of a schema.
type entry struct {
	name string
	root uint32 // 0: it is virtual
	sql  string
}

// schemaTable describes sqlite_schema.
var schemaTable = &table{
	name: "sqlite_schema", alias: -1, stored: []int{0, 1, 2, 3, 4},
	columns: []column{{name: "type"}, {name: "name"}, {name: "tbl_name"}, {name: "rootpage"}, {name: "sql"}},
}

// schema returns the tables of a state by their names in lower case.
func (d *differ) schema(ctx context.Context, s *side) (map[string]entry, error) {
	t, err := s.outline(ctx, 1)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	d.note(t)
	all := make(map[string]entry)
	for r, err := range d.reader(s, schemaTable, nil).rows(ctx, t.parts) {
		if err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		values, err := schemaTable.values(r, s.encoding)
		if err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		kind, _ := values[0].(string)
		name, _ := values[1].(string)
		root, _ := values[3].(int64)
		sql, _ := values[4].(string)
		if kind != "table" {
			continue
		}
		if root < 0 || root > int64(s.Commit) {
			return nil, fmt.Errorf("%w: table %s has its root at page %d", errs.ErrCorrupt, name, root)
		}
		all[strings.ToLower(name)] = entry{name, uint32(root), sql}
	}
	return all, nil
}

// note adds the pages of a tree to those that are explained.
func (d *differ) note(t *tree) {
	for _, p := range t.parts {
		d.trees.Set(p.pgno)
	}
	for _, pgno := range t.interiors {
		d.trees.Set(pgno)
	}
}

func (d *differ) reader(s *side, t *table, suspects *view.Bitmap) *reader {
	if suspects == nil {
		suspects = view.NewBitmap(0)
	}
	return &reader{side: s, t: t, overflow: d.overflow, suspects: suspects}
}

func (d *differ) run(ctx context.Context) error {
	old, err := d.schema(ctx, d.old)
	if err != nil {
		return fmt.Errorf("the state before: %w", err)
	}
	new, err := d.schema(ctx, d.new)
	if err != nil {
		return fmt.Errorf("the state after: %w", err)
	}
	names, err := d.names(old, new)
	if err != nil {
		return err
	}
	for _, name := range names {
		a, isOld := old[name]
		b, isNew := new[name]
		switch {
		case !isNew:
			err = d.dropped(ctx, a)
		case !isOld:
			err = d.created(ctx, b)
		default:
			err = d.kept(ctx, a, b)
		}
		if err != nil {
			return err
		}
	}
	return d.inPlace(ctx)
}

// names returns the tables that are compared, in ascending order.
func (d *differ) names(old, new map[string]entry) (names []string, err error) {
	if len(d.opts.Tables) == 0 {
		all := maps.Clone(old)
		maps.Copy(all, new)
		for name := range all {
			if !strings.HasPrefix(name, "sqlite_") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names, nil
	}
	for _, name := range d.opts.Tables {
		name = strings.ToLower(name)
		_, isOld := old[name]
		if _, isNew := new[name]; !isOld && !isNew {
			return nil, fmt.Errorf("%w: %s", ErrNoTable, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (d *differ) dropped(ctx context.Context, e entry) error {
	if err := d.all(ctx, d.old, e, func(t *table, r row) error { return d.change(Deleted, t, &r, nil, nil) }); err != nil {
		return err
	}
	return d.emit(Change{Kind: TableDropped, Table: e.name, OldSQL: e.sql})
}

func (d *differ) created(ctx context.Context, e entry) error {
	if err := d.emit(Change{Kind: TableCreated, Table: e.name, SQL: e.sql}); err != nil {
		return err
	}
	return d.all(ctx, d.new, e, func(t *table, r row) error { return d.change(Inserted, nil, nil, t, &r) })
}

// all calls fn with all rows of a table that only one state has.
func (d *differ) all(ctx context.Context, s *side, e entry, fn func(*table, row) error) error {
	if e.root == 0 {
		return nil
	}
	t, tree, err := d.open(ctx, s, e)
	if err != nil {
		return err
	}
	for r, err := range d.reader(s, t, nil).rows(ctx, tree.parts) {
		if err == nil {
			err = fn(t, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open reads what is known of a table in one state.
func (d *differ) open(ctx context.Context, s *side, e entry) (*table, *tree, error) {
	t, err := parseTable(e.sql)
	if err != nil {
		return nil, nil, fmt.Errorf("table %s: %w", e.name, err)
	}
	t.name = e.name
	tree, err := s.outline(ctx, e.root)
	if err != nil {
		return nil, nil, fmt.Errorf("table %s: %w", e.name, err)
	}
	if tree.isIndex != (t.key != nil) {
		return nil, nil, fmt.Errorf("%w: table %s: its tree is not of the kind that its statement says", errs.ErrCorrupt, e.name)
	}
	d.note(tree)
	return t, tree, nil
}

// kept compares a table that both states have.
func (d *differ) kept(ctx context.Context, a, b entry) error {
	if a.root == 0 && b.root == 0 {
		if a.sql != b.sql {
			return d.emit(Change{Kind: TableAltered, Table: b.name, OldSQL: a.sql, SQL: b.sql})
		}
		return nil
	}
	if a.root == 0 || b.root == 0 {
		return d.replaced(ctx, a, b)
	}
	old, oldTree, err := d.open(ctx, d.old, a)
	if err != nil {
		return fmt.Errorf("the state before: %w", err)
	}
	new, newTree, err := d.open(ctx, d.new, b)
	if err != nil {
		return fmt.Errorf("the state after: %w", err)
	}
	if !old.hasKeyOf(new) {
		return d.replaced(ctx, a, b)
	}
	if a.sql != b.sql {
		if err := d.emit(Change{Kind: TableAltered, Table: b.name, OldSQL: a.sql, SQL: b.sql}); err != nil {
			return err
		}
	}
	isSame := func(p part) bool {
		return !d.opts.Differs(p.pgno) && oldTree.pages.Has(p.pgno) && newTree.pages.Has(p.pgno)
	}
	var same, before, after []part
	for _, p := range oldTree.parts {
		if isSame(p) {
			same = append(same, p)
		} else {
			before = append(before, p)
		}
	}
	for _, p := range newTree.parts {
		if !isSame(p) {
			after = append(after, p)
		}
	}
	d.same = append(d.same, unchanged{old, new, same})
	return d.merge(old, new, d.reader(d.old, old, nil).rows(ctx, before), d.reader(d.new, new, nil).rows(ctx, after))
}

// replaced compares a table with one that has its name only.
func (d *differ) replaced(ctx context.Context, a, b entry) error {
	if err := d.dropped(ctx, a); err != nil {
		return err
	}
	return d.created(ctx, b)
}

// hasKeyOf reports whether the rows of two tables are in the same order.
func (t *table) hasKeyOf(u *table) bool {
	return slices.EqualFunc(t.key, u.key, func(a, b key) bool {
		return a.collation == b.collation && a.desc == b.desc && strings.EqualFold(t.columns[a.column].name, u.columns[b.column].name)
	})
}

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
// holds the rows of the state before in memory.
func (d *differ) match(old, new *table, before, after iter.Seq2[row, error]) error {
	keyOf := func(r row) string {
		var b []byte
		for _, f := range r.key {
			b = binary.AppendUvarint(b, f.serial)
			b = append(b, f.bytes...)
		}
		return string(b)
	}
	had := make(map[string]row)
	var order []string
	for r, err := range before {
		if err != nil {
			return err
		}
		k := keyOf(r)
		had[k] = r
		order = append(order, k)
	}
	for r, err := range after {
		if err != nil {
			return err
		}
		if a, ok := had[keyOf(r)]; ok {
			delete(had, keyOf(r))
			err = d.change(Updated, old, &a, new, &r)
		} else {
			err = d.change(Inserted, nil, nil, new, &r)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range order {
		if r, ok := had[k]; ok {
			if err := d.change(Deleted, old, &r, nil, nil); err != nil {
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
	if kind == Updated && bytes.Equal(a.rec, b.rec) && (old == new || slices.EqualFunc(old.columns, new.columns, func(x, y column) bool { return x == y })) {
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
	return slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, name) })
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

// inPlace compares the rows of unchanged leaves whose overflow pages have changed.
func (d *differ) inPlace(ctx context.Context) error {
	suspects, n, err := d.suspects(ctx)
	if err != nil || n == 0 {
		return err
	}
	for _, u := range d.same {
		after := d.reader(d.new, u.new, suspects)
		before := d.reader(d.old, u.old, nil)
		for from := 0; from < len(u.parts); from += d.opts.Width {
			batch := u.parts[from:min(from+d.opts.Width, len(u.parts))]
			hit := false
			for r, err := range after.rows(ctx, batch) {
				if err != nil {
					return err
				}
				hit = hit || r.suspect
			}
			if hit {
				if err := d.merge(u.old, u.new, before.rows(ctx, batch), after.rows(ctx, batch)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// suspects returns the pages that differ and that nothing explains. They may be
// overflow pages that were changed in place.
func (d *differ) suspects(ctx context.Context) (set *view.Bitmap, n int, err error) {
	end := min(d.old.Commit, d.new.Commit) // an overflow page that was changed in place is in both
	var doubtful []uint32
	d.opts.Each(func(pgno uint32) {
		if pgno <= end && pgno != 1 && !d.trees.Has(pgno) && !d.overflow.Has(pgno) {
			doubtful = append(doubtful, pgno)
		}
	})
	set = view.NewBitmap(end)
	if len(doubtful) == 0 {
		return set, 0, nil
	}
	free := view.NewBitmap(max(d.old.Commit, d.new.Commit))
	for _, s := range []*side{d.old, d.new} {
		if err := s.freePages(ctx, free); err != nil {
			return nil, 0, err
		}
	}
	doubtful = slices.DeleteFunc(doubtful, func(pgno uint32) bool { return free.Has(pgno) || d.new.isPointerMap(pgno) })
	overflow, err := d.new.notOfTrees(ctx, doubtful)
	for _, pgno := range overflow {
		set.Set(pgno)
	}
	return set, len(overflow), err
}

// freePages adds the pages of the free list to a set.
func (s *side) freePages(ctx context.Context, free *view.Bitmap) error {
	one, err := s.Page(ctx, 1)
	if err != nil {
		return err
	}
	trunks := view.NewBitmap(s.Commit)
	for pgno := binary.BigEndian.Uint32(one[32:]); pgno != 0; {
		if pgno > s.Commit || !trunks.Set(pgno) {
			return fmt.Errorf("%w: the free list leads to page %d", errs.ErrCorrupt, pgno)
		}
		data, err := s.Page(ctx, pgno)
		if err != nil {
			return err
		}
		free.Set(pgno)
		n := binary.BigEndian.Uint32(data[4:])
		if uint64(n)*4+8 > uint64(s.usable) {
			return fmt.Errorf("%w: page %d of the free list has %d entries", errs.ErrCorrupt, pgno, n)
		}
		for i := range n {
			free.Set(binary.BigEndian.Uint32(data[8+4*i:]))
		}
		pgno = binary.BigEndian.Uint32(data)
	}
	return nil
}

// isPointerMap reports whether a page is one of the pointer map of a database with
// auto_vacuum.
func (s *side) isPointerMap(pgno uint32) bool {
	return s.autoVacuum && pgno >= 2 && (pgno-2)%(uint32(s.usable)/5+1) == 0
}

// notOfTrees returns the pages that are not pages of trees. In databases of 2^25
// pages and more, an overflow page can look like one.
func (s *side) notOfTrees(ctx context.Context, pgnos []uint32) ([]uint32, error) {
	if s.Commit >= 1<<25 {
		return pgnos, nil
	}
	is := make([]bool, len(pgnos))
	err := s.each(ctx, pgnos, func(i int, data []byte) error {
		_, is[i] = btree.Parse(data, pgnos[i], s.usable)
		return nil
	})
	var rest []uint32
	for i, pgno := range pgnos {
		if !is[i] {
			rest = append(rest, pgno)
		}
	}
	return rest, err
}
