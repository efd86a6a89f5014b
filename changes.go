package litestream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// ChangeKind says what a Change is.
type ChangeKind string

// The kinds of changes.
const (
	TableCreated ChangeKind = "table_created"
	TableDropped ChangeKind = "table_dropped"
	TableAltered ChangeKind = "table_altered" // its CREATE TABLE statement is another one
	RowInserted  ChangeKind = "insert"
	RowDeleted   ChangeKind = "delete"
	RowUpdated   ChangeKind = "update"
)

// Change is a difference between two states of a database. [VFS.Changes] returns
// them.
type Change struct {
	Kind  ChangeKind
	Table string

	// HasRowid tells whether the table has rowids, and Rowid is the one of the row.
	HasRowid bool
	Rowid    int64

	// RowidColumn is the name of the column that is the rowid, because it is an
	// INTEGER PRIMARY KEY; empty if there is none.
	RowidColumn string

	// Key has the indexes in Columns of the primary key of a table WITHOUT ROWID, and
	// Generated those of generated columns that are STORED. Others are left out of
	// Columns.
	Key, Generated []int

	// Old and New are the values of the row before and after the change. Old is nil
	// for an inserted row, New for a deleted one. A value is nil, an int64, a float64,
	// a string, or a []byte. OldColumns and Columns are the names of the columns, which
	// differ if the table was altered. For a deleted row they are the same.
	Old, New            []any
	OldColumns, Columns []string

	// OldSQL and SQL are the CREATE TABLE statements before and after. They are set
	// for changes of tables.
	OldSQL, SQL string
}

// ErrNoTable means that a database has no table of a name.
var ErrNoTable = rowdiff.ErrNoTable

// changesAtOnce is how many pages are read at a time to compare two states.
const changesAtOnce = DefaultMaxConcurrentRequests

// Changes returns what has changed in a database from the state after transaction
// from to the state after transaction to, as far as both can be [travelled to]. If
// to is the earlier one, the changes lead back. Transaction 0 as to is the newest
// one, and as from ErrTxNotAvailable, since no transaction has that number. The name
// is the file name under which the database was opened, or the URL of its replica. If
// it is not open, Changes opens it. Without names of tables, all tables are compared
// but those of SQLite itself, whose names begin with sqlite_.
//
// Changes are ordered by table, and within a table by the key of the row. If the
// primary key has a collation of the program, inserted rows come after the others. A
// table that was created comes before its rows, and one that was dropped after them.
// Rows of which only the end of a large value has changed, in place and beyond the
// page of the row, may come after all tables, by table and key again.
//
// A row is told from others by its rowid, or by the primary key of a table WITHOUT
// ROWID; VACUUM may change the rowids of tables without an INTEGER PRIMARY KEY. Rows
// that have only moved are no changes. Of an altered table, rows that were not written
// since do not come: they have the default values of columns that were added. A table
// WITHOUT ROWID counts as dropped and created if its primary key is another one, also
// if only the name of a column is, and all of its rows come.
//
// Only pages that differ are read, and the interior pages above them; all interior
// pages of the tables, if more than 8 MiB differ. The memory that this takes does not
// depend on the number of changes, but for tables whose primary key has a collation of
// the program. If large values were changed in place, the leaves of the tables are read
// as well. After an error, the sequence ends; a
// damaged page is ErrCorrupt. It is safe for concurrent use.
//
// [travelled to]: https://github.com/ltxvfs/litestream/blob/main/docs/time-travel.md
func (v *VFS) Changes(ctx context.Context, name string, from, to ltx.TXID, tables ...string) iter.Seq2[Change, error] {
	return sequence(ctx, v, name, func(db *database, emit func(Change) error) error {
		err := db.changes(ctx, from, to, tables, func(c rowdiff.Change) error { return emit(publicChange(c)) })
		if err != nil {
			return fmt.Errorf("changes of %s: %w", db.place, err)
		}
		return nil
	})
}

