package view_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestTable_Ranges visits ranges of pages of tables whose index was read and of others,
// with borders at the ends of chunks and nodes and beside them.
func TestTable_Ranges(t *testing.T) {
	const node = 1 << 16
	commit := uint32(2*node + 300)
	sparse, index := viewtest.File(t, 1, 1, 4096, 1, viewtest.AllPages(4096, 1))
	few := viewtest.Advance(t, new(view.View), sparse, index)
	f, index := viewtest.File(t, 2, 2, 4096, commit, slices.Values([]uint32{2, 255, 256, 257, node - 1, node, node + 1, node + 256, 2*node - 1, 2 * node, commit}))
	few = viewtest.Advance(t, few, f, index)
	unread := viewtest.Advance(t, new(view.View), viewtest.EncodeDenseOfSizes(t, 1, 4096, commit, func(uint32) uint64 { return 50 }).Unread(t, nil), ltxio.Index{})
	f, index = viewtest.File(t, 2, 2, 4096, commit, slices.Values([]uint32{3, node, node + 1}))
	unread = viewtest.Advance(t, unread, f, index)
	borders := []uint32{0, 1, 2, 3, 255, 256, 257, 258, 512, node - 256, node - 1, node, node + 1, node + 255, node + 256, node + 257, 2*node - 1, 2 * node, 2*node + 1, commit - 1, commit, commit + 1, math.MaxUint32}
	for name, v := range map[string]*view.View{"few pages": few, "unread": unread} {
		set := view.NewBitmap(commit)
		for _, pgno := range []uint32{2, 256, node, 2 * node} {
			set.Set(pgno)
		}
		for _, first := range borders {
			for _, last := range borders {
				if name == "unread" && last-first > 1000 && last > first { // it would visit every page
					continue
				}
				for _, missing := range []*view.Bitmap{nil, set} {
					var want, got []uint32
					for pgno := max(1, first); first > 0 && pgno <= min(last, commit+2); pgno++ {
						if _, ok := v.Lookup(pgno); ok && (missing == nil || !missing.Has(pgno)) {
							want = append(want, pgno)
						}
					}
					v.Pages.EachMissing(missing, first, last, func(pgno uint32, _ view.Loc) bool { got = append(got, pgno); return true })
					if !slices.Equal(got, want) {
						t.Fatalf("%s, from %d to %d: %v, want %v", name, first, last, got, want)
					}
					if len(want) > 1 {
						n := 0
						v.Pages.EachMissing(missing, first, last, func(uint32, view.Loc) bool { n++; return n < 2 })
						if n != 2 {
							t.Errorf("%s, from %d to %d: %d calls after the one that ended it", name, first, last, n-2)
						}
					}
				}
			}
		}
	}
}

// count returns how many pages of a view count for each file, by its last transaction.
func count(v *view.View) map[ltx.TXID]int {
	counts := make(map[ltx.TXID]int)
	v.EachSource(func(s view.Source, pages int) { counts[s.File.MaxTXID] += pages })
	return counts
}

// TestTable_Truncated cuts databases off at chunks and nodes and beside them, also in the
// middle of a file whose index was not read. What counts is what is left.
func TestTable_Truncated(t *testing.T) {
	const node = 1 << 16
	commit := uint32(2*node + 300)
	dense := viewtest.EncodeDenseOfSizes(t, 1, 4096, commit, func(uint32) uint64 { return 50 })
	for _, least := range []uint32{1, 2, 255, 256, 257, node - 1, node, node + 1, node + 256, 2*node - 1, 2 * node, commit - 1, commit} {
		for name, first := range map[string]*view.File{"read": dense.Whole(), "unread": dense.Unread(t, nil)} {
			index := dense.Index
			if first.Dense != nil {
				index = ltxio.Index{}
			}
			v := viewtest.Advance(t, new(view.View), first, index)
			changed := []uint32{1, 256, 257, node, node + 1, 2 * node, commit}
			f, index := viewtest.File(t, 2, 2, 4096, commit, slices.Values(changed))
			v = viewtest.Advance(t, v, f, index)
			f, index = viewtest.File(t, 3, 3, 4096, least, slices.Values([]uint32{1}))
			v = viewtest.Advance(t, v, f, index)
			isLeft := 0
			for _, pgno := range changed[1:] {
				if pgno <= least {
					isLeft++
				}
			}
			want := map[ltx.TXID]int{1: int(least) - 1 - isLeft, 2: isLeft, 3: 1}
			got := count(v)
			for txid, n := range want {
				if got[txid] != n {
					t.Errorf("%s, cut off to %d pages: %d count for file %d, want %d", name, least, got[txid], txid, n)
				}
			}
			if v.Pages.End() != least || v.Pages.Len() != int64(least) {
				t.Errorf("%s, cut off to %d pages: %d up to %d", name, least, v.Pages.Len(), v.Pages.End())
			}
			// When it grows again, its pages do not come back.
			f, index = viewtest.File(t, 4, 4, 4096, commit, slices.Values([]uint32{1}))
			v = viewtest.Advance(t, v, f, index)
			if v.Pages.Len() != int64(least) || v.Pages.End() != least {
				t.Errorf("%s, cut off to %d pages and grown: %d up to %d", name, least, v.Pages.Len(), v.Pages.End())
			}
		}
	}
}

