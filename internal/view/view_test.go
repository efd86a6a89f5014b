package view_test

import (
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// TestPromise8_IndexMemory builds the index of 2.6 million pages, 10 GB, in the
// best case, and one in the worst, where every page was changed by another file
// than its neighbours, and weighs them.
func TestPromise8_IndexMemory(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	const commit = 2_600_000
	v, size := viewtest.HeapOf(func() *view.View {
		f, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
		return viewtest.Advance(t, new(view.View), f, index)
	})
	perPage := float64(size) / commit
	t.Logf("one snapshot: %.2f bytes a page", perPage)
	if perPage > 12 {
		t.Errorf("one snapshot: %.2f bytes a page, promised are 12", perPage)
	}
	runtime.KeepAlive(v)

	const mixed = 300_000
	v, size = viewtest.HeapOf(func() *view.View {
		f, index := viewtest.File(t, 1, 1, 4096, mixed, viewtest.AllPages(4096, mixed))
		v := viewtest.Advance(t, new(view.View), f, index)
		for txid := ltx.TXID(2); txid <= 1025; txid++ {
			f, index := viewtest.File(t, txid, txid, 4096, mixed, viewtest.Scattered(uint32(txid-1), 1024, mixed))
			v = viewtest.Advance(t, v, f, index)
		}
		return v
	})
	perPage = float64(size) / mixed
	t.Logf("1024 files, pages of all mixed: %.2f bytes a page", perPage)
	if perPage > 12 {
		t.Errorf("pages of 1024 files mixed: %.2f bytes a page, promised are 12", perPage)
	}
	if files := v.Files(); len(files) != 1024 {
		t.Errorf("%d files referenced, want 1024: the snapshot has no page left", len(files))
	}
}

// TestPromise8_LongFollowing applies many thousand files: what is
// superseded must not pile up.
func TestPromise8_LongFollowing(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	const commit, cycle = 50_000, 500
	build := func(n ltx.TXID) func() *view.View {
		return func() *view.View {
			f, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
			v := viewtest.Advance(t, new(view.View), f, index)
			for txid := ltx.TXID(2); txid <= n; txid++ {
				f, index := viewtest.File(t, txid, txid, 4096, commit, viewtest.Scattered(uint32(txid%cycle)+1, cycle, commit))
				v = viewtest.Advance(t, v, f, index)
			}
			return v
		}
	}
	v, short := viewtest.HeapOf(build(1000))
	runtime.KeepAlive(v)
	v, long := viewtest.HeapOf(build(4000))
	t.Logf("%d bytes after 1000 files, %d after 4000", short, long)
	if long > short+short/10 {
		t.Errorf("the index has grown from %d bytes after 1000 files to %d after 4000", short, long)
	}
	runtime.KeepAlive(v)
}

// TestPageTable_ReusesNumbers applies many small files to a small database:
// the table of files, which every edit copies, holds those with pages.
func TestPageTable_ReusesNumbers(t *testing.T) {
	const commit, files = 64, 5000
	f, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), f, index)
	for txid := ltx.TXID(2); txid <= files; txid++ {
		f, index := viewtest.File(t, txid, txid, 4096, commit, viewtest.Scattered(uint32(txid%16)+1, 16, commit))
		v = viewtest.Advance(t, v, f, index)
	}
	if n := len(v.Files()); n != 16 {
		t.Errorf("pages lie in %d files, want 16", n)
	}
	if n := view.SourceSlots(v); n > 2*view.SourceNodeLen {
		t.Errorf("%d numbers for %d files, of which 16 have pages", n, files)
	}
}

func TestView_LockPage(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	// The smallest page size puts the lock page furthest.
	for _, pageSize := range []uint32{512, 65536} {
		lock := ltx.LockPgno(pageSize)
		commit := lock + 300
		f, index := viewtest.File(t, 1, 1, pageSize, commit, viewtest.AllPages(pageSize, commit))
		v := viewtest.Advance(t, new(view.View), f, index)
		for _, pgno := range []uint32{lock - 1, lock, lock + 1, commit, commit + 1, 0} {
			_, ok := v.Lookup(pgno)
			if want := pgno != lock && pgno <= commit && pgno > 0; ok != want {
				t.Errorf("page size %d: page %d is there: %v", pageSize, pgno, ok)
			}
		}
	}
}

func TestView_Rules(t *testing.T) {
	f1, index1 := viewtest.File(t, 1, 5, 4096, 10, viewtest.AllPages(4096, 10))
	v := viewtest.Advance(t, new(view.View), f1, index1)
	gap, index := viewtest.File(t, 7, 7, 4096, 10, viewtest.Scattered(1, 3, 10))
	if _, err := v.Advance(gap, index); err == nil {
		t.Error("a file after a gap is applied")
	}
	old, index := viewtest.File(t, 4, 5, 4096, 10, viewtest.Scattered(1, 3, 10))
	if _, err := v.Advance(old, index); err == nil {
		t.Error("a file without news is applied")
	}
	other, index := viewtest.File(t, 6, 6, 8192, 10, viewtest.Scattered(1, 3, 10))
	if _, err := v.Advance(other, index); err == nil {
		t.Error("a file of another page size is applied")
	}
	newer, index := viewtest.File(t, 5, 6, 4096, 10, viewtest.Scattered(1, 3, 10))
	if _, _, err := v.Relocate(newer, index); err == nil {
		t.Error("pages are relocated to a file that ends after the view")
	}
}

// BenchmarkLookup looks up random pages of a 10 GB database.
func BenchmarkLookup(b *testing.B) {
	const commit = 2_600_000
	f, index := viewtest.File(b, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	snapshot := viewtest.Advance(b, new(view.View), f, index)
	mixed := snapshot
	for txid := ltx.TXID(2); txid <= 65; txid++ {
		f, index := viewtest.File(b, txid, txid, 4096, commit, viewtest.Scattered(uint32(txid-1), 64, commit))
		mixed = viewtest.Advance(b, mixed, f, index)
	}
	for _, bench := range []struct {
		name string
		v    *view.View
	}{{"snapshot", snapshot}, {"mixed", mixed}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			pgno := uint32(1)
			for b.Loop() {
				pgno = (pgno*1664525 + 1013904223) % commit
				if _, ok := bench.v.Lookup(pgno + 1); !ok && pgno+1 != ltx.LockPgno(4096) {
					b.Fatal("page is not there")
				}
			}
		})
	}
}

// BenchmarkIndexMemory reports what the index of a 10 GB database takes.
func BenchmarkIndexMemory(b *testing.B) {
	const commit = 2_600_000
	f, index := viewtest.File(b, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	for b.Loop() {
		v, size := viewtest.HeapOf(func() *view.View { return viewtest.Advance(b, new(view.View), f, index) })
		b.ReportMetric(float64(size)/commit, "B/page")
		runtime.KeepAlive(v)
	}
}

// BenchmarkAdvance applies a file of 50 pages to databases of different
// sizes, which must not matter.
func BenchmarkAdvance(b *testing.B) {
	for _, commit := range []uint32{10_000, 2_600_000} {
		b.Run(formatPages(commit), func(b *testing.B) {
			f, index := viewtest.File(b, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
			v := viewtest.Advance(b, new(view.View), f, index)
			f, index = viewtest.File(b, 2, 2, 4096, commit, viewtest.Scattered(1, commit/50, commit))
			b.ReportAllocs()
			for b.Loop() {
				viewtest.Advance(b, v, f, index)
			}
		})
	}
}

func formatPages(n uint32) string {
	if n >= 1_000_000 {
		return "2.6M pages"
	}
	return "10k pages"
}
