package litestream_test

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// hugeStore is a replica of a table of 700 rows. Its newest file says that the
// database has the largest possible number of pages.
func hugeStore(t *testing.T) litestream.ReplicaClient {
	t.Helper()
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 700) INSERT INTO t SELECT i, i, randomblob(1000) FROM c")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	pages := make(map[uint32][]byte)
	for page := range slices.Chunk(p.Image(p.TXID()), 4096) {
		if pages[uint32(len(pages)+1)] = page; len(pages) == 20 {
			break
		}
	}
	next := p.TXID() + 1
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: 4096, Commit: math.MaxUint32 - 1, MinTXID: next, MaxTXID: next, Timestamp: time.Now().UnixMilli(),
	}, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), 0, next, next, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return client
}

// Every request to a database that claims to be huge soon gets an answer or an
// error, and the close ends soon, too.
func TestHugeCommit_SQL(t *testing.T) {
	for name, write := range map[string]bool{"read": false, "write": true} {
		t.Run(name, func(t *testing.T) {
			vfsName, vfs := newVFS(t, hugeStore(t), &litestream.Options{HydrationEnabled: true, WriteEnabled: write})
			db := openDB(t, vfsName, "app.db")
			waitFor(t, "hydration", func() bool {
				return mustQuery(t, db, "PRAGMA litestream_hydration_status") == "complete"
			})
			for _, query := range []string{
				"SELECT count(*), sum(v) FROM t", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA litestream_status",
				"PRAGMA litestream_history", "SELECT sum(length(b)) FROM t WHERE id > 600", "PRAGMA quick_check", "PRAGMA integrity_check",
			} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				rows, err := db.QueryContext(ctx, query)
				if err == nil {
					for rows.Next() {
					}
					err = rows.Err()
					rows.Close()
				}
				if err != nil && strings.Contains(err.Error(), "interrupt") {
					t.Errorf("%s: not within a minute", query)
				}
				cancel()
			}
			if write {
				mustExec(t, db, "UPDATE t SET v = v + 1 WHERE id < 50; INSERT INTO t SELECT id + 1000, v, b FROM t")
				mustQuery(t, db, "PRAGMA litestream_sync")
				if got := mustQuery(t, db, "SELECT count(*) FROM t"); got != "1400" {
					t.Errorf("%s rows", got)
				}
			}
			db.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := vfs.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