// TestTable_TruncatedAtLock cuts databases off around the lock page, which counts for no
// file.
func TestTable_TruncatedAtLock(t *testing.T) {
	lock := ltx.LockPgno(65536)
	e := viewtest.EncodeDenseOfSizes(t, 5, 65536, lock+300, func(uint32) uint64 { return 50 })
	for _, least := range []uint32{lock - 300, lock - 2, lock - 1, lock, lock + 1, lock + 2} {
		for name, isUnread := range map[string]bool{"read": false, "unread": true} {
			first, index := e.Whole(), e.Index
			if isUnread {
				first, index = e.Unread(t, nil), ltxio.Index{}
			}
			v := viewtest.Advance(t, new(view.View), first, index)
			f, index := viewtest.File(t, 6, 6, 65536, least, slices.Values([]uint32{1}))
			v = viewtest.Advance(t, v, f, index)
			want := int(least)
			if least >= lock {
				want--
			}
			if got := count(v); got[5] != want-1 || got[6] != 1 || v.Pages.Len() != int64(want) {
				t.Errorf("%s, %d pages: %d and %d count, want %d", name, least, got[5], got[6], want-1)
			}
		}
	}
}

// A header may say that a database ends with the lock page, which no SQLite writes.
func TestTable_EndsWithLock(t *testing.T) {
	lock := ltx.LockPgno(65536)
	for _, commit := range []uint32{lock - 1, lock, lock + 1} {
		e := viewtest.EncodeDenseOfSizes(t, 1, 65536, commit, func(uint32) uint64 { return 50 })
		whole, unread := viewtest.Advance(t, new(view.View), e.Whole(), e.Index), viewtest.Advance(t, new(view.View), e.Unread(t, nil), ltxio.Index{})
		want := commit
		if commit == lock {
			want--
		}
		for name, v := range map[string]*view.View{"read": whole, "unread": unread} {
			if v.Pages.End() != want {
				t.Errorf("%s, %d pages: the last one is %d, want %d", name, commit, v.Pages.End(), want)
			}
		}
		view.EachDifference(&whole.Pages, &unread.Pages, func(pgno uint32) { t.Errorf("%d pages: page %d differs", commit, pgno) })
	}
	if end := new(view.View).Pages.End(); end != 0 {
		t.Errorf("a view of nothing ends with page %d", end)
	}
}

// TestEachDifference_Dense compares databases of files whose page indexes were not read:
// pages beyond the end of one of them differ, and so do all if the versions do.
func TestEachDifference_Dense(t *testing.T) {
	const node = 1 << 16
	of := func(txid ltx.TXID, commit uint32) *view.View {
		e := viewtest.EncodeDenseOfSizes(t, txid, 4096, commit, func(uint32) uint64 { return 50 })
		return viewtest.Advance(t, new(view.View), e.Unread(t, nil), ltxio.Index{})
	}
	nothing := new(view.View)
	for name, c := range map[string]struct {
		a, b        *view.View
		first, last uint32 // pages that differ; 0: none
	}{
		"the same version":      {of(5, 300), of(5, 300), 0, 0},
		"another version":       {of(5, 300), of(6, 300), 1, 300},
		"a chunk less":          {of(5, 300), of(5, 256), 257, 300},
		"a page less":           {of(5, 300), of(5, 299), 300, 300},
		"a node less":           {of(5, node+10), of(5, node), node + 1, node + 10},
		"nothing and a page":    {nothing, of(5, 1), 1, 1},
		"nothing and a chunk":   {nothing, of(5, 256), 1, 256},
		"nothing and nothing":   {nothing, new(view.View), 0, 0},
		"nodes and a page less": {of(5, 3*node+10), of(5, 3*node), 3*node + 1, 3*node + 10},
		"many nodes, a page":    {of(5, 4*node), of(5, 4*node-1), 4 * node, 4 * node},
		"other nodes, shorter":  {of(5, 2*node), of(6, 10), 1, 2 * node},
	} {
		for order, pair := range [][2]*view.View{{c.a, c.b}, {c.b, c.a}} {
			next := c.first
			view.EachDifference(&pair[0].Pages, &pair[1].Pages, func(pgno uint32) {
				if pgno != next {
					t.Fatalf("%s, order %d: page %d differs, want %d", name, order, pgno, next)
				}
				next++
			})
			if c.first > 0 && next != c.last+1 {
				t.Errorf("%s, order %d: the last page that differs is %d, want %d", name, order, next-1, c.last)
			}
		}
	}
}

