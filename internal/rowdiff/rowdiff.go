// Package rowdiff tells which rows differ between two states of a database, from
// the pages that differ. It imports no SQLite.
//
// A leaf that is in the tree of a table in both states, with the same content,
// holds the same rows. So only the other leaves are read, in the order of their
// keys, and their rows are merged: a row that has moved from one leaf to another,
// because of a split or a VACUUM, is in both and is no change. To find the leaves,
// the pages that differ are read first, and the interior pages above their keys. If
// many pages differ, all interior pages are read.
//
// SQLite can change the overflow pages of a large row in place, without a change
// of the leaf. A changed page that is explained by nothing else is looked for in
// the overflow chains of the rows of the other leaves, which takes a scan.
package rowdiff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/sqltokens"
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
	// A table that neither state has is an error, unless MayLack is set.
	Tables  []string
	MayLack bool

	// Differs reports whether a page may differ between the states, and Each calls fn
	// for these pages, in ascending order.
	Differs func(pgno uint32) bool
	Each    func(fn func(pgno uint32))

	Width int // reads at a time; 0: 32

	// Known bounds the pages that differ that are read before all others, in bytes. If
	// more differ, all interior pages of the tables are read. 0: 8 MiB; negative: none.
	Known int
}

// ErrNoTable means that neither state has a table of a name.
var ErrNoTable = errors.New("no such table")

