package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// TestPromise1_NumberOfPast commits with a change counter that a state of the
// past would have if the counters of past states counted upwards, too. SQLite
// would then keep the pages of that state.
func TestPromise1_NumberOfPast(t *testing.T) {
	vfsName, _ := newVFS(t, memoryClient(), writing())
	c := openConn(t, vfsName, "app.db")
	mustExec(t, c, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, c, "PRAGMA litestream_sync")
	mustExec(t, c, "UPDATE t SET v = 2")
	mustExec(t, c, "PRAGMA litestream_sync")
	for v := 3; v < 6; v++ {
		mustExec(t, c, "PRAGMA litestream_txid = '0000000000000001'")
		wantSQL(t, c, "SELECT v FROM t", "1")
		mustExec(t, c, "PRAGMA litestream_txid = latest")
		wantSQL(t, c, "SELECT v FROM t", fmt.Sprint(v-1))
		mustExec(t, c, fmt.Sprintf("UPDATE t SET v = %d", v))
	}
	mustExec(t, c, "PRAGMA litestream_txid = '0000000000000001'")
	wantSQL(t, c, "SELECT v FROM t", "1")
}

// TestPromise1_NumberOfExclusive commits twice while SQLite does not change its
// change counter, and examines the state in between.
func TestPromise1_NumberOfExclusive(t *testing.T) {
	vfsName, vfs := newVFS(t, memoryClient(), writing())
	c, other := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	mustExec(t, c, "CREATE TABLE t (v); INSERT INTO t VALUES (0)")
	mustExec(t, c, "PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET v = 1")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
	mustExec(t, other, "PRAGMA litestream_txid = '0000000000000001'")
	wantSQL(t, other, "SELECT v FROM t", "1")
	mustExec(t, c, "UPDATE t SET v = 2")
	mustExec(t, c, "PRAGMA locking_mode=NORMAL")
	wantSQL(t, c, "SELECT v FROM t", "2")
	mustExec(t, c, "PRAGMA litestream_txid = '0000000000000001'")
	wantSQL(t, c, "SELECT v FROM t", "1")
	mustExec(t, other, "PRAGMA litestream_txid = latest")
	wantSQL(t, other, "SELECT v FROM t", "2")
}

// TestPromise1_NumberOfLost loses against another writer while a transaction is
// open that changes the lost rows.
func TestPromise1_NumberOfLost(t *testing.T) {
	client := faulty()
	entered, release := client.hold(2, 3)
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.PollInterval = time.Hour }))
	a := openConn(t, slot, "app.db")
	mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, a, "PRAGMA litestream_sync")
	mustExec(t, a, "UPDATE t SET v = 2")
	synced := make(chan error, 2)
	go func() { synced <- vfs.Sync(context.Background(), "app.db") }()
	<-entered
	mustExec(t, a, "UPDATE t SET v = 3") // part of the next file
	go func() { synced <- vfs.Sync(context.Background(), "app.db") }()
	mustExec(t, a, "BEGIN IMMEDIATE; UPDATE t SET v = 4")
	release()
	<-entered
	otherName, _ := newVFS(t, client, writing())
	x := openConn(t, otherName, "app.db")
	mustExec(t, x, "UPDATE t SET v = 9")
	mustExec(t, x, "PRAGMA litestream_sync")
	release()
	waitFor(t, "conflict", func() bool { return mustQuery(t, x, "SELECT 1") == "1" && len(synced) == 2 })
	if _, err := a.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Error("a transaction on what was lost is committed")
		mustExec(t, a, "SELECT 1")
	}
	_, _ = a.ExecContext(t.Context(), "ROLLBACK")
	b := openConn(t, slot, "app.db")
	if got, want := mustQuery(t, a, "SELECT v FROM t"), mustQuery(t, b, "SELECT v FROM t"); got != want || want == "4" {
		t.Errorf("one connection sees %s, another %s", got, want)
	}
	if err := vfs.Close(t.Context()); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("close: %v", err)
	}
}

