package litestream_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// TestCompaction_Backlog opens a replica with many files of level 0, which nothing has
// compacted, and commits while they are merged. The merge takes few round trips, so
// that it ends within its time limit.
func TestCompaction_Backlog(t *testing.T) {
	t.Parallel()
	const (
		files   = 640
		latency = 100 * time.Millisecond
	)
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, CompactionDisabled: true})
		db := openDB(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, pad)")
		for i := range files {
			mustExec(t, db, "INSERT INTO t VALUES (?, randomblob(3000)); PRAGMA litestream_sync", i)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Fatal(err)
		}

		trace := decorate.NewTrace(decorate.NewLatency(client, decorate.Latency{PerRequest: latency}))
		vfsName, vfs = newVFS(t, trace, &litestream.Options{
			WriteEnabled: true, WriteSyncInterval: 10 * time.Millisecond, PollInterval: -1,
			CompactionLevels: []time.Duration{time.Second}, L0Retention: time.Second, SnapshotInterval: -1,
		})
		defer vfs.Close(context.Background())
		db = openDB(t, vfsName, "app.db")
		start := time.Now()
		for levels(t, client)[0] > 100 {
			mustExec(t, db, "UPDATE t SET pad = randomblob(10) WHERE id = 0")
			time.Sleep(50 * time.Millisecond)
			if time.Since(start) > 3*time.Minute {
				t.Fatalf("after %s there are %d files of level 0", time.Since(start), levels(t, client)[0])
			}
		}
		for _, e := range trace.Events() {
			if took := e.End.Sub(e.Start); e.Op == decorate.OpCreate && e.Level == 1 && took > files*latency/10 {
				t.Errorf("the merge into %s-%s took %s, which is %d round trips", e.MinTXID, e.MaxTXID, took, took/latency)
			}
		}
	})
}

// slowMerge is a client that takes a while to create a file of level 1.
type slowMerge struct{ *memory.ReplicaClient }

func (c slowMerge) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if level == 1 {
		time.Sleep(20 * time.Second)
	}
	return c.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
}

// TestCompaction_SlowMerge commits more transactions during a merge than a view
// remembers the times of. The files that were merged are deleted all the same.
func TestCompaction_SlowMerge(t *testing.T) {
	t.Parallel()
	const rows = 300
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, slowMerge{client}, &litestream.Options{
			WriteEnabled: true, WriteSyncInterval: 10 * time.Millisecond, PollInterval: -1,
			CompactionLevels: []time.Duration{30 * time.Second}, L0Retention: time.Second, SnapshotInterval: -1,
		})
		defer vfs.Close(context.Background())
		db := openDB(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, pad)")
		for i := range rows { // 30 s
			mustExec(t, db, "INSERT INTO t VALUES (?, randomblob(3000))", i)
			time.Sleep(100 * time.Millisecond)
		}
		for range 250 { // longer than the merge takes
			mustExec(t, db, "UPDATE t SET pad = randomblob(10) WHERE id = 0")
			time.Sleep(100 * time.Millisecond)
		}
		if n := levels(t, client); n[1] != 1 || n[0] > 270 {
			t.Errorf("files by level after a merge of %d files: %v", rows, n)
		}
	})
}
