package litestream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// storeFault is a replica in memory whose requests can be made to fail.
type storeFault struct {
	*memory.ReplicaClient
	create func(minTXID ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) // nil: the request is passed on
	upload func()                                                                          // nil or called before a file of level 0 is made
	list   func() error                                                                    // nil: the request is passed on
}

func (c *storeFault) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	do := func() (*ltx.FileInfo, error) { return c.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r) }
	if c.upload != nil && level == 0 {
		c.upload()
	}
	if c.create == nil {
		return do()
	}
	return c.create(minTXID, do)
}

func (c *storeFault) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if c.list != nil {
		if err := c.list(); err != nil {
			return nil, err
		}
	}
	return c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
}

// hold makes the n-th uploads wait until release is called, once for each of
// them. The channel entered receives a value when an upload begins to wait.
// Files of a compaction do not count, because their time depends on the clock.
// Hold is called before the client is used.
func (c *storeFault) hold(n ...int64) (entered <-chan struct{}, release func()) {
	begun, gate := make(chan struct{}, len(n)), make(chan struct{})
	var uploads atomic.Int64
	c.upload = func() {
		if slices.Contains(n, uploads.Add(1)) {
			begun <- struct{}{}
			<-gate
		}
	}
	return begun, func() { gate <- struct{}{} }
}

func faulty() *storeFault { return &storeFault{ReplicaClient: memory.NewReplicaClient()} }

