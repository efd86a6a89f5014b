package litestream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// liar is a replica whose listings leave out files.
type liar struct {
	*memory.ReplicaClient
	byLevel bool // the client cannot list all levels at once

	mu    sync.Mutex
	lists int                                  // guarded by mu; listings so far
	hides func(list int, f *ltx.FileInfo) bool // guarded by mu; nil: none; list counts from 0
}

// lie makes listings leave out files from now on.
func (c *liar) lie(hides func(list int, f *ltx.FileInfo) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists, c.hides = 0, hides
}

func (c *liar) filter(itr ltx.FileIterator, err error) (ltx.FileIterator, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var files []*ltx.FileInfo
	for itr.Next() {
		if f := itr.Item(); c.hides == nil || !c.hides(c.lists, f) {
			files = append(files, f)
		}
	}
	c.lists++
	return ltx.NewFileInfoSliceIterator(files), itr.Close()
}

func (c *liar) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return c.filter(c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata))
}

func (c *liar) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if c.byLevel {
		return nil, errors.ErrUnsupported
	}
	return c.filter(c.ReplicaClient.AllLTXFiles(ctx, useMetadata))
}

// lies are the ways in which a listing can be wrong. The parameter newest is
// the newest transaction of the replica.
var lies = map[string]func(f *ltx.FileInfo, newest ltx.TXID) bool{
	"empty":       func(*ltx.FileInfo, ltx.TXID) bool { return true },
	"no level 0":  func(f *ltx.FileInfo, _ ltx.TXID) bool { return f.Level == 0 },
	"old":         func(f *ltx.FileInfo, newest ltx.TXID) bool { return f.MaxTXID+2 > newest },
	"no newest":   func(f *ltx.FileInfo, newest ltx.TXID) bool { return f.MaxTXID >= newest },
	"no oldest":   func(f *ltx.FileInfo, _ ltx.TXID) bool { return f.MinTXID < 3 },
	"no snapshot": func(f *ltx.FileInfo, _ ltx.TXID) bool { return f.Level == litestream.SnapshotLevel },
}

// trySync syncs with a time limit.
func trySync(vfs *litestream.VFS, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return vfs.Sync(ctx, "app.db")
}

// readFresh reads a replica like a process that has no state of it.
func readFresh(t testing.TB, client litestream.ReplicaClient, query string) (string, error) {
	t.Helper()
	readName, reading := newVFSOnly(t, client, &litestream.Options{PollInterval: -1})
	defer reading.Close(context.Background())
	db := openDB(t, readName, "app.db")
	defer db.Close()
	if got, err := queryText(db, "PRAGMA integrity_check"); err != nil || got != "ok" {
		return got, errors.Join(err, errors.New("integrity_check is not ok"))
	}
	return queryText(db, query)
}

// TestPromise5_WrongListing makes the listings of a replica wrong for a while,
// from the k-th on, while an idle writer resumes. The writer loses nothing, and
// continues once the listings are right.
func TestPromise5_WrongListing(t *testing.T) {
	for name, hides := range lies {
		for _, byLevel := range []bool{false, true} {
			for first := range 3 {
				for _, idle := range []time.Duration{time.Second, time.Hour} {
					t.Run(fmt.Sprintf("%s/%v/%d/%v", name, byLevel, first, idle), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							client := &liar{ReplicaClient: memoryClient(), byLevel: byLevel}
							testWrongListing(t, client, idle, func(list int, f *ltx.FileInfo) bool { return list >= first && hides(f, 6) })
						})
					})
				}
			}
		}
	}
}

