package litestream_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// TestHeld keeps read transactions open while an hour of commits, compaction and
// retention passes. The writer's process deletes no file that its own transactions
// need, and so the others of the same state can go on, too. Without one, a transaction
// of another process learns that its state is gone. The next one reads the newest
// state.
func TestHeld(t *testing.T) {
	t.Parallel()
	t.Run("also in the writer's process", func(t *testing.T) { testHeld(t, true) })
	t.Run("elsewhere only", func(t *testing.T) { testHeld(t, false) })
}

func testHeld(t *testing.T, inWriter bool) {
	t.Parallel()
	const rows = 200
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		writing, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, CacheSize: -1, PollInterval: -1})
		fastCompaction(&vfs.Options)
		defer vfs.Close(context.Background())
		db := openDB(t, writing, "app.db")
		mustExec(t, db, fmt.Sprintf("CREATE TABLE t (id INTEGER PRIMARY KEY, n, pad); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) INSERT INTO t SELECT i, 0, randomblob(2000) FROM c; PRAGMA litestream_sync", rows))
		const query, first = "SELECT count(*), sum(n), sum(length(pad)) FROM t", "200|0|400000"
		newReader := func(opts litestream.Options) querier {
			opts.CacheSize = -1
			name, reading := newVFS(t, client, &opts)
			t.Cleanup(func() { _ = reading.Close(context.Background()) })
			return openConn(t, name, "app.db")
		}
		readers := map[string]querier{
			"of another process":       newReader(litestream.Options{}),
			"of one with a local copy": newReader(litestream.Options{HydrationEnabled: true}),
		}
		if inWriter {
			readers["of the writer's process"] = openConn(t, writing, "app.db")
		}
		time.Sleep(5 * time.Second) // the copy is complete
		for _, r := range readers {
			mustExec(t, r, "BEGIN")
			wantSQL(t, r, "SELECT n FROM t WHERE id = 1", "0")
		}
		const commits = 720
		for i := range commits {
			mustExec(t, db, "UPDATE t SET n = n + 1, pad = randomblob(2000) WHERE id = ?", 1+i*7%rows)
			time.Sleep(time.Hour / commits)
		}
		mustExec(t, db, "PRAGMA litestream_sync")
		// Files of the first state are kept, and so levels have gaps. SnapshotRetention
		// leaves those of 10 to 15 minutes: a quarter of the commits in level 1, a tenth of
		// that in level 2, and few others. The exact number depends on what comes first of
		// the things of one instant.
		itr, err := client.AllLTXFiles(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if files, err := ltx.SliceFileIterator(itr); err != nil || len(files) > commits/3 {
			t.Errorf("%d files are left of %d, %v", len(files), commits, err)
		}
		for who, r := range readers {
			got, err := queryText(r, query)
			switch {
			case err == nil && got != first:
				t.Errorf("the transaction %s reads %s, want %s", who, got, first)
			case err != nil && inWriter:
				t.Errorf("the transaction %s: %v", who, err)
			case err == nil && !inWriter:
				t.Errorf("the transaction %s can be read, but the files of its state should be gone", who)
			case err != nil:
				last := status(t, r).LastError
				if last == nil || !strings.Contains(last.Text, "state is no longer available") {
					t.Errorf("the transaction %s fails with %v, for the reason %+v", who, err, last)
				}
			}
			_, _ = r.ExecContext(t.Context(), "ROLLBACK") // SQLite may have rolled back after the error
			time.Sleep(3 * time.Second)                   // longer than PollInterval
			wantSQL(t, r, query, fmt.Sprintf("200|%d|400000", commits))
			wantSQL(t, r, "PRAGMA integrity_check", "ok")
		}
	})
}
