package litestream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// eachFile calls do with every file of a replica in a folder.
func eachFile(t *testing.T, client *file.ReplicaClient, do func(name string) error) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(client.Path(), "ltx", "*", "*.ltx"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		if err := do(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRefresh_SameHistory replaces files by others of the same transactions, as
// copies and tools do. The history stays the same: transactions continue, and
// after a poll has checked the files, polls cost what they did before.
func TestRefresh_SameHistory(t *testing.T) {
	touch := func(name string) error { return os.Chtimes(name, time.Time{}, time.Now()) }
	rewrite := func(name string) error {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.Remove(name)
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		return err
	}
	snapshotOnly := func(p *ltxtest.Primary) { p.DeleteLevelBelow(0, p.Snapshot()+1) }
	for _, tc := range []struct {
		name    string
		prepare func(p *ltxtest.Primary)
		change  func(t *testing.T, client *file.ReplicaClient)
	}{
		{"touched", nil, func(t *testing.T, c *file.ReplicaClient) { eachFile(t, c, touch) }},
		{"copied", nil, func(t *testing.T, c *file.ReplicaClient) { eachFile(t, c, rewrite) }},
		{"encoded again", nil, func(t *testing.T, c *file.ReplicaClient) { encodeAgain(t, c) }},
		{"encoded again and touched", nil, func(t *testing.T, c *file.ReplicaClient) {
			encodeAgain(t, c)
			eachFile(t, c, touch)
		}},
		{"compacted, touched", func(p *ltxtest.Primary) {
			p.Compact(1, 1, 4)
			p.DeleteLevelBelow(0, p.TXID())
		}, func(t *testing.T, c *file.ReplicaClient) { eachFile(t, c, touch) }},
		{"snapshot only, touched", snapshotOnly, func(t *testing.T, c *file.ReplicaClient) { eachFile(t, c, touch) }},
		{"snapshot only, encoded again", snapshotOnly, func(t *testing.T, c *file.ReplicaClient) {
			encodeAgain(t, c)
			eachFile(t, c, touch)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := file.NewReplicaClient(t.TempDir())
			p := counterPrimary(t, client, 5)
			if tc.prepare != nil {
				tc.prepare(p)
			}
			db := openHere(t, client, Options{CacheSize: -1})
			v := db.Current.Load()
			tc.change(t, client)
			for _, full := range []bool{false, true} {
				if err := db.poller.poll(full); err != nil {
					t.Errorf("poll: %v", err)
				}
			}
			if got := db.Current.Load(); got.Epoch != v.Epoch || got.State != v.State {
				t.Errorf("the same history is taken for another: epoch %d, txid %s", got.Epoch, got.TXID)
			}
			wantPages(t, p, db, v, 1, 2, 3)

			lists, reads := db.store.Lists.Load(), countReads(db.store)
			if err := db.poller.poll(false); err != nil {
				t.Errorf("poll: %v", err)
			}
			if lists, reads = db.store.Lists.Load()-lists, countReads(db.store)-reads; lists != 0 || reads != 1 {
				t.Errorf("a poll without news costs %d listings and %d reads", lists, reads)
			}
			count(p)
			if err := db.poller.poll(false); err != nil {
				t.Errorf("poll: %v", err)
			}
			if got := db.Current.Load(); got.TXID != p.TXID() || got.Epoch != v.Epoch {
				t.Errorf("the next transaction gives txid %s, epoch %d", got.TXID, got.Epoch)
			}
			wantPages(t, p, db, v, 1, 3)
			wantPages(t, p, db, db.Current.Load(), 1, 2, 3)
		})
	}
}

// TestPromise7_ReplicaEmptied removes every file. The known state stays, polls
// report the problem, and everything works when the files are back.
func TestPromise7_ReplicaEmptied(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 3)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	client.remove(t, view.Key{Level: 1, MinTXID: 1, MaxTXID: 3}, view.Key{Level: 0, MinTXID: 3, MaxTXID: 3})
	for range 2 {
		if err := db.poller.poll(true); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("poll: %v", err)
		}
		if got := db.Current.Load(); got.State != v.State {
			t.Errorf("the view is another: %s", got.TXID)
		}
		if _, err := db.pages.Page(t.Context(), v, 2); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("page: %v", err)
		}
	}
	p.Compact(1, 1, 3)
	if err := db.poller.poll(true); err != nil {
		t.Errorf("poll: %v", err)
	}
	wantPages(t, p, db, v, 1, 2, 3)
}

// replace recreates a replica with another history of n transactions, in which
// every page differs. Its files may differ in size from those of
// counterPrimary.
func replace(t *testing.T, client *hookClient, p *ltxtest.Primary, n int) *ltxtest.Primary {
	t.Helper()
	for level := range view.Levels {
		p.DeleteLevelBelow(level, p.TXID()+1)
	}
	q := ltxtest.New(t, client, ltxtest.Options{Start: p.Time(1).Add(24 * time.Hour)})
	q.Exec("CREATE TABLE other (x); CREATE TABLE also (y); INSERT INTO other VALUES (1000); INSERT INTO also VALUES (7)")
	for range n - 1 {
		q.Exec("UPDATE other SET x = x + 1")
	}
	return q
}

