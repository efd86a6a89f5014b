package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
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
