package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// TestWrite_PageSizes creates databases of all page sizes.
func TestWrite_PageSizes(t *testing.T) {
	for size := 512; size <= 65536; size *= 2 {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			client := memoryClient()
			vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.HydrationEnabled = true }))
			db := openConn(t, vfsName, "app.db")
			mustExec(t, db, fmt.Sprintf("PRAGMA page_size=%d; CREATE TABLE t (v); INSERT INTO t VALUES (randomblob(200000))", size))
			mustExec(t, db, "PRAGMA litestream_sync")
			mustExec(t, db, "INSERT INTO t VALUES (randomblob(1000))")
			mustExec(t, db, "PRAGMA litestream_sync")
			readName, _ := newVFS(t, client, nil)
			reader := openDB(t, readName, "app.db")
			wantSQL(t, reader, "PRAGMA page_size", fmt.Sprint(size))
			wantSQL(t, reader, "SELECT hex(v) FROM t", mustQuery(t, db, "SELECT hex(v) FROM t"))
			wantSQL(t, reader, "PRAGMA integrity_check", "ok")
		})
	}
}

// TestWrite_KeepsWAL checks that a database that says it is in WAL mode still
// says so after a write.
func TestWrite_KeepsWAL(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (v)")
	vfsName, _ := newVFS(t, client, writing())
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	mustExec(t, db, "PRAGMA litestream_sync")
	path := filepath.Join(t.TempDir(), "restored.db")
	restore(t, client, path)
	b, err := os.ReadFile(path)
	if err != nil || b[18] != 2 || b[19] != 2 {
		t.Errorf("format is %v, want 2, 2, %v", b[18:20], err)
	}
}

// TestWrite_Hydration checks that synced pages are local without a read.
func TestWrite_Hydration(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
	vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.HydrationEnabled, o.CacheSize = true, -1 }))
	db := openConn(t, vfsName, "app.db")
	waitFor(t, "hydration", func() bool { return mustQuery(t, db, "PRAGMA litestream_hydration_status") == "complete" })
	mustExec(t, db, "PRAGMA cache_size=1")
	before := vfs.Stats()[0].HydrationReads + vfs.Stats()[0].PageReads
	for range 5 {
		mustExec(t, db, "INSERT INTO t (v) VALUES (randomblob(300000))")
		wantSQL(t, db, "SELECT sum(length(v)) % 300000 FROM t", "0")
		mustExec(t, db, "PRAGMA litestream_sync")
		waitFor(t, "hydration", func() bool {
			s := vfs.Stats()[0]
			return s.Hydration.Pages == int64(s.Pages)
		})
		wantSQL(t, db, "PRAGMA integrity_check", "ok")
	}
	if after := vfs.Stats()[0].HydrationReads + vfs.Stats()[0].PageReads; after != before {
		t.Errorf("%d pages or parts were read", after-before)
	}
	if vfs.Stats()[0].LocalHits == 0 {
		t.Error("no page was read from the local file")
	}
}

// TestWrite_VacuumPageSize checks that a VACUUM with another page size is
// refused without harm.
func TestWrite_VacuumPageSize(t *testing.T) {
	var log testlog.Buffer
	vfsName, _ := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.Logger = testlog.New(t, &log) }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (zeroblob(100000)); DELETE FROM t; INSERT INTO t VALUES (1)")
	if _, err := db.ExecContext(t.Context(), "PRAGMA page_size=8192; VACUUM"); err == nil {
		t.Error("the page size changes")
	}
	if !strings.Contains(log.String(), "page size of a database cannot change") {
		t.Error("the log does not say why")
	}
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	mustExec(t, db, "PRAGMA litestream_sync")
	other := openConn(t, vfsName, "app.db")
	wantSQL(t, other, "SELECT group_concat(v) FROM t", "1,2")
	mustExec(t, other, "VACUUM")
	wantSQL(t, other, "PRAGMA page_count", "2")
}

