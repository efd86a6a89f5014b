package hydrate

import (
	"fmt"
	"path/filepath"
	"testing"
)

// Cells count the pages that are local in the version of the view, whether this process
// owns the file or another one.
func TestCells(t *testing.T) {
	v1 := newView(t, 5, 77)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	want := func(what string, n int, perCell uint32, owned, lent string) {
		t.Helper()
		a, b := owner.cells(n), borrower.cells(n, maxCellChecks)
		if fmt.Sprint(a.Local) != owned || fmt.Sprint(b.Local) != lent || a.PerCell != perCell || b.PerCell != perCell {
			t.Errorf("%s: %d pages in a cell, %v and %v, want %s and %s", what, a.PerCell, a.Local, b.Local, owned, lent)
		}
	}
	want("an empty file", 4, 3, "[0 0 0 0]", "[0 0 0 0]")
	for _, pgno := range []uint32{1, 3, 4, 10} {
		putPage(t, owner, 0, pgno, 5)
	}
	want("four pages", 4, 3, "[2 1 0 1]", "[2 1 0 1]")
	want("four pages, one by one", 100, 1, "[1 0 1 1 0 0 0 0 0 1]", "[1 0 1 1 0 0 0 0 0 1]")
	want("four pages in a cell", 1, 10, "[4]", "[4]")

	v2 := changing(t, v1, 6, 6, 12, 4, 12)
	hold(t, owner, v2)
	r.Views.Current.Store(v2)
	borrower.compare(r, never)
	want("a changed page and a longer database", 4, 3, "[2 0 0 1]", "[2 0 0 1]")
	if c := borrower.cells(2, 3); len(c.Local) != 2 || c.Local[0] > 6 || c.Local[1] > 6 {
		t.Errorf("an estimate is %v", c.Local)
	}
	owner.drop()
	if c := owner.cells(4); c.View != nil || c.Local != nil {
		t.Errorf("after a drop there is %+v", c)
	}
	if c := (*Hydrator)(nil).Cells(4); c.View != nil {
		t.Errorf("without hydration there is %+v", c)
	}
}
