package litestream_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// TestInteriors_Requests looks rows up in a table whose root has some 60 interior
// pages below it, and an index whose root has few. The few come with the first page
// that is missed; of the many, the others come when a second one is needed.
func TestInteriors_Requests(t *testing.T) {
	const roundTrip = 25 * time.Millisecond
	inner := memoryClient()
	p := ltxtest.New(t, inner, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER, pad TEXT)")
	p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 10000)
		INSERT INTO t SELECT i, i * 7919 % 10007, printf('%.*c', 80 + i % 30, 'x') || i FROM c`)
	p.Exec("CREATE INDEX t_k ON t (k)")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID()+1)
	synctest.Test(t, func(t *testing.T) {
		client := decorate.NewLatency(inner, decorate.Latency{PerRequest: roundTrip})
		conn, vfs, closeAll := openOne(t, client, &litestream.Options{PollInterval: -1}, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
		time.Sleep(10 * roundTrip) // the roots have come
		for _, step := range []struct {
			query string
			trips time.Duration
			reads int64
		}{
			{"SELECT pad FROM t WHERE id = 5000", 2, 2 + 8},   // an interior page of the table and those of the index
			{"SELECT pad FROM t WHERE id = 5001", 0, 0},       // on the same leaf
			{"SELECT pad FROM t WHERE k = 77", 3, 2 + 1 + 64}, // leaf of the index, the second interior page of the table, leaf
			{"SELECT pad FROM t WHERE id = 9000", 1, 1},
			{"SELECT pad FROM t WHERE k = 9001", 2, 2},
		} {
			before, start := vfs.Stats()[0].Reads, time.Now()
			want := mustQuery(t, p.DB(), step.query)
			if got := mustQuery(t, conn, step.query); got != want {
				t.Errorf("%s: got %s, want %s", step.query, got, want)
			}
			took := time.Since(start)
			time.Sleep(10 * roundTrip)
			reads := vfs.Stats()[0].Reads - before
			t.Logf("%s: %v, %d reads", step.query, took, reads)
			if took > step.trips*roundTrip || reads > step.reads {
				t.Errorf("%s: %v and %d reads, want %v and %d at most", step.query, took, reads, step.trips*roundTrip, step.reads)
			}
		}
	})
}

// TestJoins_FirstArrival has the first row of a join, and no other one, lead where a
// column of an index says. The guess costs the rows with the same key at most.
func TestJoins_FirstArrival(t *testing.T) {
	const roundTrip, friends = 25 * time.Millisecond, 20
	inner := memoryClient()
	p := ltxtest.New(t, inner, ltxtest.Options{})
	p.Exec("CREATE TABLE i (id INTEGER PRIMARY KEY, pad TEXT); CREATE TABLE o (a INTEGER, x INTEGER, n INTEGER)")
	p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) INSERT INTO i SELECT i, hex(i * 57885161) || printf('%.*c', 300, 'x') FROM c`)
	p.Exec(fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 400 * %[1]d - 1)
		INSERT INTO o SELECT i / %[1]d, 1 + i * 7919 %% 20000, i %% %[1]d FROM c`, friends))
	p.Exec("CREATE INDEX o_a ON o (a, n, x)")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID()+1)
	for _, tc := range []struct {
		name, on      string
		trips         time.Duration
		unused, reads int64
	}{
		{"a column that leads", "o.x", 5, 8, 36},
		{"a column that leads by chance", "iif(o.n = 0, o.x, o.x * 7 % 20000 + 1)", 2*friends + 5, 2 * friends, 3*friends + 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			query := fmt.Sprintf("SELECT count(*), sum(length(i.pad)), max(i.id) FROM o INDEXED BY o_a CROSS JOIN i ON i.id = %s WHERE o.a = 200", tc.on)
			want := mustQuery(t, p.DB(), query)
			synctest.Test(t, func(t *testing.T) {
				client := decorate.NewLatency(inner, decorate.Latency{PerRequest: roundTrip})
				conn, vfs, closeAll := openOne(t, client, &litestream.Options{PollInterval: -1}, "app.db")
				defer closeAll()
				mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
				before, start := vfs.Stats()[0].Reads, time.Now()
				if got := mustQuery(t, conn, query); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				took, s := time.Since(start), vfs.Stats()[0]
				t.Logf("%.1f round trips, %d reads, %d of %d pages unused", float64(took)/float64(roundTrip), s.Reads-before, s.PrefetchedUnused, s.Prefetched)
				if took > tc.trips*roundTrip || s.Reads-before > tc.reads || s.PrefetchedUnused > tc.unused {
					t.Errorf("%v, %d reads, %d pages unused; want %v, %d and %d at most", took, s.Reads-before, s.PrefetchedUnused, tc.trips*roundTrip, tc.reads, tc.unused)
				}
			})
		})
	}
}
