package litestream_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// TestTraces_Hydration compares the requests of a hydration, of the polls after
// it and of a restart with a golden file.
func TestTraces_Hydration(t *testing.T) {
	inner := memoryClient()
	p := ltxtest.New(t, inner, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, pad TEXT)")
	p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000)
		INSERT INTO t SELECT i, i, printf('%x%x%x%x', i * 57885161 % 4294967291 * 1073741789, i * 43112609 % 4294967291 * 1073741783,
			i * 42643801 % 4294967291 * 1073741741, i * 37156667 % 4294967291 * 1073741723) FROM c`)
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	p.Exec("UPDATE t SET v = -v WHERE id BETWEEN 100 AND 700")
	path := filepath.Join(t.TempDir(), "local.db")
	var b strings.Builder
	session := func(name string, more func(db *sql.DB, step func(string, func()))) {
		synctest.Test(t, func(t *testing.T) {
			trace := decorate.NewTrace(decorate.NewLatency(inner, decorate.Latency{PerRequest: latency}))
			// Each part has a stream of its own, so the order in which parts
			// arrive does not matter.
			vfsName, vfs := newVFS(t, trace, &litestream.Options{HydrationEnabled: true, HydrationPath: path, HydrationConcurrency: 64})
			defer vfs.Close(context.Background())
			db, err := vfstest.Open(dsn(vfsName, "app.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			db.SetMaxOpenConns(1)
			step := func(name string, do func()) {
				trace.Reset()
				do()
				events := trace.Events()
				c := trace.Counts()
				fmt.Fprintf(&b, "# %s: %d round trips, %d lists, %d reads, %d bytes\n", name, len(decorate.Waves(events)), c.Lists, c.Reads, c.BytesRead)
				b.WriteString(decorate.Format(events))
				b.WriteByte('\n')
			}
			step(name, func() {
				mustExec(t, db, "PRAGMA litestream_txid")
				for mustQuery(t, db, "PRAGMA litestream_hydration_status") != "complete" {
					time.Sleep(latency / 10)
				}
			})
			more(db, step)
		})
	}
	session("open and hydrate", func(db *sql.DB, step func(string, func())) {
		step("scan", func() { mustQuery(t, db, "SELECT sum(v) FROM t") })
		step("a transaction of the primary", func() {
			txid := p.Exec("UPDATE t SET v = 0 WHERE id = 9000").String()
			for mustQuery(t, db, "PRAGMA litestream_txid") != txid {
				mustQuery(t, db, "SELECT v FROM t WHERE id = 9000")
				time.Sleep(latency / 10)
			}
		})
	})
	p.Exec("UPDATE t SET v = 1 WHERE id BETWEEN 11000 AND 11100")
	session("restart after another transaction", func(db *sql.DB, step func(string, func())) {
		step("scan", func() { mustQuery(t, db, "SELECT sum(v) FROM t") })
	})
	golden(t, "hydration", b.String())
}