// wantOwn reads pages of a view. Each read must return the primary's page or an
// error.
func wantOwn(t *testing.T, p *ltxtest.Primary, db *database, v *view.View, pgnos ...uint32) {
	t.Helper()
	image := p.Image(v.TXID)
	for _, pgno := range pgnos {
		page, err := db.pages.Page(t.Context(), v, pgno)
		if err == nil && !bytes.Equal(page, image[int(pgno-1)*p.PageSize():][:p.PageSize()]) {
			t.Errorf("page %d as of %s is of another history", pgno, v.TXID)
		}
	}
}

// TestFind_NotInAnotherHistory recreates a replica while a page is still
// missing. The new files reach the transaction of a view, but do not belong to
// its history.
func TestFind_NotInAnotherHistory(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	p.Snapshot()
	p.DeleteLevelBelow(0, 4)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	q := replace(t, client, p, 6)
	q.Delete(0, 5, 5)
	var missing *MissingError
	if err := db.poller.poll(true); !errors.As(err, &missing) {
		t.Errorf("poll: %v", err)
	}
	wantOwn(t, p, db, v, 1, 2, 3)
	q.Compact(1, 4, 6)
	if err := db.poller.poll(true); err != nil {
		t.Errorf("poll: %v", err)
	}
	wantOwn(t, p, db, v, 1, 2, 3)
	wantPages(t, q, db, db.Current.Load(), 1, 2, 3)
}

// TestRefresh_UnknownHistory fails reads of the header that identifies the
// history of the files. None of the files is used until the header can be read.
func TestRefresh_UnknownHistory(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	q := replace(t, client, p, 6)
	client.open = func(k view.Key, _ int64) error {
		if k == v.Last.Key() {
			return fs.ErrPermission
		}
		return nil
	}
	if err := db.poller.poll(true); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("poll: %v", err)
	}
	if got := db.Current.Load(); got != v {
		t.Errorf("the view is %s, epoch %d", got.TXID, got.Epoch)
	}
	client.open = nil
	if err := db.poller.poll(true); err != nil {
		t.Errorf("poll: %v", err)
	}
	if got := db.Current.Load(); got.TXID != q.TXID() || got.Epoch == v.Epoch {
		t.Errorf("the view is %s, epoch %d", got.TXID, got.Epoch)
	}
	wantPages(t, q, db, db.Current.Load(), 1, 2, 3)
}

// TestTravel_IntoAnotherHistory travels after the replica was recreated, before
// any poll has noticed. Pages of both histories have the same numbers.
func TestTravel_IntoAnotherHistory(t *testing.T) {
	for _, byTime := range []bool{false, true} {
		t.Run(fmt.Sprintf("by time=%v", byTime), func(t *testing.T) {
			client := newHookClient()
			p := counterPrimary(t, client, 3)
			db := openHere(t, client, Options{CacheSize: 512 << 10})
			db.pages.Reset(uint32(p.PageSize())) // no page is cached
			v := db.Current.Load()
			q := replace(t, client, p, 6)
			var past *view.View
			var err error
			if byTime {
				past, err = db.travelToTime(t.Context(), q.Time(2))
			} else {
				past, err = db.travelTo(t.Context(), 2)
			}
			if err != nil || past.TXID != 2 {
				t.Fatalf("travel: %v", err)
			}
			wantPages(t, q, db, past, 1, 2, 3)
			wantOwn(t, p, db, v, 1, 2, 3)
			wantPages(t, q, db, db.Current.Load(), 1, 2, 3)
		})
	}
}

// TestRefresh_RestartRacesPoll publishes a view while another history is
// loading.
func TestRefresh_RestartRacesPoll(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	q := replace(t, client, p, 6)
	var race sync.Once
	client.open = func(k view.Key, _ int64) error {
		if k == (view.Key{Level: 0, MinTXID: 6, MaxTXID: 6}) {
			race.Do(func() {
				same := *v
				db.Current.Store(&same)
			})
		}
		return nil
	}
	if err := db.refresh(t.Context()).err(); err != nil {
		t.Errorf("refresh: %v", err)
	}
	if got := db.Current.Load(); got.TXID != q.TXID() || got.Epoch != v.Epoch+1 {
		t.Errorf("the view is %s, epoch %d", got.TXID, got.Epoch)
	}
	wantOwn(t, p, db, v, 1, 2, 3)
	wantPages(t, q, db, db.Current.Load(), 1, 2, 3)
}

