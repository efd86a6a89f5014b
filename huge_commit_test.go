//go:build cgo

package litestream

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// hugeCommit is the largest size of a database that a header may say.
const hugeCommit = math.MaxUint32 - 1

// hugeReplica is a database of 200 pages, as a primary made it, to which a
// further transaction gives the largest size there is. It changes pages of the
// primary's, and adds pages far beyond.
func hugeReplica(t *testing.T, far ...uint32) *memory.ReplicaClient {
	t.Helper()
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 700) INSERT INTO t SELECT i, randomblob(1000) FROM c")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	image := p.Image(p.TXID())
	pages := make(map[uint32][]byte)
	for i, page := range slices.Collect(slices.Chunk(image, 4096)) {
		if i < 20 {
			pages[uint32(i+1)] = page
		}
	}
	for _, pgno := range far {
		pages[pgno] = make([]byte, 4096)
	}
	next := p.TXID() + 1
	putTextPages(t, client, view.Key{Level: 0, MinTXID: next, MaxTXID: next}, hugeCommit, pages)
	return client
}

// peakMemory samples what the heap holds until it is asked for the highest, in
// bytes.
func peakMemory() (stop func() uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	done := make(chan struct{})
	peak := uint64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			metrics.Read(samples)
			peak = max(peak, samples[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() uint64 { close(done); wg.Wait(); return peak }
}

// within fails the test if something takes longer than a minute: it is to take
// milliseconds.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within a minute", what)
	}
}

// A file that says that the database has 4294967294 pages costs what its frames
// cost: memory, time, and the end of both when the database is closed.
func TestHugeCommit(t *testing.T) {
	for name, far := range map[string][]uint32{
		"no pages there":      nil,
		"far apart":           {1 << 20, 1 << 24, 1 << 28, 1 << 30},
		"at the end":          {hugeCommit - 1, hugeCommit},
		"in every 2^22 pages": slices.Collect(viewtest.Scattered(1<<22, 1<<22, math.MaxUint32-1<<22)),
	} {
		t.Run(name, func(t *testing.T) {
			client := hugeReplica(t, far...)
			peak := peakMemory()
			path := filepath.Join(t.TempDir(), "local.db")
			for range 2 { // the second goes on with the file of the first
				db, log := openKeptDB(t, client, path, Options{})
				v := db.Current.Load()
				if v.Commit != hugeCommit {
					t.Fatalf("%d pages", v.Commit)
				}
				within(t, "hydration", func() {
					await(t, "an end", func() bool {
						s := db.hydrator.Progress().Status
						return s == hydrate.Complete || s == hydrate.Failed // some disks have no files of 16 TB
					})
				})
				if p := db.hydrator.Progress(); p.Status == hydrate.Failed && len(far) == 0 || p.Status == hydrate.Complete && p.Pages != v.Pages.Len() {
					t.Errorf("%+v\n%s", p, log)
				}
				within(t, "queries", func() {
					for _, pgno := range append([]uint32{1, 2, 20, 150, 5000, 1 << 31, hugeCommit}, far...) {
						c := connOf(db, v)
						if _, err := c.ReadAt(make([]byte, 4096), int64(pgno-1)*4096); err != nil {
							t.Errorf("page %d: %v", pgno, c.lastErr.Load())
						}
					}
					if _, err := db.travelTo(context.Background(), v.TXID-1); err != nil {
						t.Error(err)
					}
				})
				within(t, "close", func() { closeDB(t, db) })
			}
			if peak := peak(); peak > 200<<20 {
				t.Errorf("%d MB of memory", peak>>20)
			}
		})
	}
}

// The size goes back to what is there while the large one is hydrated, and up
// again: pages of the local file are those of the newest state.
func TestHugeCommit_Follow(t *testing.T) {
	client := hugeReplica(t, 1<<20, 1<<24)
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1})
	txid := db.Current.Load().TXID
	for _, commit := range []uint32{50, hugeCommit, 1 << 20, 30} {
		txid++
		want := textPages(rand.New(rand.NewPCG(1, uint64(txid))), 4096, []uint32{1, 25, min(commit, 1<<26)})
		putTextPages(t, client, view.Key{Level: 0, MinTXID: txid, MaxTXID: txid}, commit, want)
		within(t, "news", func() { mustRefresh(t, db); awaitHydrated(t, db) })
		v := db.Current.Load()
		for pgno, page := range want {
			got := make([]byte, 4096)
			if !db.hydrator.Tier.ReadView(v, pgno, got) || string(got) != string(page) {
				t.Errorf("page %d of %d is not local as it was written", pgno, commit)
			}
		}
		if p := db.hydrator.Progress(); p.Pages != v.Pages.Len() || v.Commit != commit {
			t.Errorf("%+v of a database of %d pages", p, v.Commit)
		}
	}
}

// Pages that lie far apart take memory for themselves, in the index and in sets
// of pages, not for those in between.
func TestHugeCommit_FarApart(t *testing.T) {
	const pages, apart = 100_000, 1 << 12
	v, size := viewtest.HeapOf(func() *view.View {
		f, index := viewtest.File(t, 1, 1, 4096, 1, viewtest.AllPages(4096, 1))
		v := viewtest.Advance(t, new(view.View), f, index)
		f, index = viewtest.File(t, 2, 2, 4096, hugeCommit, viewtest.Scattered(2, apart, pages*apart))
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

// A table is what a map is, whatever form its chunks have, and older tables
// stay as they are.
func TestPageTable_Forms(t *testing.T) {
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
			pgnos = pgnoRange(1, most)
		case rng.IntN(3) == 0:
			from := 1 + rng.Uint32N(commit)
			pgnos = pgnoRange(from, min(commit, from+rng.Uint32N(600)))
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
