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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// crashCopy is what a process that is killed at some moment leaves.
type crashCopy struct {
	at     string // operation at which the process was killed
	power  bool   // power was lost, so unsynced data may be damaged, and is kept
	buffer string // path of the write buffer
	client *memory.ReplicaClient
	least  int64 // number of commits that were acknowledged
}

// cloneReplica copies all files of a replica.
func cloneReplica(t testing.TB, from *memory.ReplicaClient) *memory.ReplicaClient {
	t.Helper()
	to := memory.NewReplicaClient()
	itr, err := from.AllLTXFiles(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	for itr.Next() {
		f := itr.Item()
		r, err := from.OpenLTXFile(context.Background(), f.Level, f.MinTXID, f.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err == nil {
			_, err = to.WriteLTXFile(context.Background(), f.Level, f.MinTXID, f.MaxTXID, bytes.NewReader(b))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// crashes collects crash copies of a database in write mode.
type crashes struct {
	t      *testing.T
	path   string // path of the write buffer
	client *storeFault
	acked  atomic.Int64

	mu     sync.Mutex
	copies []crashCopy      // guarded by mu
	synced map[string]int64 // guarded by mu; sizes of segments that survive the loss of power
	rng    *rand.Rand       // guarded by mu
}

// take makes two copies: one of the files as they are, for a killed process,
// and one of what may remain of them after a loss of power.
func (c *crashes) take(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, err := filepath.Glob(c.path + "*")
	if err != nil {
		c.t.Error(err)
	}
	if op == "after: sync segment" {
		for _, name := range names {
			if info, err := os.Stat(name); err == nil {
				c.synced[name] = info.Size()
			}
		}
	}
	for _, power := range []bool{false, true} {
		dir := filepath.Join(filepath.Dir(c.path), fmt.Sprintf("copy%d", len(c.copies)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			c.t.Error(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if os.IsNotExist(err) {
				continue
			} else if err != nil {
				c.t.Error(err)
			}
			if synced := min(c.synced[name], int64(len(b))); power && int64(len(b)) > synced {
				b = tear(c.rng, b, int(synced))
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), b, 0o600); err != nil {
				c.t.Error(err)
			}
		}
		c.copies = append(c.copies, crashCopy{
			fmt.Sprintf("%s, power lost: %v", op, power), power, filepath.Join(dir, filepath.Base(c.path)),
			cloneReplica(c.t, c.client.ReplicaClient), c.acked.Load(),
		})
	}
}

// tear damages a file beyond its first bytes.
func tear(rng *rand.Rand, b []byte, from int) []byte {
	b = bytes.Clone(b)
	switch rng.IntN(3) {
	case 0:
		return b[:from+rng.IntN(len(b)-from)]
	case 1:
		clear(b[from+rng.IntN(len(b)-from):])
	default:
		b[from+rng.IntN(len(b)-from)] ^= 0x40
	}
	return b
}

// TestPromise4_Crash also covers promise 5: a process is killed, or power is
// lost, at every write and fsync of the write buffer, and before and after each
// upload.
func TestPromise4_Crash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ journal, synchronous string }{{"DELETE", "FULL"}, {"MEMORY", "NORMAL"}, {"PERSIST", "EXTRA"}} {
		t.Run(c.journal+" "+c.synchronous, func(t *testing.T) { testCrash(t, c.journal, c.synchronous) })
	}
}

func testCrash(t *testing.T, journal, synchronous string) {
	c := &crashes{
		t: t, path: filepath.Join(t.TempDir(), "buffer"), client: faulty(),
		synced: make(map[string]int64), rng: rand.New(rand.NewPCG(1, 1)),
	}
	c.client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		c.take("before upload")
		info, err := do()
		c.take("after upload")
		return info, err
	}
	opts := writing(func(o *litestream.Options) { o.WriteBufferPath = c.path })
	litestream.OnDisk(opts, func(op string) error { c.take(op); return nil })
	vfsName, vfs := newVFS(t, c.client, opts)
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=10; CREATE TABLE t (id INTEGER PRIMARY KEY, b)", journal, synchronous))
	for n := range int64(9) {
		mustExec(t, db, "INSERT INTO t (b) VALUES (?)", blob(c.rng, int(n*n*700)))
		c.acked.Store(n + 1)
		if n%3 == 2 {
			if err := vfs.Sync(t.Context(), "app.db"); err != nil {
				t.Fatal(err)
			}
		}
		if n == 4 {
			mustExec(t, db, "BEGIN; DELETE FROM t; INSERT INTO t (b) VALUES (zeroblob(100000)); ROLLBACK")
		}
	}
	slot := reuseSlot(t)
	c.mu.Lock()
	copies := c.copies
	c.mu.Unlock()
	step := len(copies) / testscale.Repeats(len(copies))
	for i := 0; i < len(copies); i += step {
		reopen(t, slot, copies[i])
	}
	t.Logf("%d copies", len(copies))
	if len(copies) < 100 {
		t.Error("too few")
	}
}

// reopen opens what a crash left.
func reopen(t *testing.T, slot string, k crashCopy) {
	t.Helper()
	vfs := litestream.NewVFS(k.client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.Logger = k.buffer, testlog.New(t, nil) }))
	setSlot(slot, vfs)
	db := openConn(t, slot, "app.db")
	defer db.Close()
	n := int64(-1) // the table does not exist
	if mustQuery(t, db, "SELECT count(*) FROM sqlite_master") == "1" {
		var err error
		if n, err = strconv.ParseInt(mustQuery(t, db, "SELECT count(*) FROM t"), 10, 64); err != nil {
			t.Fatal(err)
		}
		wantSQL(t, db, "SELECT coalesce(max(id), 0) FROM t", fmt.Sprint(n))
	}
	if n < k.least && k.least > 0 || n > k.least+1 {
		t.Errorf("%s: %d commits, %d were acknowledged", k.at, n, k.least)
	}
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	mustExec(t, db, "CREATE TABLE IF NOT EXISTS after (x)")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Errorf("%s: %v", k.at, err)
	}
	if err := vfs.Close(t.Context()); err != nil {
		t.Errorf("%s: %v", k.at, err)
	}
	if left, _ := filepath.Glob(k.buffer + "*"); len(left) > 0 && !k.power {
		t.Errorf("%s: %v are left", k.at, left)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// TestWrite_DiskFull makes each write to the disk fail once. At most the
// transaction fails, and acknowledged commits stay.
func TestWrite_DiskFull(t *testing.T) {
	client := memoryClient()
	opts := writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") })
	var fail, ops atomic.Int64
	litestream.OnDisk(opts, func(op string) error {
		if !strings.HasPrefix(op, "before: remove") && ops.Add(1) == fail.Load() {
			return fmt.Errorf("%s: %w", op, syscall.ENOSPC)
		}
		return nil
	})
	vfsName, vfs := newVFS(t, client, opts)
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
	rows, failures := 0, 0
	for n := range int64(60) {
		ops.Store(0)
		fail.Store(1 + n%8)
		if n%20 > 10 {
			fail.Store(0)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO t (b) VALUES (zeroblob(9000))"); err == nil {
			rows++
		} else if failures++; !strings.Contains(err.Error(), "full") {
			t.Errorf("the disk is full: %v", err)
		}
		wantSQL(t, db, "SELECT count(*) FROM t", fmt.Sprint(rows))
		if n%7 == 0 {
			if err := vfs.Sync(t.Context(), "app.db"); err != nil {
				t.Error(err)
			}
		}
	}
	if failures < 5 {
		t.Errorf("%d transactions failed", failures)
	}
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Error(err)
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT count(*) FROM t", fmt.Sprint(rows))
}

// leaveBuffer makes a buffer with a commit for a replica, as a killed process
// leaves it.
func leaveBuffer(t *testing.T, client litestream.ReplicaClient, query string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "buffer")
	vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE IF NOT EXISTS t (v)")
	mustSync(t, vfs)
	mustExec(t, db, query)
	return copyBuffer(t, path)
}

// writeReplica runs a query on a replica in write mode.
func writeReplica(t *testing.T, client litestream.ReplicaClient, query string) {
	t.Helper()
	vfsName, vfs := newVFS(t, client, writing())
	mustExec(t, openDB(t, vfsName, "app.db"), query)
	mustSync(t, vfs)
}

func mustSync(t testing.TB, vfs *litestream.VFS) {
	t.Helper()
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
}

// damageSegment changes the first segment of a buffer.
func damageSegment(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	names, _ := filepath.Glob(path + "-*")
	b, err := os.ReadFile(names[0])
	if err == nil {
		err = os.WriteFile(names[0], change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// leaveSecondSegment makes a buffer with a second segment whose first segment
// is missing.
func leaveSecondSegment(t *testing.T, client *memory.ReplicaClient) string {
	clone := &storeFault{ReplicaClient: cloneReplica(t, client)}
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, vfs := newVFSOnly(t, clone, writing(func(o *litestream.Options) {
		o.WriteBufferPath, o.CloseTimeout, o.ReadTimeout = path, 1, 300*time.Millisecond
	}))
	t.Cleanup(func() { _ = vfs.Close(context.Background()) }) // the close cannot sync
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, insertThere)
	var once sync.Once
	clone.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		once.Do(func() { mustExec(t, db, insertThere) })
		return nil, errors.New("storage is down")
	}
	if _, err := db.Exec("PRAGMA litestream_sync"); err == nil {
		t.Fatal("a sync succeeds while storage is down")
	}
	copied := copyBuffer(t, path)
	names, _ := filepath.Glob(copied + "-*")
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	return copied
}

const insertThere = "INSERT INTO t VALUES ('there')"

// TestWrite_BadBuffer opens buffers that do not belong to the replica. None of
// them is replayed, and none is lost.
func TestWrite_BadBuffer(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, client *memory.ReplicaClient) string{
		"another database": func(t *testing.T, _ *memory.ReplicaClient) string {
			return leaveBuffer(t, memoryClient(), insertThere)
		},
		"another page size": func(t *testing.T, _ *memory.ReplicaClient) string {
			other := memoryClient()
			writeReplica(t, other, "PRAGMA page_size=8192; CREATE TABLE t (v)")
			return leaveBuffer(t, other, insertThere)
		},
		"the replica went on": func(t *testing.T, client *memory.ReplicaClient) string {
			path := leaveBuffer(t, cloneReplica(t, client), insertThere)
			writeReplica(t, client, "INSERT INTO t VALUES ('on'); DELETE FROM t WHERE v = 'on'")
			return path
		},
		"a newer version": func(t *testing.T, client *memory.ReplicaClient) string {
			path := leaveBuffer(t, cloneReplica(t, client), insertThere)
			return damageSegment(t, path, func(b []byte) []byte { b[7]++; return b })
		},
		"no segment": func(t *testing.T, client *memory.ReplicaClient) string {
			path := leaveBuffer(t, cloneReplica(t, client), insertThere)
			return damageSegment(t, path, func([]byte) []byte { return []byte("some other file") })
		},
		"a segment without the one before": leaveSecondSegment,
	} {
		t.Run(name, func(t *testing.T) {
			client := memoryClient()
			writeReplica(t, client, "CREATE TABLE t (v); INSERT INTO t VALUES ('here')")
			path := leave(t, client)
			var log testlog.Buffer
			vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.Logger = path, testlog.New(t, &log) }))
			db := openDB(t, vfsName, "app.db")
			wantSQL(t, db, "SELECT group_concat(v) FROM t", "here")
			mustExec(t, db, "INSERT INTO t VALUES ('more')")
			mustExec(t, db, "PRAGMA litestream_sync")
			if kept, _ := filepath.Glob(path + ".kept-*"); len(kept) != 1 {
				t.Errorf("kept is %v, want one segment", kept)
			}
			if !strings.Contains(log.String(), "kept=") {
				t.Error("the log does not say what was kept")
			}
		})
	}
}