// TestRefresh_SnapshotTakenAgain lets an idle primary take its daily snapshot
// again. That is another object with another timestamp, but of the same
// history.
func TestRefresh_SnapshotTakenAgain(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 5)
	p.DeleteLevelBelow(0, p.Snapshot()+1)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load() // an open transaction has pinned this view
	p.Advance(24 * time.Hour)
	p.Snapshot()
	for range 2 {
		if err := db.poller.poll(true); err != nil {
			t.Fatal(err)
		}
	}
	if cur := db.Current.Load(); cur != v {
		t.Errorf("the same snapshot written again made another view, of history %d", cur.Epoch)
	}
	wantPages(t, p, db, v, 1, 2, 3)

	// A snapshot of another database differs, whatever its size is.
	for _, page := range [][]byte{fakePage(3, 'b'), []byte(strings.Repeat("another database", fakePageSize/16))} {
		client := newHookClient()
		k := view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 5}
		putFile(t, client, k, 3, 'a', pgnoRange(1, 3))
		db := openHere(t, client, Options{CacheSize: -1})
		b := ltxtest.EncodeLTX(ltx.Header{PageSize: fakePageSize, Commit: 3, MinTXID: 1, MaxTXID: 5, Timestamp: 6000},
			map[uint32][]byte{1: fakePage(1, 'a'), 2: fakePage(2, 'a'), 3: page}, false)
		if same := db.Current.Load().Last.Size == int64(len(b)); same != (page[0] == 'b') {
			t.Fatalf("same size: %v", same)
		}
		if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if err := db.poller.poll(true); err != nil {
			t.Fatal(err)
		}
		if db.Current.Load().Epoch != 1 {
			t.Errorf("a snapshot of another database is taken for the same: page 3 is %q", page[:16])
		}
	}
}

// TestTravel_DuringRestart replaces the replica while a travel reads the files
// of an earlier plan.
func TestTravel_DuringRestart(t *testing.T) {
	client := newHookClient()
	old := counterPrimary(t, client, 4)
	db := openHere(t, client, Options{CacheSize: -1})
	next := newHookClient()
	p := ltxtest.New(t, next, ltxtest.Options{Start: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)})
	p.Exec("CREATE TABLE u (y); INSERT INTO u VALUES (1000)")
	for range 5 {
		p.Exec("UPDATE u SET y = y + 1")
	}
	var replaced atomic.Bool
	client.fetch = func(k view.Key, _ int64) {
		if replaced.Swap(true) {
			return
		}
		old.DeleteLevelBelow(0, 5)
		for txid := ltx.TXID(1); txid <= p.TXID(); txid++ {
			r, err := next.OpenLTXFile(t.Context(), 0, txid, txid, 0, 0)
			if err == nil {
				_, err = client.WriteLTXFile(t.Context(), 0, txid, txid, r)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := db.poller.poll(true); err != nil {
			t.Error(err)
		}
	}
	v, err := db.travelTo(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if !replaced.Load() {
		t.Fatal("the replica was not replaced")
	}
	wantPages(t, p, db, v, 1, 2)
}

// TestPromise8_RestartRefused replaces the replica by one with smaller pages
// while a connection writes. The view stays for now, and so does the bound of
// its cache.
func TestPromise8_RestartRefused(t *testing.T) {
	client := newHookClient()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := ltxtest.New(t, client, ltxtest.Options{Start: start, PageSize: 65536})
	a.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(2000000))")
	db := openHere(t, client, Options{WriteEnabled: true, PollInterval: -1, CacheSize: 1 << 20})
	want := db.pages.CacheRoom()
	c := connOf(db, nil)
	c.pinNewest()
	if err := db.writer.Begin(holder{c}); err != nil {
		t.Fatal(err)
	}
	defer db.writer.End(holder{c})
	a.DeleteLevelBelow(0, a.TXID()+1)
	b := ltxtest.New(t, client, ltxtest.Options{Start: start.Add(time.Hour), PageSize: 512})
	b.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(20000))")
	if seen := db.refresh(t.Context()); !errors.Is(seen.err(), errs.ErrWriting) {
		t.Fatal(seen.err())
	}
	if got := db.pages.CacheRoom(); got != want {
		t.Errorf("%d pages of %d bytes may be kept, before %d", got, db.Current.Load().PageSize, want)
	}
}

// TestPromise7_PastOfNothing opens an empty replica, on which a primary then
// makes a database. Another primary replaces it before any poll. The test
// travels to the past of both.
func TestPromise7_PastOfNothing(t *testing.T) {
	client := newHookClient()
	db := openHere(t, client, Options{WriteEnabled: true, PollInterval: -1})
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := ltxtest.New(t, client, ltxtest.Options{Start: start})
	a.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(3000000))")
	old, err := db.travelTo(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	wantPages(t, a, db, old, 1, 2, 300, 500, 700)
	a.DeleteLevelBelow(0, a.TXID()+1)
	b := ltxtest.New(t, client, ltxtest.Options{Start: start.Add(time.Hour)})
	b.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(3000000))")
	b.Exec("INSERT INTO t VALUES (1)")
	if err := db.refresh(t.Context()).err(); err != nil {
		t.Fatal(err)
	}
	wantPages(t, b, db, db.Current.Load(), 1, 2, 300, 500, 700)
	v, err := db.travelTo(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if v == old {
		t.Error("the past is that of another database")
	}
	wantPages(t, b, db, v, 1, 2, 300, 500, 700)
}
