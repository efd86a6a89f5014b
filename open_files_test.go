package litestream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// TestFast_OpenManyFiles opens a database of a snapshot and files of level 0, up to
// the first row. Each request takes a round trip, and some more for its bytes.
func TestFast_OpenManyFiles(t *testing.T) {
	took := make(map[int]time.Duration)
	for _, files := range []int{30, 490} {
		client := memoryClient()
		p := ltxtest.New(t, client, ltxtest.Options{})
		p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, pad BLOB)")
		p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000)
			INSERT INTO t SELECT i, randomblob(1000) FROM c`)
		p.Snapshot()
		p.DeleteLevelBelow(0, p.TXID()+1)
		for i := range files {
			p.Exec("UPDATE t SET pad = randomblob(1000) WHERE id IN (?, ?, ?)", 1+i*7%5000, 1+i*11%5000, 1+i*13%5000)
		}
		synctest.Test(t, func(t *testing.T) {
			trace := decorate.NewTrace(decorate.NewLatency(client, decorate.Latency{PerRequest: latency, BytesPerSecond: bandwidth}))
			start := time.Now()
			conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "many.db")
			defer closeAll()
			mustQuery(t, conn, "SELECT id FROM t LIMIT 1")
			took[files] = time.Since(start)
			t.Logf("%d files: %v, %d reads", files, took[files], trace.Counts().Reads)
		})
	}
	if took[490] > 2*took[30] {
		t.Errorf("490 files take %v, want twice the %v of 30 at most", took[490], took[30])
	}
}