// TestPromise4_SuperJournal makes a transaction over two databases fail at the
// second one.
func TestPromise4_SuperJournal(t *testing.T) {
	clients := map[string]*memory.ReplicaClient{"a.db": memoryClient(), "b.db": memoryClient()}
	vfsName, _ := newVFS(t, nil, writing(func(o *litestream.Options) {
		o.NewClient = func(name string) (litestream.ReplicaClient, error) { return clients[name], nil }
	}))
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := openConn(t, vfsName, "a.db")
	mustExec(t, a, "ATTACH ? AS b", dsn(vfsName, "b.db", "buffer_path="+filepath.Join(dir, "buffer")))
	mustExec(t, a, "CREATE TABLE main.t (v); CREATE TABLE b.t (v); INSERT INTO main.t VALUES (1); INSERT INTO b.t VALUES (1)")
	mustExec(t, a, "PRAGMA litestream_sync; PRAGMA b.litestream_sync")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	mustExec(t, a, "BEGIN; UPDATE main.t SET v = 2; UPDATE b.t SET v = 2")
	if _, err := a.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Fatal("a commit without a write buffer succeeds")
	}
	_, _ = a.ExecContext(t.Context(), "ROLLBACK")
	wantSQL(t, a, "SELECT v FROM b.t", "1")
	wantSQL(t, a, "SELECT v FROM main.t", "1")
	wantSQL(t, openConn(t, vfsName, "a.db"), "SELECT v FROM t", "1")
	mustExec(t, a, "UPDATE main.t SET v = 3")
	mustExec(t, a, "PRAGMA litestream_sync")
	wantSQL(t, openConn(t, vfsName, "a.db"), "SELECT v FROM t", "3")
}

// TestWrite_NewRollback rolls back the first transaction of a new database
// after SQLite has spilled pages. The database then gets another page size.
func TestWrite_NewRollback(t *testing.T) {
	for _, mode := range []string{"DELETE", "MEMORY", "TRUNCATE", "PERSIST", "OFF"} {
		for _, sync := range []string{"OFF", "FULL"} {
			vfsName, _ := newVFS(t, memoryClient(), writing())
			c := openConn(t, vfsName, "app.db")
			mustExec(t, c, "PRAGMA cache_size=3; PRAGMA synchronous="+sync+"; PRAGMA journal_mode="+mode)
			mustExec(t, c, "BEGIN; CREATE TABLE t (v); WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<100) INSERT INTO t SELECT zeroblob(2000) FROM c")
			if _, err := c.ExecContext(t.Context(), "ROLLBACK"); err != nil && mode != "OFF" {
				t.Error(mode, err)
			}
			mustExec(t, c, "PRAGMA page_size=8192")
			mustExec(t, c, "CREATE TABLE u (v)")
			wantSQL(t, c, "SELECT group_concat(name) FROM sqlite_master", "u")
			wantSQL(t, c, "PRAGMA litestream_sync", "0000000000000001")
		}
	}
}

// TestWrite_ReopenWhileClosing opens a database while the last sync of its last
// connection is in flight.
func TestWrite_ReopenWhileClosing(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "buffer")} {
		client := faulty()
		uploading, release := client.hold(2)
		vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
		db := openDB(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
		mustExec(t, db, "PRAGMA litestream_sync")
		mustExec(t, db, "INSERT INTO t VALUES (2)")
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		<-uploading
		opened := make(chan error, 1)
		next := openDB(t, vfsName, "app.db")
		go func() { opened <- next.Ping() }()
		release()
		if err := errors.Join(<-closed, <-opened); err != nil {
			t.Fatal(err)
		}
		wantSQL(t, next, "SELECT group_concat(v) FROM t", "1,2")
	}
}