// TestWrite_Attached commits to two replicas and a local file at once.
func TestWrite_Attached(t *testing.T) {
	clients := map[string]*memory.ReplicaClient{"a.db": memoryClient(), "b.db": memoryClient()}
	vfsName, vfs := newVFS(t, nil, writing(func(o *litestream.Options) {
		o.NewClient = func(name string) (litestream.ReplicaClient, error) {
			if c := clients[name]; c != nil {
				return c, nil
			}
			return nil, nil
		}
	}))
	db := openConn(t, vfsName, "a.db")
	local := filepath.Join(t.TempDir(), "local.db")
	mustExec(t, db, "ATTACH 'b.db' AS b; ATTACH '"+local+"' AS c; CREATE TABLE main.t (v); CREATE TABLE b.t (v); CREATE TABLE c.t (v)")
	mustExec(t, db, "BEGIN; INSERT INTO main.t VALUES (1); INSERT INTO b.t VALUES (2); COMMIT")
	mustExec(t, db, "BEGIN; INSERT INTO main.t VALUES (3); INSERT INTO b.t VALUES (4); ROLLBACK")
	wantSQL(t, db, "SELECT (SELECT group_concat(v) FROM main.t) || ' ' || (SELECT group_concat(v) FROM b.t)", "1 2")
	// After a crash a local file, and a file of another VFS, would look for the
	// super-journal in vain.
	other := filepath.Join(t.TempDir(), "other.db")
	mustExec(t, db, "ATTACH 'file:"+other+"?vfs="+systemVFS+"' AS d; CREATE TABLE d.t (v)")
	for _, schema := range []string{"c", "d"} {
		if _, err := db.ExecContext(t.Context(), "BEGIN; INSERT INTO main.t VALUES (5); INSERT INTO "+schema+".t VALUES (6); COMMIT"); err == nil {
			t.Errorf("a transaction over a replica and the local file %s is committed", schema)
		} else if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Log(err)
		}
		wantSQL(t, db, "SELECT (SELECT group_concat(v) FROM main.t) || ' ' || (SELECT count(*) FROM "+schema+".t)", "1 0")
		mustExec(t, db, "INSERT INTO "+schema+".t VALUES (7)")
	}
	for name := range clients {
		if err := vfs.Sync(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if vfs.Sync(t.Context(), "nowhere.db") == nil {
		t.Error("a database that is not open is synced")
	}
}

// TestWrite_NoWAL checks that WAL mode is refused where SQLite believes that it
// is possible because the lock is held permanently. Commits still work as
// before.
func TestWrite_NoWAL(t *testing.T) {
	vfsName, _ := newVFS(t, nil, writing())
	name := "file:app.db?vfs=" + vfsName + "&replica_url=file://" + t.TempDir()
	db, err := sqlitetest.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	mustExec(t, db, "PRAGMA locking_mode = EXCLUSIVE; ATTACH '"+name+"' AS r; CREATE TABLE r.t (v)")
	if _, err = db.Exec("PRAGMA r.journal_mode = WAL"); err == nil {
		t.Error("there is WAL mode")
	}
	mustExec(t, db, "INSERT INTO r.t VALUES (1)")
	reader, err := sqlitetest.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	wantSQL(t, reader, "SELECT count(*) FROM t", "1")
}

// TestWrite_AtRunTime turns write mode on and off.
func TestWrite_AtRunTime(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{Rollback: true})
	p.Exec("CREATE TABLE t (v)")
	vfsName, _ := newVFS(t, client, &litestream.Options{WriteSyncInterval: -1, PollInterval: time.Hour})
	db, plain := openConn(t, vfsName, "app.db", "mode=rw"), openConn(t, vfsName, "app.db")
	wantSQL(t, db, "PRAGMA litestream_write_enabled", "0")
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (0)"); err == nil {
		t.Error("a reader writes")
	}
	if _, err := plain.ExecContext(t.Context(), "PRAGMA litestream_write_enabled = 1"); err == nil {
		t.Error("a connection that SQLite takes for read-only turns write mode on")
	}
	mustExec(t, db, "PRAGMA litestream_write_enabled = on")
	wantSQL(t, db, "SELECT litestream_write_enabled()", "1")
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	wantSQL(t, plain, "SELECT v FROM t", "1")

	mustExec(t, db, "BEGIN; INSERT INTO t VALUES (2)")
	if _, err := db.ExecContext(t.Context(), "PRAGMA litestream_write_enabled = 0"); err == nil {
		t.Error("write mode is turned off within a transaction")
	}
	off := make(chan error, 1)
	other := openConn(t, vfsName, "app.db", "mode=rw")
	go func() {
		_, err := other.ExecContext(context.Background(), "PRAGMA litestream_write_enabled = 0")
		off <- err
	}()
	waitFor(t, "write mode to end", func() bool { return mustQuery(t, plain, "PRAGMA litestream_write_enabled") == "0" })
	mustExec(t, db, "COMMIT")
	if err := <-off; err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (3)"); err == nil {
		t.Error("a reader writes")
	}
	reader, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, reader, "app.db"), "SELECT group_concat(v) FROM t", "1,2")
	if _, err := db.ExecContext(t.Context(), "PRAGMA litestream_write_enabled = maybe"); err == nil {
		t.Error("a malformed value is taken")
	}
}

