package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// TestPromise5_DamagedAfterReplay damages commits that one process left and
// that the next one replayed, served and failed to upload. The commits are
// kept, whatever the first process noted of them.
func TestPromise5_DamagedAfterReplay(t *testing.T) {
	for name, note := range map[string]func(before, now []byte) []byte{
		"all was noted":             func(_, now []byte) []byte { return now },
		"nothing was noted":         func([]byte, []byte) []byte { return nil },
		"the last one was not":      func(before, _ []byte) []byte { return before },
		"of another file, or copy":  func(_, now []byte) []byte { now[8]++; return now },
		"the note was not whole":    func(_, now []byte) []byte { return now[:len(now)-1] },
		"the note was of no commit": func([]byte, []byte) []byte { return []byte("LTXCLOCK") },
	} {
		for _, row := range []string{"first row", "second row"} {
			t.Run(name+"/"+row, func(t *testing.T) { testDamagedAfterReplay(t, note, row) })
		}
	}
}

func testDamagedAfterReplay(t *testing.T, note func(before, now []byte) []byte, row string) {
	client := faulty()
	writeReplica(t, client, "PRAGMA page_size=512; CREATE TABLE t (v)")
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	path := filepath.Join(t.TempDir(), "buffer")
	slot := reuseSlot(t)
	with := func(use func(db querier)) {
		t.Helper()
		vfs := litestream.NewVFS(client, writing(func(o *litestream.Options) {
			o.WriteBufferPath, o.CloseTimeout, o.Logger = path, 20*time.Millisecond, testlog.New(t, nil)
		}))
		setSlot(slot, vfs)
		db := openConn(t, slot, "app.db")
		use(db)
		_ = db.Close()
		_ = vfs.Close(context.Background()) // the close cannot sync
	}
	readNote := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var before []byte
	with(func(db querier) {
		mustExec(t, db, "INSERT INTO t VALUES ('first row')")
		before = readNote()
		mustExec(t, db, "INSERT INTO t VALUES ('second row')")
	})
	if err := os.WriteFile(path, note(before, readNote()), 0o600); err != nil {
		t.Fatal(err)
	}
	with(func(db querier) { wantSQL(t, db, "SELECT group_concat(v) FROM t", "first row,second row") })
	names, _ := filepath.Glob(path + "-*")
	if len(names) != 1 {
		t.Fatalf("the segments are %v, want one", names)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte(row))] ^= 1
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	with(func(db querier) {
		want := ""
		if row == "second row" {
			want = "first row"
		}
		wantSQL(t, db, "SELECT coalesce(group_concat(v), '') FROM t", want)
	})
	kept, _ := filepath.Glob(path + ".kept-*")
	if !slices.ContainsFunc(kept, func(name string) bool {
		got, err := os.ReadFile(name)
		return err == nil && bytes.Equal(got, b)
	}) {
		t.Errorf("commits that were shown are neither replayed nor kept: kept is %v", kept)
	}
}

// TestPromise5_ReplayedIsSynced has a commit that follows commits which an
// earlier process left, maybe without an fsync. If the commit survives a loss
// of power, so do the earlier ones.
func TestPromise5_ReplayedIsSynced(t *testing.T) {
	client := faulty()
	writeReplica(t, client, "CREATE TABLE t (v)")
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	path := filepath.Join(t.TempDir(), "buffer")
	slot := reuseSlot(t)
	var syncs atomic.Int64
	with := func(query string) {
		t.Helper()
		opts := writing(func(o *litestream.Options) {
			o.WriteBufferPath, o.CloseTimeout, o.Logger = path, 20*time.Millisecond, testlog.New(t, nil)
		})
		litestream.OnDisk(opts, func(op string) error {
			if op == "after: sync segment" {
				syncs.Add(1)
			}
			return nil
		})
		vfs := litestream.NewVFS(client, opts)
		setSlot(slot, vfs)
		db := openConn(t, slot, "app.db")
		mustExec(t, db, query)
		_ = db.Close()
		_ = vfs.Close(context.Background()) // the close cannot sync
	}
	with("PRAGMA synchronous=OFF; INSERT INTO t VALUES (1)")
	if n := syncs.Load(); n != 0 {
		t.Fatalf("%d segments were synced with synchronous=OFF", n)
	}
	with("PRAGMA synchronous=FULL; INSERT INTO t VALUES (2)")
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d segments were synced, want the new one and that before it", n)
	}
}

// TestPromise5_FollowsKept leaves two segments, of which the second follows the first.
// Another writer has made the transaction of the first one in the same millisecond. Both
// are kept: the second one is not replayed on the other's transaction, although that has
// the size and the time which it expects.
func TestPromise5_FollowsKept(t *testing.T) {
	for name, merge := range map[string]func(*testing.T, *memory.ReplicaClient) error{
		"snapshot": func(t *testing.T, client *memory.ReplicaClient) error {
			_, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{})
			return err
		},
		"merged": func(t *testing.T, client *memory.ReplicaClient) error {
			if _, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Young: true}); err != nil {
				return err
			}
			return client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 2, MaxTXID: 2}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFollowsKept(t, merge) })
		})
	}
}

func testFollowsKept(t *testing.T, merge func(*testing.T, *memory.ReplicaClient) error) {
	client := faulty()
	write(t, client, "CREATE TABLE t (v)")
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	path := filepath.Join(t.TempDir(), "buffer")
	with := func(use func(db querier)) {
		t.Helper()
		slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
			o.WriteBufferPath, o.PollInterval, o.CloseTimeout, o.CompactionDisabled = path, -1, 20*time.Millisecond, true
		}))
		db := openConn(t, slot, "app.db")
		use(db)
		_ = db.Close()
		_ = vfs.Close(context.Background()) // the first closes cannot sync
	}
	with(func(db querier) {
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		write(t, client.ReplicaClient, "INSERT INTO t VALUES ('theirs')")
	})
	// The second segment begins while the other writer's files are not to be seen.
	seen := client.ReplicaClient
	client.ReplicaClient = memory.NewReplicaClient()
	copyUpTo(t, client.ReplicaClient, seen, 1)
	with(func(db querier) { mustExec(t, db, "INSERT INTO t VALUES ('mine as well')") })
	client.ReplicaClient, client.create = seen, nil
	if err := merge(t, seen); err != nil {
		t.Fatal(err)
	}
	with(func(db querier) { wantSQL(t, db, "SELECT group_concat(v) FROM t", "theirs") })
	if kept, _ := filepath.Glob(path + ".kept-*"); len(kept) != 2 {
		t.Errorf("kept is %v, want two segments", kept)
	}
}

// copyUpTo copies the files of level 0 up to a transaction.
func copyUpTo(t *testing.T, to, from *memory.ReplicaClient, last ltx.TXID) {
	t.Helper()
	for txid := ltx.TXID(1); txid <= last; txid++ {
		if _, err := to.WriteLTXFile(t.Context(), 0, txid, txid, strings.NewReader(readFile(t, from, 0, txid, txid))); err != nil {
			t.Fatal(err)
		}
	}
}
