package pages

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/btree/btreetest"
	"github.com/ltxvfs/litestream/internal/view"
)

// TestTreeWalk_Families finds the trees of tables whose names differ in the case of a
// letter that SQLite knows no case of.
func TestTreeWalk_Families(t *testing.T) {
	_, _, w := openTrees(t, map[uint32][]byte{1: schemaPage(map[string]uint32{"Ä": 2, "by:Ä": 3, "ä": 4, "Mixed": 5}), 5: make([]byte, bedPageSize)})
	all := w.families()
	for name, want := range map[string]family{"Ä": {2, []uint32{3, 2}}, "ä": {4, []uint32{4}}, "mixed": {5, []uint32{5}}} {
		if got := all[name]; got.table != want.table || !slices.Equal(got.trees, want.trees) {
			t.Errorf("table %s has %+v, want %+v", name, got, want)
		}
	}
	if len(all) != 3 {
		t.Errorf("%d tables: %+v", len(all), all)
	}
}

// TestTreeWalk_Place confirms a place by the parent as a view has it.
func TestTreeWalk_Place(t *testing.T) {
	client := newHookClient()
	first := map[uint32][]byte{3: btreetest.Interior(bedPageSize, 4, 5, 6)}
	for pgno := range uint32(9) {
		if pgno+1 != 3 {
			first[pgno+1] = fakePage(pgno+1, 1)
		}
	}
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 9, 1000, first)
	b := openBed(t, client, Options{})
	before := b.Current.Load()
	want := func(v *view.View, pgno, parent uint32, i int) {
		t.Helper()
		at, ok := treeWalk{pages: b.source, v: v}.place(pgno)
		if ok != (parent != 0) || ok && (at.parent != parent || at.i != i || at.pgno() != pgno) {
			t.Errorf("as of %s, page %d is child %d of %d, %v", v.TXID, pgno, at.i, at.parent, ok)
		}
	}
	want(before, 4, 3, 0)
	want(before, 5, 3, 1)
	want(before, 6, 3, 2)
	want(before, 7, 0, 0)
	want(before, 3, 0, 0)

	// Page 6 is moved to a new parent, and page 5 goes.
	putPages(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 9, 2000, map[uint32][]byte{
		3: btreetest.Interior(bedPageSize, 4, 9), 8: btreetest.Interior(bedPageSize, 7, 6),
	})
	b.advance(t)
	v := b.Current.Load()
	want(v, 4, 3, 0)
	want(v, 5, 0, 0)
	want(v, 6, 8, 1)
	want(v, 7, 8, 0)
	want(v, 9, 3, 1)
	after := treeWalk{pages: b.source, v: v}
	if !after.isAfter(9, 4) || !after.isAfter(4, 9) || after.isAfter(4, 6) {
		t.Error("page 9 is beside page 4, and not page 6")
	}
	if after.isAfter(5, 4) {
		t.Error("a page that went is still beside another")
	}
	want(before, 5, 3, 1)
	want(before, 6, 0, 0) // its parent is page 8 now, which was none before
	want(before, 9, 0, 0)

	// A parent that is not here confirms nothing, and is not asked for.
	b.dropCache()
	opens := client.opens.Load()
	want(v, 4, 0, 0)
	if _, err := b.source.Page(t.Context(), v, 3); err != nil {
		t.Fatal(err)
	}
	want(v, 4, 3, 0)
	if n := client.opens.Load() - opens; n != 1 {
		t.Errorf("%d requests", n)
	}
}