// TestWrite_CatchesUp turns write mode on for a connection that has not seen
// the newest transactions.
func TestWrite_CatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := memoryClient()
		p := ltxtest.New(t, client, ltxtest.Options{})
		p.Exec("CREATE TABLE t (v)")
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteSyncInterval: -1, PollInterval: -1})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db", "mode=rw")
		wantSQL(t, db, "SELECT count(*) FROM t", "0")
		time.Sleep(time.Hour)
		p.Exec("INSERT INTO t VALUES (1)")
		mustExec(t, db, "PRAGMA litestream_write_enabled = 1; INSERT INTO t VALUES (2)")
		wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,2")
		wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000003")
	})
}

// TestWrite_Travel travels to the past of a database that is being written to.
func TestWrite_Travel(t *testing.T) {
	vfsName, _ := newVFS(t, memoryClient(), writing())
	db, past := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	mustExec(t, past, "PRAGMA litestream_txid = '0000000000000001'")
	wantSQL(t, past, "SELECT group_concat(v) FROM t", "1")
	if _, err := past.ExecContext(t.Context(), "INSERT INTO t VALUES (3)"); err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("the past is written to: %v", err)
	}
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES (4)")
	wantSQL(t, past, "SELECT group_concat(v) FROM t", "1")
	mustExec(t, past, "PRAGMA litestream_txid = latest")
	wantSQL(t, past, "SELECT group_concat(v) FROM t", "1,2,4")
	mustExec(t, past, "INSERT INTO t VALUES (5)")
	wantSQL(t, db, "SELECT group_concat(v) FROM t", "1,2,4,5")
}

// TestWrite_BufferInUse opens a second database with the same buffer.
func TestWrite_BufferInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	first, _ := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	mustExec(t, openDB(t, first, "app.db"), "CREATE TABLE t (v)")
	var log testlog.Buffer
	second, _ := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath, o.Logger = path, testlog.New(t, &log) }))
	if err := openDB(t, second, "app.db").Ping(); err == nil {
		t.Error("two databases have one buffer")
	}
	if !strings.Contains(log.String(), "in use") {
		t.Error("the log does not say why")
	}
	bad, _ := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(path, "below") }))
	if err := openDB(t, bad, "app.db").Ping(); err == nil {
		t.Error("a database opens without its buffer")
	}
}

