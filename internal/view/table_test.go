package view_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// pgnosOf returns the pages from first to last.
func pgnosOf(first, last uint32) (pgnos []uint32) {
	for pgno := first; pgno <= last; pgno++ {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// TestTable_Forms compares tables with maps, over all forms of chunks. Older
// tables stay as they are.
func TestTable_Forms(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	type place struct {
		version ltx.TXID
		size    uint32
	}
	var views []*view.View
	var models []map[uint32]place
	model := make(map[uint32]place)
	v := new(view.View)
	const most = 4 * view.ChunkLen
	for txid := ltx.TXID(1); txid <= 150; txid++ {
		commit := most - rng.Uint32N(most/2)
		var pgnos []uint32
		switch {
		case txid == 1:
			commit = most
			pgnos = pgnosOf(1, most)
		case rng.IntN(3) == 0:
			from := 1 + rng.Uint32N(commit)
			pgnos = pgnosOf(from, min(commit, from+rng.Uint32N(600)))
		default:
			for pgno := 1 + rng.Uint32N(80); pgno <= commit; pgno += 1 + rng.Uint32N(80) {
				pgnos = append(pgnos, pgno)
			}
		}
		f, index := viewtest.File(t, txid, txid, 4096, commit, slices.Values(pgnos))
		v = viewtest.Advance(t, v, f, index)
		model = maps.Clone(model)
		maps.DeleteFunc(model, func(pgno uint32, _ place) bool { return pgno > commit })
		index.Each(func(e ltxio.Entry) bool { model[e.Pgno] = place{txid, e.Size}; return true })
		views, models = append(views, v), append(models, model)
	}
	for i, v := range views {
		got := make(map[uint32]place)
		v.Pages.EachMissing(nil, 1, math.MaxUint32, func(pgno uint32, loc view.Loc) bool {
			got[pgno] = place{loc.Version, loc.Size}
			return true
		})
		if !maps.Equal(got, models[i]) {
			t.Fatalf("view %d has other pages", i+1)
		}
		last := slices.Max(slices.Collect(maps.Keys(got)))
		if v.Pages.Len() != int64(len(got)) || v.Pages.End() != last {
			t.Errorf("view %d has %d pages up to %d, want %d up to %d", i+1, v.Pages.Len(), v.Pages.End(), len(got), last)
		}
		for pgno := range uint32(most + 10) {
			loc, ok := v.Lookup(pgno)
			if want, known := models[i][pgno]; ok != known || ok && (want != place{loc.Version, loc.Size}) {
				t.Fatalf("page %d of view %d: %+v, %v", pgno, i+1, loc, ok)
			}
		}
	}
}

// TestTable_FormOf applies files to a table. Each chunk has the form that takes the least
// memory.
func TestTable_FormOf(t *testing.T) {
	const few, commit = view.MaxFew, view.ChunkLen + 100
	last := pgnosOf(view.ChunkLen+1, commit) // all pages of the second chunk
	for name, c := range map[string]struct {
		commit        uint32
		before, after []uint32
		pgno          uint32
		want          string
	}{
		"a whole database":                {commit, nil, pgnosOf(1, commit), 1, "run"},
		"its last chunk":                  {commit, nil, pgnosOf(1, commit), commit, "run"},
		"all of the last chunk again":     {commit, pgnosOf(1, commit), last, commit, "run"},
		"all of it but one again":         {commit, pgnosOf(1, commit), last[1:], commit, "packed"},
		"all of a larger one again":       {commit + 1, pgnosOf(1, commit), last, commit, "packed"},
		"a page of a run again":           {commit, pgnosOf(1, commit), []uint32{7}, 7, "packed"},
		"few pages":                       {commit, []uint32{1}, pgnosOf(300, 300+few-1), 300, "few"},
		"one more than few":               {commit, []uint32{1}, pgnosOf(300, 300+few), 300, "run"},
		"few pages, which are the chunk":  {view.ChunkLen + few, []uint32{1}, pgnosOf(257, 256+few), 257, "run"},
		"few pages and one more":          {commit, append([]uint32{1}, pgnosOf(300, 300+few-1)...), []uint32{299}, 300, "packed"},
		"few pages, and one of them":      {commit, append([]uint32{1}, pgnosOf(300, 300+few-1)...), []uint32{305}, 300, "few"},
		"a chunk without pages":           {commit, []uint32{1}, []uint32{2}, 300, "none"},
		"a chunk before one with pages":   {3 * view.ChunkLen, []uint32{1}, []uint32{2*view.ChunkLen + 1}, 300, "none"},
		"a chunk beyond all in the table": {1 << 20, []uint32{1}, []uint32{2}, 1 << 19, "none"},
	} {
		v := new(view.View)
		for i, pgnos := range [][]uint32{c.before, c.after} {
			minTXID := ltx.TXID(i + 2)
			if v.TXID == 0 { // which does not begin at 1, so that it need not have all pages
				v.TXID, v.PageSize = minTXID-1, 4096
			}
			f, index := viewtest.File(t, minTXID, minTXID, 4096, c.commit, slices.Values(pgnos))
			v = viewtest.Advance(t, v, f, index)
		}
		if got := view.FormOf(v, c.pgno); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A table has no pages where it has no node, between pages that it has.
func TestTable_NoNode(t *testing.T) {
	const commit = 5 << 16
	f, index := viewtest.File(t, 1, 1, 4096, 1, viewtest.AllPages(4096, 1))
	v := viewtest.Advance(t, new(view.View), f, index)
	f, index = viewtest.File(t, 2, 2, 4096, commit, slices.Values([]uint32{3 << 16, commit}))
	v = viewtest.Advance(t, v, f, index)
	for pgno, want := range map[uint32]bool{0: false, 1: true, 2: false, 1 << 16: false, 1<<16 + 1: false, 2 << 16: false, 3 << 16: true, 3<<16 + 1: false, commit: true, commit + 1: false} {
		if _, ok := v.Lookup(pgno); ok != want {
			t.Errorf("page %d is there: %v", pgno, ok)
		}
	}
}

// Pages that lie far apart take memory for themselves, in the index and in sets
// of pages, not for those in between.
func TestTable_FarApart(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	const pages, apart = 100_000, 1 << 12
	v, size := viewtest.HeapOf(func() *view.View {
		f, index := viewtest.File(t, 1, 1, 4096, 1, viewtest.AllPages(4096, 1))
		v := viewtest.Advance(t, new(view.View), f, index)
		f, index = viewtest.File(t, 2, 2, 4096, math.MaxUint32-1, viewtest.Scattered(2, apart, pages*apart))
		return viewtest.Advance(t, v, f, index)
	})
	if n := v.Pages.Len(); n < pages {
		t.Fatalf("%d pages", n)
	}
	if perPage := float64(size) / pages; perPage > 300 {
		t.Errorf("%.0f bytes a page in the index", perPage)
	}
	before := viewtest.HeapInUse()
	set := view.NewBitmap(v.Pages.End())
	v.Pages.EachMissing(set, 1, math.MaxUint32, func(pgno uint32, _ view.Loc) bool { set.Set(pgno); return true })
	if perPage := float64(viewtest.HeapInUse()-before) / pages; perPage > 600 {
		t.Errorf("%.0f bytes a page in a set", perPage)
	}
	runtime.KeepAlive(set)
	runtime.KeepAlive(v)
}

// TestState_ConcurrentMoves moves one state to many files at once. No move may
// undo another.
func TestState_ConcurrentMoves(t *testing.T) {
	const files, commit, rounds = 16, 16 * view.ChunkLen, 20
	f, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), f, index)
	f, index = viewtest.File(t, 2, 2, 4096, commit, viewtest.AllPages(4096, commit))
	v = viewtest.Advance(t, v, f, index)
	type target struct {
		file  *view.File
		index ltxio.Index
	}
	var targets []target
	for i := range uint32(files) {
		f, index := viewtest.File(t, 2, 2, 4096, commit, viewtest.Scattered(i+1, files, commit))
		targets = append(targets, target{f, index})
	}
	for range rounds {
		state := new(view.State)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for _, l := range targets {
			wg.Go(func() {
				<-start
				if err := state.Relocate(v, l.file, l.index); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		moved := state.Moved.Load()
		for _, l := range targets {
			l.index.Each(func(e ltxio.Entry) bool {
				if loc, ok := moved.Lookup(e.Pgno); !ok || loc.File != l.file || loc.Offset != e.Offset {
					t.Fatalf("page %d is not where it was moved to", e.Pgno)
				}
				return true
			})
		}
	}
}
