package litestream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
)

// A database in write mode owns the file that it shares. What it has synced is seen
// by the others at once, however long their interval is.
func TestShare_WriterIsSeenAtOnce(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "local.db")
	writerVFS, _ := newVFS(t, client, &litestream.Options{WriteEnabled: true, WriteSyncInterval: 20 * time.Millisecond, HydrationEnabled: true, HydrationPath: path})
	writer := openConn(t, writerVFS, "app.db")
	mustExec(t, writer, "CREATE TABLE t (x)")
	mustExec(t, writer, "INSERT INTO t SELECT randomblob(100) FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) SELECT i FROM c)")
	mustQuery(t, writer, "PRAGMA litestream_sync")
	waitFor(t, "the copy of the writer", func() bool { return mustQuery(t, writer, "PRAGMA litestream_hydration_status") == "complete" })

	readerVFS, _ := newVFS(t, client, &litestream.Options{PollInterval: time.Hour, HydrationEnabled: true, HydrationPath: path})
	reader := openConn(t, readerVFS, "app.db")
	mustQuery(t, reader, "SELECT count(*) FROM t")
	waitFor(t, "the file of the writer", func() bool { return mustQuery(t, reader, "PRAGMA litestream_hydration_status") == "complete" })
	if s := mustQuery(t, reader, "PRAGMA litestream_status"); !strings.Contains(s, fmt.Sprintf(`"owner":%d`, os.Getpid())) {
		t.Error(s)
	}
	if s := mustQuery(t, writer, "PRAGMA litestream_status"); !strings.Contains(s, `"owner":0`) {
		t.Error(s)
	}
	for i := range 5 {
		mustExec(t, writer, "INSERT INTO t VALUES (randomblob(100))")
		want := fmt.Sprint(1001 + i)
		waitFor(t, "the row "+want, func() bool { return mustQuery(t, reader, "SELECT count(*) FROM t") == want })
	}
	mustQuery(t, writer, "PRAGMA litestream_sync")
	waitFor(t, "the copy with the new rows", func() bool {
		return mustQuery(t, reader, "PRAGMA litestream_hydration_status") == "complete" && mustQuery(t, reader, "PRAGMA litestream_txid") == mustQuery(t, writer, "PRAGMA litestream_txid")
	})
	if got := mustQuery(t, reader, "PRAGMA integrity_check"); got != "ok" {
		t.Error(got)
	}
}