func testWrongListing(t *testing.T, client *liar, idle time.Duration, hides func(int, *ltx.FileInfo) bool) {
	vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, CompactionDisabled: true})
	defer vfs.Close(context.Background())
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	for i := range 4 {
		mustExec(t, db, "INSERT INTO t VALUES (?)", i)
		mustExec(t, db, "PRAGMA litestream_sync")
	}
	time.Sleep(idle)
	client.lie(hides)
	mustExec(t, db, "INSERT INTO t VALUES (4)")
	for range 3 {
		if err := trySync(vfs, 10*time.Second); err == nil {
			break
		} else if errors.Is(err, litestream.ErrConflict) {
			t.Fatalf("the writer gave up: %v", err)
		}
	}
	time.Sleep(time.Minute)
	client.lie(nil)
	mustExec(t, db, "INSERT INTO t VALUES (5)")
	if err := trySync(vfs, time.Minute); err != nil {
		t.Fatalf("sync once listings are right: %v", err)
	}
	synctest.Wait()
	if s := status(t, db).Write; !s.Enabled || s.Unsynced != 0 || s.Error != "" || s.Mended != 0 {
		t.Errorf("status: %+v", s)
	}
	if got, err := readFresh(t, client, "SELECT group_concat(v) FROM t"); err != nil || got != "0,1,2,3,4,5" {
		t.Errorf("a fresh reader gets %q, %v", got, err)
	}
}

// TestPromise9_DoubtAfterLook has a listing raise a doubt while a sync that waits
// for another one ends. The sync then looks once more, although nothing else asks
// it to.
func TestPromise9_DoubtAfterLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &liar{ReplicaClient: memoryClient()}
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, CompactionDisabled: true})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v)")
		for i := range 3 {
			mustExec(t, db, "INSERT INTO t VALUES (?)", i)
			mustSync(t, vfs)
		}
		time.Sleep(time.Hour) // polling sleeps
		write(t, client.ReplicaClient, "INSERT INTO t VALUES (3)")
		var lists []string
		client.lie(func(list int, f *ltx.FileInfo) bool {
			for len(lists) <= list {
				lists = append(lists, "")
			}
			hides := map[int]bool{
				0: f.MinTXID == 1 || f.MaxTXID > 3, // a transaction wakes the poller, which doubts
				2: f.MinTXID == 1,                  // the view advances, and the doubt is back
			}[list]
			if !hides {
				lists[list] += fmt.Sprintf("%d ", f.MaxTXID)
			}
			return hides
		})
		wantSQL(t, db, "SELECT max(v) FROM t", "2")
		if err := trySync(vfs, time.Minute); err != nil {
			t.Errorf("sync: %v", err)
		}
		wantSQL(t, db, "SELECT max(v) FROM t", "3")
		if want := []string{"2 3 ", "1 2 3 4 ", "2 3 4 ", "1 2 3 4 "}; !slices.Equal(lists, want) {
			t.Errorf("the listings have transactions %q, want %q", lists, want)
		}
	})
}