// TestPromise2_PooledConnections increments one number on many connections at
// once. Each acknowledged increment counts, and the next one sees it.
func TestPromise2_PooledConnections(t *testing.T) {
	client := memoryClient()
	vfsName, vfs := newVFS(t, client, writing())
	db := openDB(t, vfsName, "app.db", "_txlock=immediate", "_busy_timeout=20000")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (0)")
	const workers, each = 8, 25
	var wg sync.WaitGroup
	var done atomic.Int64
	for range workers {
		wg.Go(func() {
			for range each {
				tx, err := db.Begin()
				if err != nil {
					t.Errorf("begin: %v", err)
					return
				}
				var v int
				if err := tx.QueryRow("SELECT v FROM t").Scan(&v); err != nil {
					t.Errorf("read: %v", err)
				}
				if least := int(done.Load()); v < least {
					t.Errorf("reads %d after %d increments were acknowledged", v, least)
				}
				if _, err := tx.Exec("UPDATE t SET v = ?", v+1); err != nil {
					t.Errorf("write: %v", err)
				}
				if err := tx.Commit(); err != nil {
					t.Errorf("commit: %v", err)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	want := fmt.Sprint(workers * each)
	wantSQL(t, db, "SELECT v FROM t", want)
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT v FROM t", want)
}

// TestPromise2_CommitIsSeenAtOnce commits on one connection and reads on
// another, which keeps an older state until its transaction ends.
func TestPromise2_CommitIsSeenAtOnce(t *testing.T) {
	vfsName, _ := newVFS(t, memoryClient(), writing())
	a, b := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	wantSQL(t, b, "SELECT v FROM t", "1")
	mustExec(t, b, "BEGIN")
	wantSQL(t, b, "SELECT v FROM t", "1")
	mustExec(t, a, "UPDATE t SET v = 2")
	wantSQL(t, a, "SELECT v FROM t", "2")
	wantSQL(t, b, "SELECT v FROM t", "1")
	if _, err := b.ExecContext(t.Context(), "UPDATE t SET v = 3"); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a transaction on an old view writes: %v, want busy", err)
	}
	mustExec(t, b, "COMMIT")
	wantSQL(t, b, "SELECT v FROM t", "2")
	mustExec(t, b, "UPDATE t SET v = 3")
	wantSQL(t, a, "SELECT v FROM t", "3")
}

// TestPromise3_WriteAndSync reads while another connection is in the middle of
// a transaction, and while an upload hangs. It then commits.
func TestPromise3_WriteAndSync(t *testing.T) {
	client := faulty()
	uploading, release := client.hold(1)
	vfsName, vfs := newVFS(t, client, writing())
	a, b := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, a, "BEGIN EXCLUSIVE; UPDATE t SET v = 2")
	wantSQL(t, b, "SELECT v FROM t", "1")
	mustExec(t, a, "COMMIT")

	synced := make(chan error, 1)
	go func() { synced <- vfs.Sync(t.Context(), "app.db") }()
	<-uploading
	wantSQL(t, b, "SELECT v FROM t", "2")
	mustExec(t, b, "UPDATE t SET v = 3")
	wantSQL(t, a, "SELECT v FROM t", "3")
	mustExec(t, a, "UPDATE t SET v = 4")
	release()
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	wantSQL(t, b, "SELECT v FROM t", "4")
	wantSQL(t, b, "PRAGMA litestream_sync", "0000000000000002")
	wantSQL(t, b, "SELECT v FROM t", "4")
}

// TestPromise5_Buffer simulates a killed process: another VFS finds copies of
// the buffer and the replica as they were while the first process was alive.
func TestPromise5_Buffer(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	mustExec(t, db, "INSERT INTO t VALUES (3)")

	left := copyBuffer(t, path)
	nextName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = left }))
	next := openDB(t, nextName, "app.db")
	wantSQL(t, next, "SELECT group_concat(v) FROM t", "1,2,3")
	wantSQL(t, next, "PRAGMA litestream_sync", "0000000000000002")
	mustExec(t, next, "INSERT INTO t VALUES (4)")
	wantSQL(t, next, "PRAGMA litestream_sync", "0000000000000003")
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT group_concat(v) FROM t", "1,2,3,4")

	// The first process is still alive, and has lost.
	mustExec(t, db, "INSERT INTO t VALUES (9)")
	_, err := db.Exec("PRAGMA litestream_sync")
	if err == nil {
		t.Error("two writers with one transaction id both succeed")
	}
	if text := status(t, db).LastError; text == nil || !strings.Contains(text.Text, "another writer") {
		t.Errorf("the loser is told %v", text)
	}
	waitFor(t, "the winner's state", func() bool { return mustQuery(t, db, "SELECT group_concat(v) FROM t") == "1,2,3,4" })
	if _, err := db.Exec("INSERT INTO t VALUES (5)"); err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("the loser writes: %v", err)
	}
	kept, _ := filepath.Glob(path + ".kept-*")
	if len(kept) != 1 {
		t.Errorf("kept is %v, want one segment", kept)
	}
	mustExec(t, db, "PRAGMA litestream_write_enabled = 1")
	mustExec(t, db, "INSERT INTO t VALUES (5)")
	wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000004")
}

// copyBuffer copies the files of a write buffer, and returns the path of the
// copy.
func copyBuffer(t testing.TB, path string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no write buffer at %s: %v", path, err)
	}
	for _, name := range names {
		copyFile(t, name, filepath.Join(dir, filepath.Base(name)))
	}
	return filepath.Join(dir, filepath.Base(path))
}

// TestPromise6_LostReply makes uploads succeed although the writer gets an
// error.
func TestPromise6_LostReply(t *testing.T) {
	client := faulty()
	vfsName, _ := newVFS(t, client, writing())
	db := openDB(t, vfsName, "app.db")
	var lost atomic.Int64
	client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		info, err := do()
		if err == nil {
			lost.Add(1)
			return nil, errors.New("connection reset by peer")
		}
		return info, err
	}
	mustExec(t, db, "CREATE TABLE t (v)")
	wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000001")
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000002")
	if lost.Load() != 2 {
		t.Errorf("%d replies were lost, want 2", lost.Load())
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT v FROM t", "1")
}

