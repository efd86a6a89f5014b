package litestream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/superfly/ltx"
)

// TestPromise6_OvertakenReads has a writer that uploads on request only, and has a
// commit, while another one writes and deletes the files before. A read that needs one
// of these fails. The next one works: the writer has noticed that its commit has to give
// way, although nobody has asked for a sync.
func TestPromise6_OvertakenReads(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	for _, begin := range []string{"BEGIN", "BEGIN IMMEDIATE"} {
		t.Run(begin, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testOvertakenReads(t, begin) })
		})
	}
}

func testOvertakenReads(t *testing.T, begin string) {
	client := memoryClient()
	write(t, client, "CREATE TABLE t (v); CREATE TABLE u (v); INSERT INTO t VALUES (1)")
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
		o.PollInterval, o.CacheSize, o.Logger = -1, -1, testlog.New(t, nil)
	}))
	db := openConn(t, slot, "app.db")
	mustExec(t, db, "INSERT INTO u VALUES ('mine')")

	write(t, client, "INSERT INTO t VALUES (2)")
	if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, begin)
	if got, err := queryText(db, "SELECT group_concat(v) FROM t"); err == nil {
		t.Errorf("a read of a deleted file returns %q", got)
	}
	wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,2")
	wantSQL(t, db, "SELECT count(*) FROM u", "0")
	if s := status(t, db); s.Write.Enabled {
		t.Error("the writer goes on without its commit")
	}
	if err := vfs.Sync(t.Context(), "app.db"); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("sync: %v, want a conflict", err)
	}
	_ = db.Close()
	_ = vfs.Close(context.Background()) // returns the same error again
}

// TestPromise6_OvertakenReader is the same for a transaction that began before the commit
// and only reads: its read fails, and the commit is left to the next sync.
func TestPromise6_OvertakenReader(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := memoryClient()
		write(t, client, "CREATE TABLE t (v); CREATE TABLE u (v); INSERT INTO t VALUES (1)")
		slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
			o.PollInterval, o.CacheSize, o.Logger = -1, -1, testlog.New(t, nil)
		}))
		writer, reader := openConn(t, slot, "app.db"), openConn(t, slot, "app.db")
		mustExec(t, reader, "BEGIN; SELECT count(*) FROM sqlite_schema")
		mustExec(t, writer, "INSERT INTO u VALUES ('mine')")

		write(t, client, "INSERT INTO t VALUES (2)")
		if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); err != nil {
			t.Fatal(err)
		}
		if got, err := queryText(reader, "SELECT group_concat(v) FROM t"); err == nil {
			t.Errorf("a read of a deleted file returns %q", got)
		}
		if s := status(t, writer); !s.Write.Enabled || s.Write.Unsynced == 0 {
			t.Errorf("the commit is decided on before anyone needs that: %+v", s.Write)
		}
		if err := vfs.Sync(t.Context(), "app.db"); !errors.Is(err, litestream.ErrConflict) {
			t.Errorf("sync: %v, want a conflict", err)
		}
		_, _ = writer.Close(), reader.Close()
		_ = vfs.Close(context.Background()) // returns the same error again
	})
}
