package litestream

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
)

// await polls a condition until it holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// awaitHydrated waits until all pages of the newest view of a database are
// local.
func awaitHydrated(t testing.TB, db *database) {
	t.Helper()
	await(t, "hydration", func() bool {
		return db.hydrator.View() == db.Current.Load() && db.hydrator.Progress().Status == hydrate.Complete
	})
}

// wantLocal compares every page of a database's local file with a state of the
// primary.
func wantLocal(t testing.TB, p *ltxtest.Primary, db *database, v *view.View) {
	t.Helper()
	image := imageOf(p, v)
	page := make([]byte, v.PageSize)
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		want := image[int64(pgno-1)*int64(v.PageSize):][:v.PageSize]
		if _, ok := v.Lookup(pgno); !ok {
			continue
		}
		if !db.hydrator.Tier.ReadView(v, pgno, page) {
			t.Errorf("page %d is not local", pgno)
		} else if !bytes.Equal(page, want) {
			t.Errorf("page %d as of %s is not what was written", pgno, v.TXID)
		}
	}
}

// rowsPrimary is a primary with some 500 pages, in a snapshot, a compacted file
// and small ones.
func rowsPrimary(t testing.TB, store ltxtest.Store) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB); CREATE INDEX i ON t (n)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1500)" +
		" INSERT INTO t SELECT i, i, randomblob(1000) FROM c")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	from := p.TXID() + 1
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 50 = 7")
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id BETWEEN 100 AND 150")
	p.Compact(1, from, p.TXID())
	p.DeleteLevelBelow(0, p.TXID())
	for range 5 {
		p.Exec("UPDATE t SET n = n + 1 WHERE id = 1 + abs(random() % 1500)")
	}
	return p
}

// isLocal reports whether a page of a view is in the local file of a database,
// or is in no file at all.
func isLocal(db *database, v *view.View, pgno uint32) bool {
	loc, ok := v.Lookup(pgno)
	return !ok || db.hydrator.Tier.Has(pages.Key{Version: loc.Version, Pgno: pgno, Epoch: v.Epoch})
}

func TestHydration(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1})
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	opens := client.opens.Load()

	p.Exec("UPDATE t SET n = n + 1 WHERE id < 5")
	if seen := db.refresh(context.Background()); seen.err() != nil {
		t.Fatal(seen.err())
	}
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	if n := client.opens.Load() - opens; n != 1 {
		t.Errorf("a transaction takes %d reads, want 1", n)
	}
}
