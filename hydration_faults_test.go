package litestream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// The tests in this file are named after the faults in the hydration of
// upstream Litestream v0.5.18.

// gate blocks reads from the middle of snapshots until open is called. Reads of
// the page index and of pages near the start pass.
func gate(client *hookClient) (open func()) {
	c := make(chan struct{})
	client.open = func(k view.Key, off int64) error {
		if k.Level == SnapshotLevel && off > 300_000 && off < 1_300_000 {
			<-c
		}
		return nil
	}
	return sync.OnceFunc(func() { close(c) })
}

// images caches the results of imageOf, each of which takes its time.
var images sync.Map

// imageOf returns the database as it was at a view. The result is read-only.
func imageOf(p *ltxtest.Primary, v *view.View) []byte {
	type key struct {
		p    *ltxtest.Primary
		txid ltx.TXID
	}
	image, ok := images.Load(key{p, v.TXID})
	if !ok {
		image, _ = images.LoadOrStore(key{p, v.TXID}, p.Image(v.TXID))
	}
	return image.([]byte)
}

// wantPage reads a page of a view as a connection does, and compares it.
func wantPage(t testing.TB, p *ltxtest.Primary, db *database, v *view.View, pgno uint32) {
	t.Helper()
	c := connOf(db, v)
	got := make([]byte, v.PageSize)
	if _, err := c.ReadAt(got, int64(pgno-1)*int64(v.PageSize)); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("page %d as of %s: %v (%+v)", pgno, v.TXID, err, c.lastErr.Load())
		return
	}
	want := imageOf(p, v)[int64(pgno-1)*int64(v.PageSize):][:v.PageSize]
	if pgno == 1 {
		got, want = got[dbheader.Size:], want[dbheader.Size:]
	}
	if !bytes.Equal(got, want) {
		t.Errorf("page %d as of %s is not what was written", pgno, v.TXID)
	}
}

// mustRefresh brings a database up to date.
func mustRefresh(t testing.TB, db *database) {
	t.Helper()
	if err := db.refresh(context.Background()).err(); err != nil {
		t.Fatal(err)
	}
}

// Upstream serves nothing from the local file until the file is complete.
func TestHydration_ServesEachPageAtOnce(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	open := gate(client)
	defer open()
	db := openHere(t, client, Options{HydrationEnabled: true, HydrationConcurrency: 1, PollInterval: -1, CacheSize: -1, ReadAheadSize: -1})
	v := db.Current.Load()
	// One query brings a page to the file, and another reads it from there.
	wantPage(t, p, db, v, 20)
	await(t, "the page to be local", func() bool { return isLocal(db, v, 20) })
	reads := db.stats().PageReads
	wantPage(t, p, db, v, 20)
	if n := db.stats().PageReads - reads; n > 0 {
		t.Errorf("a page that is local takes %d requests", n)
	}
	if s := db.hydrator.Progress(); s.Status != hydrate.Restoring || s.Progress >= 100 {
		t.Errorf("the test comes too late: %+v", s)
	}
	if db.stats().LocalHits == 0 {
		t.Error("nothing was served locally")
	}
	open()
	awaitHydrated(t, db)
	wantLocal(t, p, db, v)
}

// Upstream loses updates that arrive during a restore.
func TestHydration_UpdatesWhileRestoring(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	open := gate(client)
	defer open()
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1})
	for range 5 {
		p.Exec("UPDATE t SET n = n + 1, b = randomblob(1000) WHERE id % 97 = 3")
		mustRefresh(t, db)
	}
	p.Exec("DELETE FROM t WHERE id > 1200; INSERT INTO t SELECT id + 5000, n, b FROM t WHERE id < 300")
	p.Exec("VACUUM")
	mustRefresh(t, db)
	open()
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
}

// Upstream applies new transactions to the pages that an open transaction
// reads.
func TestHydration_NewsUnderAnOpenReader(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1, CacheSize: -1})
	awaitHydrated(t, db)
	old := db.Current.Load()

	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				for pgno := uint32(1); pgno <= old.Commit; pgno += 7 {
					wantPage(t, p, db, old, pgno)
				}
			}
		})
	}
	for range 20 {
		p.Exec("UPDATE t SET n = n + 1, b = randomblob(1000) WHERE id % 10 = abs(random() % 10)")
		mustRefresh(t, db)
		awaitHydrated(t, db)
	}
	stop.Store(true)
	wg.Wait()
	wantLocal(t, p, db, db.Current.Load())
	for pgno := uint32(1); pgno <= old.Commit; pgno++ {
		wantPage(t, p, db, old, pgno)
	}
}

// Upstream never serves pages locally again after a connection travelled in time.
func TestHydration_ComesBackAfterTimeTravel(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	open := gate(client)
	defer open()
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1, CacheSize: -1, ReadAheadSize: -1})
	last := p.TXID()
	travel := func() {
		past, err := db.travelTo(context.Background(), last-2)
		if err != nil {
			t.Fatal(err)
		}
		for pgno := uint32(1); pgno <= 40; pgno++ {
			wantPage(t, p, db, past, pgno)
		}
	}
	travel() // during the restore
	open()
	awaitHydrated(t, db)
	travel()
	// Pages that are the same in both states are local, and so are all pages of
	// the current state.
	before := db.stats()
	travel()
	if after := db.stats(); after.LocalHits-before.LocalHits < 30 {
		t.Errorf("of 40 pages of the past, %d are local", after.LocalHits-before.LocalHits)
	}
	before = db.stats()
	v := db.Current.Load()
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		wantPage(t, p, db, v, pgno)
	}
	if after := db.stats(); after.Reads != before.Reads {
		t.Errorf("%d requests for what is local", after.Reads-before.Reads)
	}
	p.Exec("UPDATE t SET n = 0")
	mustRefresh(t, db)
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
}

// With upstream, two connections with the same path overwrite each other's
// file.
func TestHydration_TwoWithOnePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	client, other := newHookClient(), newHookClient()
	p := rowsPrimary(t, client)
	q := counterPrimary(t, other, 5)
	db := openHere(t, client, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: -1})
	awaitHydrated(t, db)
	db2 := openHere(t, other, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: -1})
	awaitHydrated(t, db2)
	if a, b := db.hydrator.Progress().File, db2.hydrator.Progress().File; a != path || b == path || b == "" {
		t.Errorf("files are %s and %s", a, b)
	}
	p.Exec("UPDATE t SET n = n + 1")
	count(q)
	for _, d := range []*database{db, db2} {
		mustRefresh(t, d)
		awaitHydrated(t, d)
	}
	wantLocal(t, p, db, db.Current.Load())
	wantLocal(t, q, db2, db2.Current.Load())
	if _, err := os.Stat(db2.hydrator.Progress().File); err == nil {
		t.Error("the temporary file can be found")
	}
}
