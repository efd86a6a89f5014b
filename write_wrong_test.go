package litestream_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestPromise1_WrongFileWhileUnsynced has hydration find that the checksum of a
// file is wrong while commits are not yet on the replica. Pages of that file in
// SQLite's cache are no longer used either.
func TestPromise1_WrongFileWhileUnsynced(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			client := memoryClient()
			write(t, client, "CREATE TABLE t (v); CREATE TABLE other (v)")
			write(t, client, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 2000) INSERT INTO t SELECT randomblob(1000) FROM n")
			write(t, client, "INSERT INTO other VALUES (0)") // this file holds page 1
			body := []byte(readFile(t, client, 0, 2, 2))
			body[len(body)-1] ^= 1
			if _, err := client.WriteLTXFile(t.Context(), 0, 2, 2, strings.NewReader(string(body))); err != nil {
				t.Fatal(err)
			}
			slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
				o.HydrationEnabled, o.HydrationRateLimit, o.PollInterval = true, 200<<10, -1
				o.Logger, o.CompactionDisabled = testlog.New(t, nil), true
			}))
			defer vfs.Close(context.Background())
			writer, reader := openConn(t, slot, "app.db"), openConn(t, slot, "app.db")
			if unsynced {
				mustExec(t, writer, "INSERT INTO other VALUES (1)")
			}
			conns := map[string]querier{"writer": writer, "reader": reader}
			for _, db := range conns {
				mustExec(t, db, "PRAGMA cache_size = 10000")
				wantSQL(t, db, "SELECT count(v) FROM t", "2000")
			}
			for mustQuery(t, writer, "PRAGMA litestream_hydration_status") != "failed" {
				time.Sleep(time.Second)
			}
			for name, db := range conns {
				if got, err := queryText(db, "SELECT count(v) FROM t"); err == nil {
					t.Errorf("unsynced %v: %s goes on with what it has cached: %s", unsynced, name, got)
				}
			}
			mustExec(t, writer, "INSERT INTO other VALUES (2)")
			if err := vfs.Sync(context.Background(), "app.db"); err != nil {
				t.Error(err)
			}
		})
	}
}