// TestWrite_Clock sets the clock of the writer behind that of the replica.
func TestWrite_Clock(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Advance(100 * 365 * 24 * time.Hour)
	p.Exec("CREATE TABLE t (v)")
	vfsName, _ := newVFS(t, client, writing())
	db := openDB(t, vfsName, "app.db")
	last := p.Time(p.TXID())
	for range 3 {
		mustExec(t, db, "INSERT INTO t VALUES (1)")
		mustExec(t, db, "PRAGMA litestream_sync")
		at, err := time.Parse(time.RFC3339, mustQuery(t, db, "PRAGMA litestream_time"))
		if err != nil || !at.After(last) {
			t.Errorf("the next transaction is of %s, after %s, %v", at, last, err)
		}
		last = at
	}
}

// TestWrite_SyncOnCommit has many connections wait for a replica that answers
// slowly.
func TestWrite_SyncOnCommit(t *testing.T) {
	client := decorate.NewTrace(decorate.NewLatency(memoryClient(), decorate.Latency{PerRequest: 20 * time.Millisecond}))
	vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.SyncOnCommit = true }))
	db := openDB(t, vfsName, "app.db", "_txlock=immediate", "_busy_timeout=20000")
	mustExec(t, db, "CREATE TABLE t (v)")
	if n := vfs.Stats()[0].Write.Syncs; n != 1 {
		t.Errorf("%d syncs after a commit, want 1", n)
	}
	const writers, each = 16, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := db.Exec("INSERT INTO t VALUES (1)"); err != nil {
					t.Error(err)
				}
				if s := vfs.Stats()[0].Write; s.Unsynced > 0 && s.Commits == 0 {
					t.Error("commits are not synced")
				}
			}
		})
	}
	wg.Wait()
	wantSQL(t, db, "SELECT count(*) FROM t", fmt.Sprint(writers*each))
	syncs := vfs.Stats()[0].Write.Syncs - 1
	t.Logf("%d commits in %d syncs", writers*each, syncs)
	if syncs > writers*each/3 {
		t.Errorf("%d commits take %d syncs", writers*each, syncs)
	}
}

// TestWrite_SyncOnCommitFails checks that a commit whose upload fails returns
// an error, and is kept nevertheless.
func TestWrite_SyncOnCommitFails(t *testing.T) {
	client := faulty()
	vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.SyncOnCommit, o.ReadTimeout = true, 200*time.Millisecond }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	down := make(chan struct{})
	client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		select {
		case <-down:
			return do()
		default:
			return nil, errors.New("storage is down")
		}
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err == nil {
		t.Error("a commit that is not on the replica is acknowledged")
	}
	wantSQL(t, db, "SELECT v FROM t", "1")
	close(down)
	if err := vfs.Sync(t.Context(), "app.db"); err != nil { // the sync begins after a delay, because the one before failed
		t.Error(err)
	}
	wantSQL(t, db, "PRAGMA litestream_txid", "0000000000000002")
}