// oldReplica makes a replica without the file of its first transaction, so that
// nothing has that name. If left is 0, it has no file of level 0 at all.
func oldReplica(t *testing.T, left int) *liar {
	t.Helper()
	client := &liar{ReplicaClient: memoryClient()}
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, PollInterval: -1})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v)")
		for i := range 20 {
			mustExec(t, db, "INSERT INTO t VALUES (?)", i)
			time.Sleep(time.Minute)
		}
	})
	if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); err != nil {
		t.Fatal(err)
	}
	if left == 0 {
		var all []*ltx.FileInfo
		for _, f := range filesOf(t, client) {
			if f.Level == 0 {
				all = append(all, f)
			}
		}
		if err := client.DeleteLTXFiles(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	return client
}

// filesOf lists a replica.
func filesOf(t testing.TB, client *liar) (files []*ltx.FileInfo) {
	t.Helper()
	itr, err := client.ReplicaClient.AllLTXFiles(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	for itr.Next() {
		files = append(files, itr.Item())
	}
	return files
}

// TestPromise5_NewOverHidden opens a writer on a replica whose listing is
// empty, for some requests or for ever. The writer must not begin a new
// database over the existing one.
func TestPromise5_NewOverHidden(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that a loser keeps goes there
	for _, left := range []int{0, 1} {
		for _, until := range []int{1, 2, 11, 12, 13, 14, 1 << 30} {
			t.Run(fmt.Sprintf("%d/%d", left, until), func(t *testing.T) {
				client := oldReplica(t, left)
				want, err := readFresh(t, client, "SELECT group_concat(v) FROM t")
				if err != nil {
					t.Fatal(err)
				}
				client.lie(func(list int, _ *ltx.FileInfo) bool { return list < until })
				slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.CloseTimeout, o.PollInterval = 50*time.Millisecond, -1 }))
				db := openDB(t, slot, "app.db")
				if _, err := db.Exec("CREATE TABLE other (v)"); err == nil && status(t, db).TXID < 10 {
					if err := trySync(vfs, 100*time.Millisecond); err == nil {
						t.Error("a new database was begun over another")
					}
				}
				_ = vfs.Close(t.Context())
				client.lie(nil)
				if got, err := readFresh(t, client, "SELECT group_concat(v) FROM t"); err != nil || got != want {
					t.Errorf("a fresh reader gets %q, %v, want %q", got, err, want)
				}
			})
		}
	}
}

// TestPromise5_RecoverOverHidden opens a write buffer with commits while the
// listing of its replica is wrong. The commits are neither replayed elsewhere
// nor set aside, and are there once the listing is right.
func TestPromise5_RecoverOverHidden(t *testing.T) {
	for _, name := range []string{"empty", "no level 0", "no newest", "old"} {
		t.Run(name, func(t *testing.T) {
			client := &liar{ReplicaClient: memoryClient()}
			writeReplica(t, client, "CREATE TABLE t (v)")
			writeReplica(t, client, "INSERT INTO t VALUES (1)")
			writeReplica(t, client, "INSERT INTO t VALUES (2)")
			path := leaveBuffer(t, client, insertThere)
			client.lie(func(_ int, f *ltx.FileInfo) bool { return lies[name](f, 3) })
			slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.CloseTimeout = path, 50*time.Millisecond }))
			db := openDB(t, slot, "app.db")
			if got, err := queryText(db, "SELECT group_concat(v) FROM t"); err == nil && got != "1,2,there" {
				t.Errorf("the writer opens with %q", got)
			}
			_ = db.Close()
			_ = vfs.Close(t.Context())
			if kept, _ := filepath.Glob(path + ".kept-*"); len(kept) > 0 {
				t.Errorf("commits were set aside: %v", kept)
			}
			client.lie(nil)
			nextName, next := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
			wantSQL(t, openDB(t, nextName, "app.db"), "SELECT group_concat(v) FROM t", "1,2,there")
			mustSync(t, next)
		})
	}
}

// TestPromise5_RecoverOverNothing opens a write buffer with commits for a
// replica that is empty by now.
func TestPromise5_RecoverOverNothing(t *testing.T) {
	client := &liar{ReplicaClient: memoryClient()}
	writeReplica(t, client, "CREATE TABLE t (v)")
	path := leaveBuffer(t, client, insertThere)
	before, err := os.ReadFile(path + "-00000001")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.DeleteLTXFiles(t.Context(), filesOf(t, client)); err != nil {
		t.Fatal(err)
	}
	var log testlog.Buffer
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.Logger = path, testlog.New(t, &log) }))
	defer vfs.Close(context.Background())
	if _, err := openDB(t, slot, "app.db").Exec("CREATE TABLE t (v)"); err == nil {
		t.Error("a new database is begun although commits wait for another")
	}
	if after, err := os.ReadFile(path + "-00000001"); err != nil || string(after) != string(before) {
		t.Errorf("the buffer has changed: %v", err)
	}
	if !strings.Contains(log.String(), path) {
		t.Errorf("the log does not name the buffer: %s", log.String())
	}
}
