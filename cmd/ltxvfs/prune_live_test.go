package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/ncruces"
)

// live is a connection to a replica by the VFS.
type live struct {
	*sqlite3.Conn
	vfs *litestream.VFS
}

func openLive(t testing.TB, name string, client litestream.ReplicaClient, opts *litestream.Options) *live {
	t.Helper()
	vfs := litestream.NewVFS(client, opts)
	if err := ncruces.RegisterVFS(name, vfs); err != nil {
		t.Fatal(err)
	}
	conn, err := sqlite3.Open("file:app.db?vfs=" + name)
	if err != nil {
		t.Fatal(err)
	}
	return &live{conn, vfs}
}

func (l *live) close() error { return errors.Join(l.Close(), l.vfs.Close(context.Background())) }

// number returns the result of a query.
func (l *live) number(query string) (n int, err error) {
	stmt, _, err := l.Prepare(query)
	if err != nil {
		return 0, err
	}
	if stmt.Step() {
		n = stmt.ColumnInt(0)
	}
	return n, errors.Join(stmt.Err(), stmt.Close())
}

// A writer that compacts, a reader that follows it, and prune, compact and snapshot
// beside them: the writer notices nothing, the reader sees whole transactions or an
// error, and the replica is in order afterwards.
func TestPrune_Live(t *testing.T) {
	dir := t.TempDir()
	client := file.NewReplicaClient(filepath.Join(dir, "replica"))
	writer := openLive(t, "prune-writer", client, &litestream.Options{
		WriteEnabled: true, WriteSyncInterval: -1, WriteBufferPath: filepath.Join(dir, "buffer"), L0Retention: 20 * time.Millisecond,
		CompactionLevels: []time.Duration{10 * time.Millisecond, 30 * time.Millisecond, 80 * time.Millisecond}, SnapshotInterval: 50 * time.Millisecond,
	})
	exec := func(statements string) {
		t.Helper()
		if err := errors.Join(writer.Exec(statements), writer.vfs.Sync(t.Context(), "app.db")); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE a (id INTEGER PRIMARY KEY, n, pad); CREATE TABLE b (id INTEGER PRIMARY KEY, n, pad);" +
		"WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200) INSERT INTO a SELECT i, 0, zeroblob(500) FROM c; INSERT INTO b SELECT * FROM a")
	reader := openLive(t, "prune-reader", client, &litestream.Options{PollInterval: 2 * time.Millisecond, CacheSize: 64 << 10})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { readWhole(t, reader, done) })
	deleted := 0
	for round := range 40 {
		for range 5 {
			exec("BEGIN IMMEDIATE; UPDATE a SET n = n + 1 WHERE id % 10 = abs(random()) % 10; REPLACE INTO b SELECT * FROM a; COMMIT")
		}
		if round%5 == 0 {
			if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); err != nil {
				t.Error(err)
			}
			if r, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{}); err != nil || r.Gap != "" {
				t.Error(r, err)
			}
		}
		r, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: maintain.Keep{Last: 1 + round%3}, WriterMayRun: true})
		if err != nil {
			t.Error(err)
			continue
		}
		deleted += r.Deleted
	}
	close(done)
	wg.Wait()
	if n, err := writer.number(differing); err != nil || n > 0 {
		t.Errorf("%d rows differ, error %v", n, err)
	}
	if err := errors.Join(reader.close(), writer.close()); err != nil {
		t.Error(err)
	}
	if deleted == 0 {
		t.Error("nothing was deleted")
	}
	r, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) > 0 || r.Last != r.Newest {
		t.Errorf("%+v, %v", r, err)
	}
	t.Logf("%d files deleted, %d left", deleted, r.Files)
}

// differing counts the rows of two tables that are the same after each transaction,
// and at no other time.
const differing = "SELECT count(*) FROM a JOIN b USING (id) WHERE a.n <> b.n OR a.pad <> b.pad"

func readWhole(t *testing.T, reader *live, done <-chan struct{}) {
	whole, gone := 0, 0
	for {
		select {
		case <-done:
			t.Logf("%d reads, and %d errors about states that were deleted", whole, gone)
			if whole == 0 {
				t.Error("no read succeeded")
			}
			return
		default:
		}
		switch n, err := reader.number(differing); {
		case err != nil:
			gone++
			if gone < 4 {
				t.Logf("read: %v", err)
			}
		case n > 0:
			t.Errorf("%d rows differ", n)
		default:
			whole++
		}
	}
}
