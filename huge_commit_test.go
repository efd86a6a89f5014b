package litestream

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/ltxvfs/litestream/internal/view"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// hugeCommit is the largest size of a database that a header may state.
const hugeCommit = math.MaxUint32 - 1

// hugeReplica is a database of 200 pages as a primary made it. Another
// transaction then gives it the largest possible size, changes pages of the
// primary, and adds pages far beyond them.
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

// peakMemory samples the size of the heap. The function that it returns stops
// the sampling and returns the peak in bytes.
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

// within fails the test if do takes longer than a minute. It should take
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
// cost, in memory and in time, and closing the database releases both.
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
			for range 2 { // the second continues with the file of the first
				db, log := openKeptDB(t, client, path, Options{})
				v := db.Current.Load()
				if v.Commit != hugeCommit {
					t.Fatalf("%d pages", v.Commit)
				}
				within(t, "hydration", func() {
					await(t, "an end", func() bool {
						s := db.hydrator.Progress().Status
						return s == hydrate.Complete || s == hydrate.Failed // some disks do not support files of 16 TB
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

// The size returns to the real one while the huge one is hydrated, and then
// grows again. Pages of the local file belong to the newest state.
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