// TestWrite_StorageDown commits while storage is down for longer than a close
// waits.
func TestWrite_StorageDown(t *testing.T) {
	client := faulty()
	var down atomic.Bool
	errDown := errors.New("storage is down")
	client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		if down.Load() {
			return nil, errDown
		}
		return do()
	}
	path := filepath.Join(t.TempDir(), "buffer")
	opts := writing(func(o *litestream.Options) { o.WriteBufferPath, o.CloseTimeout, o.WriteBufferMaxSize = path, 1, 64<<10 })
	vfsName, vfs := newVFS(t, client, opts)
	db, err := vfstest.Open(dsn(vfsName, "app.db", "_busy_timeout=1"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	down.Store(true)
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := vfs.Sync(ctx, "app.db"); err == nil {
		t.Error("a sync succeeds while storage is down")
	}
	waitFor(t, "a sync to fail", func() bool { return strings.Contains(status(t, db).Write.Error, "storage is down") })
	full := false
	for range 100 {
		if _, err := db.Exec("INSERT INTO t VALUES (zeroblob(2000))"); err != nil {
			full = true
			if !strings.Contains(err.Error(), "locked") {
				t.Errorf("the buffer is full: %v, want busy", err)
			}
			break
		}
	}
	if !full {
		t.Error("the buffer grows without a bound")
	}
	rows := mustQuery(t, db, "SELECT count(*) FROM t")
	if err := vfs.Close(t.Context()); err == nil {
		t.Error("close says that all is well")
	}
	down.Store(false)
	opts.CloseTimeout = 0
	vfsName, _ = newVFS(t, client, opts)
	again := openDB(t, vfsName, "app.db")
	wantSQL(t, again, "SELECT count(*) FROM t", rows)
	wantSQL(t, again, "PRAGMA litestream_sync", "0000000000000003")
}

// TestWrite_KeptTemporary makes the last sync fail where the buffer has no
// path.
func TestWrite_KeptTemporary(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	client := faulty()
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) { return nil, fs.ErrPermission }
	var log testlog.Buffer
	opts := writing(func(o *litestream.Options) { o.CloseTimeout, o.Logger = 1, testlog.New(t, &log) })
	vfsName, vfs := newVFS(t, client, opts)
	mustExec(t, openDB(t, vfsName, "app.db"), "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	if err := vfs.Close(t.Context()); err == nil {
		t.Error("close says that all is well")
	}
	_, path, _ := strings.Cut(log.String(), "kept=")
	path = strings.Fields(path)[0]
	// The sync that Close gave up on may still be calling the first client.
	vfsName, _ = newVFS(t, client.ReplicaClient, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openDB(t, vfsName, "app.db")
	wantSQL(t, db, "SELECT v FROM t", "1")
	wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000001")
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWrite_Requests counts the requests of syncs. Each sync makes one upload
// and one listing, of level 0 or of all levels. A sync without commits makes no
// request.
func TestWrite_Requests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, memoryClient(), &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, CompactionDisabled: true})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v)")
		mustExec(t, db, "PRAGMA litestream_sync")
		before := vfs.Stats()[0]
		const n = 100
		for i := range n {
			mustExec(t, db, "INSERT INTO t VALUES (?)", i)
			mustExec(t, db, "PRAGMA litestream_sync")
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		mustExec(t, db, "PRAGMA litestream_sync")
		after := vfs.Stats()[0]
		if lists, reads, creates := after.Lists-before.Lists, after.Reads-before.Reads, after.Creates-before.Creates; lists != n || reads != 0 || creates != n {
			t.Errorf("%d syncs: %d lists, %d reads, %d uploads", n, lists, reads, creates)
		}
	})
}

// TestWrite_SyncOfNothing checks that a sync without commits does not make the
// next commit sync before it is due.
func TestWrite_SyncOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.PollInterval = -1 }))
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		for n := range 3 {
			mustExec(t, db, "PRAGMA litestream_sync")
			mustExec(t, db, "PRAGMA litestream_sync")
			before := vfs.Stats()[0].Write.Syncs
			mustExec(t, db, fmt.Sprintf("CREATE TABLE t%d (v)", n))
			synctest.Wait()
			time.Sleep(time.Hour)
			if after := vfs.Stats()[0].Write.Syncs; after != before {
				t.Errorf("commit %d was synced though nothing asked for it", n)
			}
		}
	})
}
