package litestream

import (
	"cmp"
	"context"
	"slices"

	"github.com/superfly/ltx"
)

// TableChanges is how much of a table has changed between two states.
type TableChanges struct {
	Table string `json:"table"`

	// Numbers of rows.
	Inserted int64 `json:"inserted"`
	Deleted  int64 `json:"deleted"`
	Updated  int64 `json:"updated"`

	// Definition is created, dropped, replaced or altered, and empty if the table has
	// the same definition in both states.
	Definition string `json:"definition"`
}

// CountChanges counts what [VFS.Changes] returns, by table. Tables that have not
// changed are left out. It is safe for concurrent use.
func (v *VFS) CountChanges(ctx context.Context, name string, from, to ltx.TXID, tables ...string) ([]TableChanges, error) {
	counts := make(map[string]*TableChanges)
	for c, err := range v.Changes(ctx, name, from, to, tables...) {
		if err != nil {
			return nil, err
		}
		if counts[c.Table] == nil {
			counts[c.Table] = &TableChanges{Table: c.Table}
		}
		counts[c.Table].note(c.Kind)
	}
	all := make([]TableChanges, 0, len(counts))
	for _, c := range counts {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b TableChanges) int { return cmp.Compare(a.Table, b.Table) })
	return all, nil
}

// note counts a change.
func (t *TableChanges) note(kind ChangeKind) {
	switch kind {
	case RowInserted:
		t.Inserted++
	case RowDeleted:
		t.Deleted++
	case RowUpdated:
		t.Updated++
	case TableCreated:
		t.define("created")
	case TableDropped:
		t.define("dropped")
	case TableAltered:
		t.define("altered")
	}
}

// define notes what has become of the definition. A table that was dropped and
// created under the same name was replaced.
func (t *TableChanges) define(what string) {
	if t.Definition != "" && t.Definition != what {
		what = "replaced"
	}
	t.Definition = what
}