// TestWrite_SyncOnCommitSeveral checks that a database with SyncOnCommit takes no part in
// a commit of several databases, in which SQLite would not report that an upload has
// failed. Nothing is committed then, and the connection goes on.
func TestWrite_SyncOnCommitSeveral(t *testing.T) {
	const onCommit, off, local = "sync_on_commit=true", "sync_on_commit=false", "local"
	for _, tt := range []struct {
		name     string
		main     string // parameter of the main database; local: it is a local file
		attached string // parameter of the other one
		refused  bool
	}{
		{"main", onCommit, off, true},
		{"attached", off, onCommit, true},
		{"both", onCommit, onCommit, true},
		{"attached to a local file", local, onCommit, true},
		{"neither", off, off, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clients := map[string]*memory.ReplicaClient{"a.db": memoryClient(), "b.db": memoryClient()}
			var log testlog.Buffer
			vfsName, vfs := newVFS(t, nil, writing(func(o *litestream.Options) {
				o.Logger = testlog.New(t, &log)
				o.NewClient = func(name string) (litestream.ReplicaClient, error) { return clients[name], nil }
			}))
			var db *sql.Conn
			if tt.main == local {
				db = plainConn(t, filepath.Join(t.TempDir(), "local.db"))
			} else {
				db = openConn(t, vfsName, "a.db", tt.main)
			}
			mustExec(t, db, "ATTACH ? AS b", dsn(vfsName, "b.db", tt.attached))
			mustExec(t, db, "PRAGMA main.synchronous = FULL; CREATE TABLE main.t (v); CREATE TABLE b.t (v); CREATE TEMP TABLE u (v)")
			const counts = "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM b.t)"
			for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST"} {
				mustExec(t, db, "PRAGMA main.journal_mode = "+mode+"; PRAGMA b.journal_mode = "+mode+"; DELETE FROM main.t; DELETE FROM b.t")
				mustExec(t, db, "BEGIN; INSERT INTO main.t VALUES (1); INSERT INTO b.t VALUES (1)")
				_, err := db.ExecContext(t.Context(), "COMMIT")
				if (err != nil) != tt.refused || strings.Contains(log.String(), "cannot write to several databases") != tt.refused {
					t.Errorf("journal_mode %s: commit: %v", mode, err)
				}
				if !tt.refused {
					wantSQL(t, db, counts, "1|1")
					continue
				}
				_, _ = db.ExecContext(t.Context(), "ROLLBACK") // SQLite may have done so already
				wantSQL(t, db, counts, "0|0")
				// A transaction may read the other database, and write to temporary tables.
				mustExec(t, db, "BEGIN; INSERT INTO temp.u SELECT count(*) FROM b.t; INSERT INTO main.t SELECT count(*) FROM b.t; COMMIT")
				mustExec(t, db, "INSERT INTO b.t SELECT v FROM main.t")
				wantSQL(t, db, counts, "1|1")
				// Only one of them is changed here, and SQLite ignores errors all the same.
				mustExec(t, db, "BEGIN IMMEDIATE; INSERT INTO main.t VALUES (2)")
				if _, err := db.ExecContext(t.Context(), "COMMIT"); (err != nil) != (tt.main == onCommit) {
					t.Errorf("journal_mode %s: commit of a transaction that began in both: %v", mode, err)
				}
				_, _ = db.ExecContext(t.Context(), "ROLLBACK")
				mustExec(t, db, "DELETE FROM main.t WHERE v = 2")
				wantSQL(t, db, counts, "1|1")
			}
			if err := vfs.Sync(t.Context(), "b.db"); err != nil {
				t.Error(err)
			}
			reader, _ := newVFS(t, clients["b.db"], nil)
			wantSQL(t, openConn(t, reader, "app.db"), "SELECT count(*) FROM t", "1")
		})
	}
}

// TestWrite_Files checks that many syncs leave no open file and no file on disk
// behind.
func TestWrite_Files(t *testing.T) {
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("there is no /proc/self/fd to count open files with")
		}
		return len(names)
	}
	vfsName, _ := newVFS(t, memoryClient(), writing())
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	before := open()
	for range 300 {
		mustExec(t, db, "INSERT INTO t VALUES (1)")
		mustExec(t, db, "PRAGMA litestream_sync")
	}
	waitFor(t, "files to be closed", func() bool { collectGarbage(); return open() <= before+5 })
}

func collectGarbage() {
	runtime.GC()
	runtime.GC()
}

// listOnly is a replica without a create-only upload.
type listOnly struct{ litestream.ReplicaClient }

