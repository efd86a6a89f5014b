package litestream

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// pagesPrimary is a primary with some 60 pages after n transactions. Each
// transaction changes some of the pages, and every pagesPrimary makes the same
// ones.
func pagesPrimary(t *testing.T, n int) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, memory.NewReplicaClient(), ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, pad TEXT)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200)" +
		" INSERT INTO t SELECT i, 0, printf('%01000d', i * 7919) FROM c")
	for p.TXID() < ltx.TXID(n) {
		p.Exec("UPDATE t SET n = n + 1 WHERE id % 40 = ?", int(p.TXID()))
	}
	return p
}

// TestHydration_RecordAcrossFork continues with a hydration file after the
// replica was rolled back and another writer has passed the transaction of the
// file. The pages of the common past stay, and no page of the old history does.
func TestHydration_RecordAcrossFork(t *testing.T) {
	p, forks := pagesPrimary(t, 20), make(map[int]*ltxtest.Primary)
	for _, more := range []int{10, 12} {
		q := pagesPrimary(t, 10)
		q.Advance(time.Hour)
		for i := range more {
			q.Exec("UPDATE t SET n = n + 1000 WHERE id % 50 = ?", i)
		}
		forks[more] = q
	}
	for _, tc := range []struct {
		name                   string
		level0From, level1From ltx.TXID
		more                   int
		open                   bool // the database is open meanwhile
	}{
		{"level 0", 11, 11, 12, false},
		{"compacted", 23, 11, 12, false},
		{"ends where it did", 11, 11, 10, false},
		{"compacted, ends where it did", 21, 11, 10, false},
		{"while it is open", 11, 11, 12, true},
		{"while it is open, compacted", 23, 11, 12, true},
		{"while it is open, ends where it did", 11, 11, 10, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := newHookClient()
			become(t, client, p, 11, 11, 20)
			q := forks[tc.more]
			path := filepath.Join(t.TempDir(), "local.db")
			db, _ := openKeptDB(t, client, path, Options{})
			awaitHydrated(t, db)
			all := db.hydrator.Progress().Bytes
			fork := func() { become(t, client, q, tc.level0From, tc.level1From, q.TXID()) }
			if tc.open {
				fork()
				if err := db.poller.poll(true); err != nil {
					t.Fatal(err)
				}
				awaitHydrated(t, db)
				wantLocal(t, q, db, db.Current.Load())
			}
			closeDB(t, db)
			if !tc.open {
				fork()
			}
			db, log := openKeptDB(t, client, path, Options{})
			defer closeDB(t, db)
			awaitHydrated(t, db)
			wantLocal(t, q, db, db.Current.Load())
			if !strings.Contains(log.String(), "hydration goes on with") {
				t.Errorf("the file was not used:\n%s", log)
			}
			if n := db.hydrator.Progress().Bytes; n > all*3/4 {
				t.Errorf("%d bytes are read again, of %d", n, all)
			}
		})
	}
}