// TestWrite_CloseWhileWriting closes the VFS while connections commit.
// Acknowledged commits are on the replica, or Close returns an error that says
// they are not.
func TestWrite_CloseWhileWriting(t *testing.T) {
	slot, readSlot := reuseSlot(t), reuseSlot(t)
	for i := range 60 {
		client := memoryClient()
		path := filepath.Join(t.TempDir(), "buffer")
		vfs := litestream.NewVFS(client, writing(func(o *litestream.Options) { o.Logger, o.WriteBufferPath = testlog.New(t, nil), path }))
		setSlot(slot, vfs)
		c := openConn(t, slot, "app.db")
		mustExec(t, c, "CREATE TABLE t (v)")
		acked, enough := 0, make(chan struct{})
		done := make(chan struct{})
		least := rand.IntN(20)
		go func() {
			defer close(done)
			for {
				if acked == least {
					close(enough)
				}
				if _, err := c.ExecContext(context.Background(), "INSERT INTO t VALUES (1)"); err != nil {
					return
				}
				acked++
			}
		}()
		<-enough
		err := vfs.Close(t.Context())
		<-done
		_ = c.Close()
		reading := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil)})
		setSlot(readSlot, reading)
		reader := openConn(t, readSlot, "app.db")
		if got := mustQuery(t, reader, "SELECT count(*) FROM t"); err != nil || got != fmt.Sprint(acked) {
			t.Fatalf("%d: %d acknowledged, %s there, close: %v", i, acked, got, err)
		}
		_ = reader.Close()
		if err := reading.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("%d: %v are left", i, left)
		}
	}
}

// TestWrite_Delays counts the attempts while storage is down and a caller
// waits, and the polls while polling is off.
func TestWrite_Delays(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that is kept goes there
	synctest.Test(t, func(t *testing.T) {
		client := faulty()
		var creates, lists atomic.Int64
		var down atomic.Bool
		down.Store(true)
		client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			creates.Add(1)
			if down.Load() {
				return nil, errors.New("storage is down")
			}
			return do()
		}
		client.list = func() error { lists.Add(1); return nil }
		vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.PollInterval = -1 }))
		defer vfs.Close(context.Background())
		c := openConn(t, vfsName, "app.db")
		mustExec(t, c, "CREATE TABLE t (v)")
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := vfs.Sync(ctx, "app.db"); err == nil {
			t.Error("a sync succeeds while storage is down")
		}
		if n := creates.Load(); n < 5 || n > 40 {
			t.Errorf("%d attempts in 20 s", n)
		}
		down.Store(false)
		if err := vfs.Sync(context.Background(), "app.db"); err != nil {
			t.Error(err)
		}
		mustExec(t, c, "PRAGMA litestream_write_enabled = 0")
		before := lists.Load()
		time.Sleep(10 * time.Minute)
		if n := lists.Load() - before; n > 0 {
			t.Errorf("%d lists with polling off", n)
		}
	})
}

// TestWrite_SyncAfterClose waits for a sync that never comes, because the
// database is closed.
func TestWrite_SyncAfterClose(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that is kept goes there
	client := faulty()
	trying := make(chan struct{}, 1000)
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		trying <- struct{}{}
		return nil, errors.New("storage is down")
	}
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.CloseTimeout = 1 }))
	c := openConn(t, slot, "app.db")
	mustExec(t, c, "CREATE TABLE t (v)")
	done := make(chan error, 1)
	go func() { done <- vfs.Sync(context.Background(), "app.db") }()
	<-trying
	if err := vfs.Close(t.Context()); err == nil {
		t.Error("close says that all is well")
	}
	if err := <-done; !errors.Is(err, litestream.ErrClosed) {
		t.Errorf("sync: %v", err)
	}
}

// TestWrite_HandedOver has one process turn write mode off, and another turn it
// on at once. The second one sees every commit of the first.
func TestWrite_HandedOver(t *testing.T) {
	client := memoryClient()
	firstName, _ := newVFS(t, client, writing())
	a := openConn(t, firstName, "app.db")
	mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, a, "PRAGMA litestream_sync")
	nextName, _ := newVFS(t, client, &litestream.Options{PollInterval: -1, WriteSyncInterval: -1})
	b := openConn(t, nextName, "app.db", "mode=rw")
	wantSQL(t, b, "SELECT group_concat(v) FROM t", "1")
	mustExec(t, a, "INSERT INTO t VALUES (2)")
	mustExec(t, a, "PRAGMA litestream_write_enabled = 0")
	mustExec(t, b, "PRAGMA litestream_write_enabled = 1")
	wantSQL(t, b, "SELECT group_concat(v) FROM t", "1,2")
	mustExec(t, b, "INSERT INTO t VALUES (3)")
	wantSQL(t, b, "PRAGMA litestream_sync", "0000000000000003")
}