// Diff calls fn with each change that leads from one state to another, by table.
// Tables that were created come before their rows, and those that were dropped
// after them. Rows of unchanged leaves, of which only overflow pages have changed, come
// after all tables, by table again. An error of fn ends it. Errors of damaged pages are
// errs.ErrCorrupt.
func Diff(ctx context.Context, from, to State, opts Options, fn func(Change) error) error {
	d := &differ{opts: opts, emit: fn}
	d.opts.Width = cmp.Or(d.opts.Width, 32)
	d.opts.Known = cmp.Or(d.opts.Known, 8<<20)
	err := both(ctx, func(ctx context.Context, isOld bool) (err error) {
		if isOld {
			d.old, err = newSide(ctx, from, d.opts.Width)
		} else {
			d.new, err = newSide(ctx, to, d.opts.Width)
		}
		return err
	})
	if err != nil {
		return err
	}
	if d.old.encoding != d.new.encoding {
		// Only a database without tables changes its encoding.
		d.old.encoding = d.new.encoding
	}
	d.overflow = view.NewBitmap(max(from.Commit, to.Commit))
	if err := d.readKnown(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

// HasTables returns ErrNoTable if a state lacks one of the named tables.
func HasTables(ctx context.Context, s State, names []string) error {
	d := &differ{opts: Options{Tables: names, Width: 1}, overflow: view.NewBitmap(0)}
	side, err := newSide(ctx, s, d.opts.Width)
	if err != nil {
		return err
	}
	all, err := d.schema(ctx, side)
	if err == nil {
		_, err = d.names(all, nil)
	}
	return err
}

// differ compares two states.
type differ struct {
	opts     Options
	emit     func(Change) error
	old, new *side

	overflow *view.Bitmap // pages of overflow chains that were read, in either state
	kept     []keptTable
}

// keptTable is a table that both states have, with its roots.
type keptTable struct {
	old, new         *table
	oldRoot, newRoot uint32
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

// schema returns the tables of a state by their folded names.
func (d *differ) schema(ctx context.Context, s *side) (map[string]entry, error) {
	t, err := s.outline(ctx, 1)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
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
		all[sqltokens.Fold(name)] = entry{name, uint32(root), sql}
	}
	return all, nil
}

func (d *differ) reader(s *side, t *table, suspects *view.Bitmap) *reader {
	if suspects == nil {
		suspects = view.NewBitmap(0)
	}
	return &reader{side: s, t: t, overflow: d.overflow, suspects: suspects}
}

func (d *differ) run(ctx context.Context) error {
	var old, new map[string]entry
	err := both(ctx, func(ctx context.Context, isOld bool) (err error) {
		if isOld {
			old, err = d.schema(ctx, d.old)
		} else {
			new, err = d.schema(ctx, d.new)
		}
		return err
	})
	if err != nil {
		return err
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
			err = d.compare(ctx, a, b)
		}
		if err != nil {
			return err
		}
	}
	return d.inPlace(ctx)
}

// both calls fn for both states at the same time, and adds the state to its errors.
func both(ctx context.Context, fn func(ctx context.Context, isOld bool) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, isOld := range []bool{true, false} {
		g.Go(func() error {
			err := fn(ctx, isOld)
			switch {
			case err == nil:
				return nil
			case isOld:
				return fmt.Errorf("the state before: %w", err)
			}
			return fmt.Errorf("the state after: %w", err)
		})
	}
	return g.Wait()
}

// names returns the folded names of the tables that are compared, in ascending order.
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
		name = sqltokens.Fold(name)
		_, isOld := old[name]
		_, isNew := new[name]
		switch {
		case isOld || isNew:
			names = append(names, name)
		case !d.opts.MayLack:
			return nil, fmt.Errorf("%w: %s", ErrNoTable, name)
		}
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
	t, err := e.parse()
	if err != nil {
		return err
	}
	tree, err := s.outline(ctx, e.root)
	if err == nil {
		err = t.check(tree)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", e.name, err)
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

// parse reads the definition of a table.
func (e entry) parse() (*table, error) {
	t, err := parseTable(e.sql)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", e.name, err)
	}
	t.name = e.name
	return t, nil
}

// check compares the kind of a tree with that of the table.
func (t *table) check(tree *tree) error {
	if tree.isIndex != (t.key != nil) {
		return fmt.Errorf("%w: table %s: its tree is not of the kind that its statement says", errs.ErrCorrupt, t.name)
	}
	return nil
}

// compare compares a table that both states have.
func (d *differ) compare(ctx context.Context, a, b entry) error {
	if a.root == 0 && b.root == 0 {
		if a.sql != b.sql {
			return d.emit(Change{Kind: TableAltered, Table: b.name, OldSQL: a.sql, SQL: b.sql})
		}
		return nil
	}
	if a.root == 0 || b.root == 0 {
		return d.replaced(ctx, a, b)
	}
	old, err := a.parse()
	if err != nil {
		return fmt.Errorf("the state before: %w", err)
	}
	new, err := b.parse()
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
	k := keptTable{old, new, a.root, b.root}
	m, differs := d.marksOf(new), d.opts.Differs
	if old.readsAs(new) {
		d.kept = append(d.kept, k)
		if m != nil && m.all().isEmpty() && a.root == b.root && !differs(a.root) {
			return nil // it is the same table
		}
	} else {
		m, differs = nil, func(uint32) bool { return true }
	}
	trees, err := d.walk(ctx, k, m, differs)
	if err != nil {
		return fmt.Errorf("table %s: %w", b.name, err)
	}
	before, _ := trees.old.split()
	after, _ := trees.new.split()
	return d.merge(old, new, d.reader(d.old, old, nil).rows(ctx, before), d.reader(d.new, new, nil).rows(ctx, after))
}

// walk goes down to the leaves of both trees of a table.
func (d *differ) walk(ctx context.Context, k keptTable, m *marks, differs func(uint32) bool) (pair, error) {
	trees, err := d.openPair(ctx, k.oldRoot, k.newRoot, m)
	if err == nil {
		err = cmp.Or(k.old.check(trees.old), k.new.check(trees.new))
	}
	if err == nil {
		err = trees.walk(ctx, m, differs)
	}
	return trees, err
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
		return a.collation == b.collation && a.desc == b.desc && sqltokens.EqualFold(t.columns[a.column].name, u.columns[b.column].name)
	})
}

// readsAs reports whether a record has the same values in two tables, but for
// columns at the end that one of them lacks, and for other names of columns. ALTER
// TABLE leaves records as they are only then. A table that was dropped and made anew
// can have the same pages with another meaning.
func (t *table) readsAs(u *table) bool {
	n, stored := min(len(t.columns), len(u.columns)), min(len(t.stored), len(u.stored))
	if t.alias != u.alias || !slices.Equal(t.stored[:stored], u.stored[:stored]) {
		return false
	}
	for i := range n {
		c, o := t.columns[i], u.columns[i]
		isSameName := sqltokens.EqualFold(c.name, o.name) || t.indexOf(o.name) < 0 && u.indexOf(c.name) < 0
		if !isSameName || c.virtual != o.virtual || (c.affinity == realAffinity) != (o.affinity == realAffinity) {
			return false
		}
	}
	return true
}