// TestAdvance_OtherPageSize applies files of another page size. They have to hold every
// page, because none of those before is left.
func TestAdvance_OtherPageSize(t *testing.T) {
	lock := ltx.LockPgno(65536)
	for name, c := range map[string]struct {
		minTXID ltx.TXID
		commit  uint32
		first   uint32 // of the pages in the file
		ok      bool
	}{
		"a whole database":                {1, 10, 1, true},
		"all pages":                       {6, 10, 1, true},
		"all but the first":               {6, 10, 2, false},
		"up to the lock page":             {6, lock - 1, 1, true},
		"all pages beside the lock page":  {6, lock + 1, 1, true},
		"not all beside the lock page":    {6, lock + 1, 2, false},
		"all, of which the last is none":  {6, lock, 1, true},
		"a whole one with the lock page":  {1, lock + 1, 1, true},
		"one less, up to the lock page":   {6, lock - 1, 2, false},
		"one less, and the lock page end": {6, lock, 2, false},
	} {
		f, index := viewtest.File(t, 1, 5, 4096, 10, viewtest.AllPages(4096, 10))
		v := viewtest.Advance(t, new(view.View), f, index)
		pages := func(yield func(uint32) bool) {
			for pgno := range viewtest.AllPages(65536, c.commit) {
				if pgno >= c.first && !yield(pgno) {
					return
				}
			}
		}
		f, index = viewtest.FileOfSizes(t, c.minTXID, 7, 65536, c.commit, pages, func(uint32) uint64 { return 20 })
		next, err := v.Advance(f, index)
		if (err == nil) != c.ok || err != nil && (!errors.Is(err, view.ErrOtherPageSize) || !errors.Is(err, errs.ErrCorrupt)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (next.Epoch != v.Epoch+1 || next.Pages.Len() != int64(f.Frames)) {
			t.Errorf("%s: epoch %d, %d pages, want %d", name, next.Epoch, next.Pages.Len(), f.Frames)
		}
	}
}

// TestRelocate_Nothing relocates pages to a file that has them already, to one of another
// page size, and to one that has none of them. Nothing is moved.
func TestRelocate_Nothing(t *testing.T) {
	for name, isDense := range map[string]bool{"read": false, "unread": true} {
		e := viewtest.EncodeDense(t, 5, 4096, 10)
		first, index := e.Whole(), e.Index
		if isDense {
			first, index = e.Unread(t, nil), ltxio.Index{}
		}
		v := viewtest.Advance(t, new(view.View), first, index)
		f, newer := viewtest.File(t, 6, 6, 4096, 10, slices.Values([]uint32{1, 2}))
		v = viewtest.Advance(t, v, f, newer)
		if next, n, err := v.Relocate(first, index); err != nil || n != 0 || next != v {
			t.Errorf("%s: %d pages are moved to their own file, %v", name, n, err)
		}
		if next, n, err := v.Relocate(f, newer); err != nil || n != 0 || next != v {
			t.Errorf("%s: %d changed pages are moved to their own file, %v", name, n, err)
		}
		old, index := viewtest.File(t, 1, 4, 4096, 10, viewtest.AllPages(4096, 10))
		if next, n, err := v.Relocate(old, index); err != nil || n != 0 || next != v {
			t.Errorf("%s: %d pages are moved to an older file, %v", name, n, err)
		}
		other, index := viewtest.File(t, 1, 6, 8192, 10, viewtest.AllPages(8192, 10))
		if next, n, err := v.Relocate(other, index); !errors.Is(err, errs.ErrCorrupt) || n != 0 || next != nil {
			t.Errorf("%s: %d pages are moved to a file of another page size, %v", name, n, err)
		}
		same, index := viewtest.File(t, 1, 6, 4096, 10, viewtest.AllPages(4096, 10))
		if next, n, err := v.Relocate(same, index); err != nil || n != 10 || next == v {
			t.Errorf("%s: %d pages are moved to a file that has them, %v", name, n, err)
		}
	}
}
