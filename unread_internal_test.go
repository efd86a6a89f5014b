package litestream

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
)

// countSnapshotReads counts the reads of snapshots. It is called before an open, because
// other goroutines read what it sets.
func countSnapshotReads(client *hookClient) *atomic.Int64 {
	n := new(atomic.Int64)
	client.open = func(k view.Key, _ int64) error {
		if k.Level == SnapshotLevel {
			n.Add(1)
		}
		return nil
	}
	return n
}

// TestReadRest_Delay has a file arrive soon after an open that found nothing to read. The
// delay until the rest of its page index is read begins with its arrival.
func TestReadRest_Delay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newHookClient()
		asked := countSnapshotReads(client)
		opts := Options{PollInterval: -1, WriteEnabled: true, CompactionDisabled: true, neverWhole: true, Logger: slog.New(slog.DiscardHandler)}
		db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeDB(t, db)
		time.Sleep(indexDelay / 2)
		putFile(t, client, view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 2}, 2000, 'a', pgnoRange(1, 2000))
		mustRefresh(t, db)
		asked.Store(0)
		time.Sleep(indexDelay * 9 / 10)
		if n := asked.Load(); n > 0 {
			t.Errorf("the rest is read with %d requests before the delay has passed", n)
		}
		time.Sleep(indexDelay)
		if asked.Load() == 0 {
			t.Error("the rest is not read")
		}
	})
}

// TestReadRest_FileGone deletes a file whose page index is read in the background. It is
// asked for until that is known, and not again with each transaction that arrives.
func TestReadRest_FileGone(t *testing.T) {
	client := newHookClient()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (x); CREATE TABLE u (x)")
	p.Exec("WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT printf('%.*c', 400, 'x') FROM c")
	snapshot := p.Snapshot()
	p.DeleteLevelBelow(0, snapshot+1)
	p.Exec("INSERT INTO u VALUES (1)")
	synctest.Test(t, func(t *testing.T) {
		asked := countSnapshotReads(client)
		opts := Options{PollIdleAfter: -1, neverWhole: true, Logger: slog.New(slog.DiscardHandler)}
		db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeDB(t, db)
		if len(db.unread(nil)) == 0 {
			t.Fatal("the open has read the page index")
		}
		client.remove(t, view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: snapshot})
		asked.Store(0)
		useDB(db)
		defer db.poller.done()
		time.Sleep(5 * indexDelay)
		first := asked.Load()
		if first == 0 {
			t.Fatal("the rest of the page index is not read")
		}
		for range 5 {
			want := p.Exec("INSERT INTO u VALUES (1)")
			time.Sleep(3 * indexDelay)
			if got := db.Current.Load().TXID; got != want {
				t.Errorf("the view is %s, want %s", got, want)
			}
		}
		if n := asked.Load() - first; n > 0 {
			t.Errorf("a file that is gone is asked for %d more times", n)
		}
	})
}