// TestWrite_WithoutCreate has two writers on a store without a create-only
// upload. A check before each upload must suffice to keep them apart.
func TestWrite_WithoutCreate(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	var log testlog.Buffer
	client := listOnly{memoryClient()}
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.PollInterval, o.Logger = time.Hour, testlog.New(t, &log) }))
	a := openConn(t, slot, "app.db")
	if !strings.Contains(log.String(), "two writers may not notice") {
		t.Error("the log does not say that two writers may not notice each other")
	}
	mustExec(t, a, "CREATE TABLE t (v)")
	mustExec(t, a, "PRAGMA litestream_sync")
	otherName, _ := newVFS(t, client, writing())
	b := openConn(t, otherName, "app.db")
	mustExec(t, b, "INSERT INTO t VALUES ('b')")
	mustExec(t, b, "PRAGMA litestream_sync")
	mustExec(t, a, "INSERT INTO t VALUES ('a')")
	if _, err := a.ExecContext(t.Context(), "PRAGMA litestream_sync"); err == nil {
		t.Error("both writers succeed")
	}
	waitFor(t, "the winner's state", func() bool { return mustQuery(t, a, "SELECT v FROM t") == "b" })
	if err := vfs.Close(t.Context()); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("close: %v", err)
	}
}

// TestWrite_DownForAnHour commits every ten seconds while storage is down.
func TestWrite_DownForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := faulty()
		var down atomic.Bool
		down.Store(true)
		client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			if down.Load() {
				return nil, errors.New("storage is down")
			}
			return do()
		}
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v)")
		for range 360 {
			mustExec(t, db, "INSERT INTO t VALUES (1)")
			time.Sleep(10 * time.Second)
		}
		if s := status(t, db).Write; s.Syncs != 0 || s.Failures < 60 || !strings.Contains(s.Error, "storage is down") {
			t.Errorf("after an hour: %+v", s)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if s := status(t, db).Write; s.Unsynced != 0 || s.Error != "" || s.Syncs > 3 {
			t.Errorf("a minute later: %+v", s)
		}
		readName, reading := newVFS(t, client, nil)
		defer reading.Close(context.Background())
		wantSQL(t, openConn(t, readName, "app.db"), "SELECT count(*) FROM t", "360")
	})
}

// Everything works before and after the first commit of a new database, with
// and without hydration.
func TestWrite_NothingYet(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%v", kept), func(t *testing.T) {
			log := new(testlog.Buffer)
			vfsName, vfs := newVFS(t, memoryClient(), writing(func(o *litestream.Options) {
				o.HydrationEnabled, o.Logger = true, testlog.New(t, log)
				if kept {
					o.HydrationPath = filepath.Join(t.TempDir(), "hydrated")
				}
			}))
			db := openDB(t, vfsName, "app.db")
			ask := func(txid string) {
				t.Helper()
				for query, want := range map[string]string{
					"PRAGMA litestream_txid":               txid,
					"PRAGMA litestream_write_enabled":      "1",
					"PRAGMA litestream_hydration_progress": "100.0",
					"PRAGMA litestream_hydration_status":   "complete",
				} {
					waitFor(t, query, func() bool { return mustQuery(t, db, query) == want })
				}
				for _, query := range []string{"time", "lag", "history", "hydration_file"} {
					mustQuery(t, db, "PRAGMA litestream_"+query)
				}
				if status := mustQuery(t, db, "PRAGMA litestream_status"); !strings.Contains(status, txid) {
					t.Errorf("status: %s", status)
				}
			}
			ask("0000000000000000")
			wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000000")
			wantSQL(t, db, "SELECT count(*) FROM sqlite_master", "0")
			for _, travel := range []string{"litestream_time = '2020-01-01'", "litestream_txid = '0000000000000001'"} {
				if _, err := db.Exec("PRAGMA " + travel); err == nil {
					t.Errorf("%s: no error", travel)
				}
			}
			mustExec(t, db, "PRAGMA litestream_time = LATEST")
			mustExec(t, db, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
			wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000001")
			ask("0000000000000001")
			wantSQL(t, db, "SELECT x FROM t", "1")
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if text := log.String(); strings.Contains(text, "panic") || strings.Contains(text, "hydration failed") {
				t.Errorf("log: %s", text)
			}
		})
	}
}
