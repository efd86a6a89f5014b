package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/superfly/ltx"
)

// TestPromise5_LateUpload has a process die during an upload that arrives late: when
// another writer has made the same transaction, merged it, and deleted its file. The
// commit of the dead process is not in the history of the replica, although a file with
// it is there. So it is kept aside when the next process opens the write buffer.
func TestPromise5_LateUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		client := memoryClient()
		open := func(path string) (querier, func()) {
			slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
				o.WriteBufferPath, o.PollInterval, o.CompactionDisabled = path, -1, true
			}))
			db := openConn(t, slot, "app.db")
			return db, func() {
				_ = db.Close()
				if err := vfs.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		}
		inLevel0 := func(txid ltx.TXID) []*ltx.FileInfo {
			return slices.DeleteFunc(filesOf(t, &liar{ReplicaClient: client}), func(f *ltx.FileInfo) bool { return f.Level > 0 || f.MaxTXID != txid })
		}
		writeCompacted(t, client, false, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")

		path := filepath.Join(t.TempDir(), "buffer")
		db, end := open(path)
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		left := copyBuffer(t, path)
		mustExec(t, db, "PRAGMA litestream_sync")
		end()
		const txid = 3
		body, err := client.OpenLTXFile(ctx, 0, txid, txid, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		late, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.DeleteLTXFiles(ctx, inLevel0(txid)); err != nil { // it has not arrived yet
			t.Fatal(err)
		}
		writeCompacted(t, client, false, "INSERT INTO t VALUES ('theirs')", "INSERT INTO t VALUES ('newest')")
		if err := client.DeleteLTXFiles(ctx, inLevel0(txid)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CreateLTXFile(ctx, 0, txid, txid, bytes.NewReader(late)); err != nil {
			t.Fatal(err)
		}

		db, end = open(left)
		defer end()
		wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,theirs,newest")
		if kept, _ := filepath.Glob(left + ".kept-*"); len(kept) != 1 {
			t.Errorf("kept is %v, want one segment", kept)
		}
	})
}

// TestPromise5_SameMoment has two writers commit in the same millisecond. The file of
// one of them is the transaction, and is merged. The commit of the other one, which has
// the same time and size, is kept aside when its write buffer is opened. The writer
// whose commit was merged finds it on the replica.
func TestPromise5_SameMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := memoryClient()
		writeCompacted(t, client, false, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		commit := func(row string, uploaded bool) (left string) {
			other := client
			if !uploaded {
				other = cloneReplica(t, client)
			}
			path := filepath.Join(t.TempDir(), "buffer")
			slot, vfs := newVFSOnly(t, other, writing(func(o *litestream.Options) {
				o.WriteBufferPath, o.PollInterval, o.CompactionDisabled = path, -1, true
			}))
			db := openConn(t, slot, "app.db")
			mustExec(t, db, fmt.Sprintf("INSERT INTO t VALUES ('%s')", row))
			left = copyBuffer(t, path)
			_ = db.Close()
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
			return left
		}
		mine, theirs := commit("mine", false), commit("them", true)
		if _, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Young: true}); err != nil {
			t.Fatal(err)
		}
		if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 3, MaxTXID: 3}}); err != nil {
			t.Fatal(err)
		}
		for left, want := range map[string]int{mine: 1, theirs: 0} {
			slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
				o.WriteBufferPath, o.PollInterval, o.CompactionDisabled = left, -1, true
			}))
			db := openConn(t, slot, "app.db")
			wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,them")
			if kept, _ := filepath.Glob(left + ".kept-*"); len(kept) != want {
				t.Errorf("kept is %v, want %d segments", kept, want)
			}
			_ = db.Close()
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPromise5_MergedBeforeCrash has a process upload a commit, commit again, and die
// before it has checked the upload. An operator makes a snapshot meanwhile, which has the
// pages of the upload. So the first commit is on the replica, and the second one is
// replayed.
func TestPromise5_MergedBeforeCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := memoryClient()
		writeCompacted(t, client, false, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		path := filepath.Join(t.TempDir(), "buffer")
		fault := &storeFault{ReplicaClient: client}
		slot, vfs := newVFSOnly(t, fault, writing(func(o *litestream.Options) {
			o.WriteBufferPath, o.PollInterval, o.CompactionDisabled, o.CloseTimeout = path, -1, true, time.Second
		}))
		db := openConn(t, slot, "app.db")
		mustExec(t, db, "INSERT INTO t VALUES ('first')")
		fault.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			if _, err := do(); err != nil {
				return nil, err
			}
			return nil, errors.New("the reply is lost")
		}
		fault.list = func() error { return errors.New("storage is down") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := vfs.Sync(ctx, "app.db"); err == nil {
			t.Error("the sync has succeeded")
		}
		mustExec(t, db, "INSERT INTO t VALUES ('second')")
		left := copyBuffer(t, path)
		_ = db.Close()
		_ = vfs.Close(context.Background()) // the close cannot sync
		if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
		slot, vfs = newVFSOnly(t, client, writing(func(o *litestream.Options) {
			o.WriteBufferPath, o.PollInterval, o.CompactionDisabled = left, -1, true
		}))
		db = openConn(t, slot, "app.db")
		wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,first,second")
		if kept, _ := filepath.Glob(left + ".kept-*"); len(kept) != 0 {
			t.Errorf("kept is %v", kept)
		}
		_ = db.Close()
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