// TestWrite_LoserReads has a transaction read on after its commits were lost,
// and has the loser write again.
func TestWrite_LoserReads(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	client := memoryClient()
	loserName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.PollInterval = time.Hour }))
	a, b, w := openConn(t, loserName, "app.db"), openConn(t, loserName, "app.db"), openConn(t, loserName, "app.db")
	mustExec(t, a, "PRAGMA page_size=512; CREATE TABLE t (v)")
	mustExec(t, a, "PRAGMA litestream_sync")
	winnerName, _ := newVFS(t, client, writing())
	x := openConn(t, winnerName, "app.db")
	mustExec(t, x, "INSERT INTO t VALUES ('x')")
	mustExec(t, x, "PRAGMA litestream_sync")
	mustExec(t, a, "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<100) INSERT INTO t SELECT zeroblob(200) FROM c")
	mustExec(t, b, "PRAGMA cache_size=1; BEGIN")
	wantSQL(t, b, "SELECT count(*) FROM (SELECT 1 FROM t LIMIT 1)", "1")
	mustExec(t, w, "BEGIN IMMEDIATE; DELETE FROM t")
	if _, err := a.ExecContext(t.Context(), "PRAGMA litestream_sync"); err == nil {
		t.Fatal("no conflict")
	}
	wantSQL(t, b, "SELECT sum(length(v)) FROM t", "20000")
	mustExec(t, b, "COMMIT")
	waitFor(t, "the winner's state", func() bool { return mustQuery(t, a, "SELECT v FROM t") == "x" })
	if _, err := a.ExecContext(t.Context(), "PRAGMA litestream_write_enabled = 1"); err == nil {
		t.Error("write mode begins while a transaction on what was lost is open")
	}
	if _, err := w.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Error("a transaction on what was lost is committed")
	}
	_, _ = w.ExecContext(t.Context(), "ROLLBACK")
	mustExec(t, a, "PRAGMA litestream_write_enabled = 1")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Errorf("there is nothing to sync: %v", err)
	}
	mustExec(t, a, "PRAGMA litestream_write_enabled = 0")
	mustExec(t, a, "PRAGMA litestream_write_enabled = 1; INSERT INTO t VALUES ('y')")
	wantSQL(t, w, "SELECT group_concat(v) FROM t", "x,y")
	wantSQL(t, w, "PRAGMA integrity_check", "ok")
}

// TestWrite_RefusedExclusive refuses a write to a connection that keeps its
// lock.
func TestWrite_RefusedExclusive(t *testing.T) {
	vfsName, _ := newVFS(t, memoryClient(), writing())
	c := openConn(t, vfsName, "app.db")
	mustExec(t, c, "CREATE TABLE t (v)")
	mustExec(t, c, "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (1)")
	mustExec(t, c, "PRAGMA page_size=8192")
	if _, err := c.ExecContext(t.Context(), "VACUUM"); err == nil {
		t.Fatal("the page size changes")
	}
	if _, err := c.ExecContext(t.Context(), "PRAGMA journal_mode=WAL"); err == nil {
		t.Error("there is WAL mode")
	}
	wantSQL(t, c, "SELECT v FROM t", "1")
	mustExec(t, c, "INSERT INTO t VALUES (2)")
	mustExec(t, c, "PRAGMA locking_mode=NORMAL")
	wantSQL(t, c, "SELECT group_concat(v) FROM t", "1,2")
	wantSQL(t, openConn(t, vfsName, "app.db"), "SELECT group_concat(v) FROM t", "1,2")
}