func publicChange(c rowdiff.Change) Change {
	return Change{
		Kind: ChangeKind(c.Kind), Table: c.Table, HasRowid: c.HasRowid, Rowid: c.Rowid, RowidColumn: c.RowidColumn, Key: c.Key, Generated: c.Generated,
		Old: c.Old, New: c.New, OldColumns: c.OldColumns, Columns: c.Columns, OldSQL: c.OldSQL, SQL: c.SQL,
	}
}

// changes calls fn with what has changed between two transactions.
func (db *database) changes(ctx context.Context, from, to ltx.TXID, tables []string, fn func(rowdiff.Change) error) error {
	if to == 0 {
		to = db.Current.Load().TXID
	}
	before, err := db.travelTo(ctx, from)
	if err != nil {
		return err
	}
	after, err := db.travelTo(ctx, to)
	if err != nil {
		return err
	}
	d, err := db.difference(ctx, before, after)
	if err != nil {
		return err
	}
	return d.rows(ctx, rowdiff.Options{Tables: tables}, fn)
}

// difference is two states of a database, whose rows can be compared.
type difference struct {
	pages         *pages.Source
	ahead         *pages.Prefetcher
	before, after *view.View
	written       *remote.Written // in between

	// pageTimeout limits the read of a page; negative: it does not. beforePage is called
	// before each, by several goroutines; nil: nothing is.
	pageTimeout time.Duration
	beforePage  func()
}

// difference finds out which pages may differ between two states, from listings and
// page indexes.
func (db *database) difference(ctx context.Context, before, after *view.View) (*difference, error) {
	if before.TXID == 0 || after.TXID == 0 {
		return nil, fmt.Errorf("%w: no transaction is on the replica yet", ErrNoDatabase)
	}
	if before.Epoch != after.Epoch {
		return nil, fmt.Errorf("%w: the replica was replaced meanwhile", errs.ErrStateGone)
	}
	files, err := db.store.ListAll(ctx, false)
	if err != nil {
		return nil, err
	}
	written, err := db.store.WrittenBetween(ctx, min(before.TXID, after.TXID), max(before.TXID, after.TXID), files)
	if err != nil && !errs.IsMissing(err) { // a file that was deleted just now tells nothing
		return nil, err
	}
	return db.between(before, after, written), nil
}

// between returns two states of the database, and what was written in between, if
// that is known.
func (db *database) between(before, after *view.View, written *remote.Written) *difference {
	return &difference{pages: db.pages, ahead: db.prefetcher, before: before, after: after, written: written, pageTimeout: -1}
}

// differs reports whether a page may differ. Pages that were not written in between
// are known to be the same.
func (d *difference) differs(pgno uint32) bool {
	a, isOld := d.before.Lookup(pgno)
	b, isNew := d.after.Lookup(pgno)
	return isOld != isNew || isOld && a.Version != b.Version && d.written.Has(pgno)
}

// rows calls fn with each change. The options say which tables are compared, and how.
func (d *difference) rows(ctx context.Context, opts rowdiff.Options, fn func(rowdiff.Change) error) error {
	opts.Differs = d.differs
	opts.Each = func(fn func(uint32)) {
		view.EachDifference(&d.before.Pages, &d.after.Pages, func(pgno uint32) {
			if d.differs(pgno) {
				fn(pgno)
			}
		})
	}
	opts.Width = changesAtOnce
	return rowdiff.Diff(ctx, d.state(d.before), d.state(d.after), opts, fn)
}

// state returns a view as a state whose rows can be compared.
func (d *difference) state(v *view.View) rowdiff.State {
	return rowdiff.State{
		Commit: v.Commit,
		Page: func(ctx context.Context, pgno uint32) ([]byte, error) {
			if d.beforePage != nil {
				d.beforePage()
			}
			ctx, cancel := task.WithTimeout(ctx, d.pageTimeout)
			defer cancel()
			page, err := d.pages.Page(ctx, v, pgno)
			if page == nil && err == nil {
				page = make([]byte, v.PageSize) // it was never written
			}
			return page, causeOf(ctx, err)
		},
		Ahead: func(pgnos []uint32) { d.ahead.PrefetchSparse(v, pgnos) },
	}
}