// TestWrite_RecoverOnSnapshot recovers a buffer on a snapshot of the
// transaction that the buffer follows. The snapshot was made after the buffer.
func TestWrite_RecoverOnSnapshot(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	r, err := client.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	dec := ltx.NewDecoder(r)
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	hdr := dec.Header()
	hdr.Timestamp += 1000
	var b bytes.Buffer
	enc, err := ltx.NewEncoder(&b)
	if err == nil {
		err = enc.EncodeHeader(hdr)
	}
	for page := make([]byte, hdr.PageSize); err == nil; {
		var frame ltx.PageHeader
		if err = dec.DecodePage(&frame, page); err == nil {
			err = enc.EncodePage(ltx.PageHeader{Pgno: frame.Pgno}, page)
		}
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.WriteLTXFile(t.Context(), litestream.SnapshotLevel, 1, 1, &b); err != nil {
		t.Fatal(err)
	}
	left := copyBuffer(t, path)
	nextName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = left }))
	wantSQL(t, openDB(t, nextName, "app.db"), "SELECT group_concat(v) FROM t", "1,2")
}

// TestPromise4_JournalModes changes journal_mode where the journal stays open:
// with locking_mode=EXCLUSIVE, and while a cursor is open.
func TestPromise4_JournalModes(t *testing.T) {
	modes := []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"}
	for _, from := range modes {
		for _, to := range modes {
			vfsName, _ := newVFS(t, memoryClient(), writing())
			a, b := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
			mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1), (2); PRAGMA journal_mode="+from)
			mustExec(t, a, "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (3)")
			mustExec(t, a, "PRAGMA journal_mode="+to)
			mustExec(t, a, "INSERT INTO t VALUES (4)")
			wantSQL(t, b, "SELECT count(*) FROM t", "4")
			mustExec(t, a, "PRAGMA locking_mode=NORMAL")
			wantSQL(t, a, "SELECT count(*) FROM t", "4")
			wantSQL(t, b, "SELECT count(*) FROM t", "4")

			mustExec(t, a, "PRAGMA journal_mode="+from)
			rows, err := a.QueryContext(t.Context(), "SELECT v FROM t")
			if err != nil || !rows.Next() {
				t.Fatal(err)
			}
			mustExec(t, a, "INSERT INTO t VALUES (5)")
			mustExec(t, a, "BEGIN IMMEDIATE")
			mustExec(t, a, "PRAGMA journal_mode="+to)
			mustExec(t, a, "INSERT INTO t VALUES (6); COMMIT")
			wantSQL(t, b, "SELECT count(*) FROM t", "6")
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
			wantSQL(t, a, "SELECT count(*) FROM t", "6")
			wantSQL(t, b, "SELECT count(*) FROM t", "6")
			mustExec(t, b, "INSERT INTO t VALUES (7)")
			wantSQL(t, a, "SELECT count(*) FROM t", "7")
			wantSQL(t, a, "PRAGMA integrity_check", "ok")
			if t.Failed() {
				t.Fatalf("from %s to %s", from, to)
			}
		}
	}
}

// TestWrite_StaleSegment makes the first commit of a segment fail, and has
// another writer write before the next commit.
func TestWrite_StaleSegment(t *testing.T) {
	client := memoryClient()
	var full atomic.Bool
	opts := writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") })
	litestream.OnDisk(opts, func(op string) error {
		if full.Load() && op == "before: append commit" {
			return syscall.ENOSPC
		}
		return nil
	})
	vfsName, _ := newVFS(t, client, opts)
	a := openConn(t, vfsName, "app.db")
	mustExec(t, a, "CREATE TABLE t (v)")
	mustExec(t, a, "PRAGMA litestream_sync")
	full.Store(true)
	if _, err := a.ExecContext(t.Context(), "INSERT INTO t VALUES (0)"); err == nil {
		t.Fatal("a commit to a full disk succeeds")
	}
	full.Store(false)
	otherName, _ := newVFS(t, client, writing())
	b := openConn(t, otherName, "app.db")
	mustExec(t, b, "INSERT INTO t VALUES (1)")
	mustExec(t, b, "PRAGMA litestream_sync")
	waitFor(t, "the other's commit", func() bool { return mustQuery(t, a, "SELECT group_concat(v) FROM t") == "1" })
	mustExec(t, a, "INSERT INTO t VALUES (2)")
	wantSQL(t, a, "PRAGMA litestream_sync", "0000000000000003")
	wantSQL(t, a, "SELECT group_concat(v) FROM t", "1,2")
}
