//go:build !cgo || two_drivers

// With cgo the library brings mattn/go-sqlite3, which has the same name in
// database/sql. The tag is for test runs that give the driver another one.

package ncruces_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/ncruces"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	driverVFS "github.com/ncruces/go-sqlite3/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var registered atomic.Int64 // number of names that register has used

// register registers a VFS under a name of its own, until the test ends.
func register(t testing.TB, client litestream.ReplicaClient, opts litestream.Options) (name string, vfs *litestream.VFS) {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = testlog.New(t, nil)
	}
	name = fmt.Sprintf("ncruces-test-%d", registered.Add(1))
	vfs = litestream.NewVFS(client, &opts)
	if err := ncruces.RegisterVFS(name, vfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Errorf("close vfs: %v", err)
		}
		driverVFS.Unregister(name)
	})
	return name, vfs
}

// open opens a database with the driver for database/sql.
func open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := driver.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// connect opens one connection.
func connect(t testing.TB, dsn string) *sql.Conn {
	t.Helper()
	conn, err := open(t, dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exec(t testing.TB, conn *sql.Conn, query string) {
	t.Helper()
	if _, err := conn.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// value returns the only value of a query.
func value(t testing.TB, conn *sql.Conn, query string) (s string) {
	t.Helper()
	if err := conn.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

// failure returns the error of a query.
func failure(ctx context.Context, conn *sql.Conn, query string) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func writing() litestream.Options { return litestream.Options{WriteEnabled: true, PollInterval: -1} }

// TestRegisterVFS_Names registers names that are taken. Options may be set until
// the first open.
func TestRegisterVFS_Names(t *testing.T) {
	client := memory.NewReplicaClient()
	name, vfs := register(t, client, litestream.Options{})
	vfs.WriteEnabled = true
	for _, other := range []string{name, "", "os"} {
		if err := ncruces.RegisterVFS(other, litestream.NewVFS(client)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", other)) {
			t.Errorf("register %q: %v", other, err)
		}
	}
	if err := ncruces.RegisterVFS("ncruces-test-nil", nil); err == nil {
		t.Error("nil is registered")
	}
	conn := connect(t, "file:app.db?vfs="+name)
	exec(t, conn, "CREATE TABLE t (x)")
	if err := ncruces.RegisterVFS(name, vfs); err != nil {
		t.Errorf("the same VFS again: %v", err)
	}

	// The name is free once its VFS is closed.
	if err := errors.Join(conn.Close(), vfs.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	other := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil)})
	defer other.Close(context.Background())
	if err := ncruces.RegisterVFS(name, other); err != nil {
		t.Error(err)
	}
	if got := value(t, connect(t, "file:app.db?vfs="+name), "SELECT count(*) FROM t"); got != "0" {
		t.Errorf("%s rows", got)
	}
}

// TestRegisterVFS_Concurrent registers VFSs while others are used. One of several
// goroutines gets a name.
func TestRegisterVFS_Concurrent(t *testing.T) {
	var wg sync.WaitGroup
	var taken atomic.Int64
	defer driverVFS.Unregister("ncruces-test-same")
	for i := range 8 {
		wg.Go(func() {
			if ncruces.RegisterVFS("ncruces-test-same", litestream.NewVFS(memory.NewReplicaClient())) == nil {
				taken.Add(1)
			}
			name, _ := register(t, memory.NewReplicaClient(), writing())
			for n := range 10 {
				db, err := driver.Open("file:app.db?vfs=" + name)
				if err == nil {
					_, err = db.Exec(fmt.Sprintf("CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (%d)", i))
				}
				var got string
				if err == nil {
					err = db.QueryRow("SELECT count(*) || ' ' || max(x) FROM t").Scan(&got)
				}
				if want := fmt.Sprintf("%d %d", n+1, i); err != nil || got != want {
					t.Errorf("VFS %d reads %q, want %q, %v", i, got, want, err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d VFSs have the same name", taken.Load())
	}
}

// TestNames opens replicas by names that SQLite resolves: relative to the working
// folder, in a folder that does not exist, and through a link. The library knows
// them as the program spells them.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Symlink(filepath.Join(dir, "target.db"), "link.db"); err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{
		"app.db": "app.db", "./a/../app.db": "app.db", "tenants/42.db": "tenants/42.db", "link.db": "link.db",
		filepath.Join(dir, "app.db"): filepath.Join(dir, "app.db"), "/no/such/folder/app.db": "/no/such/folder/app.db",
	} {
		var opened atomic.Pointer[string]
		opts := writing()
		opts.NewClient = func(name string) (litestream.ReplicaClient, error) {
			opened.Store(&name)
			return memory.NewReplicaClient(), nil
		}
		vfsName, vfs := register(t, nil, opts)
		conn := connect(t, "file:"+name+"?vfs="+vfsName)
		exec(t, conn, "CREATE TABLE t (x)")
		if got := *opened.Load(); got != want {
			t.Errorf("%s is opened as %s, want %s", name, got, want)
		}
		if err := vfs.Sync(t.Context(), want); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v", entries, err)
	}
}

// TestNames_TwoKinds checks that a path is not opened both as a replica and as a
// local file, since the journals of replicas are not on disk.
func TestNames_TwoKinds(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	path := filepath.Join(dir, "app.db")
	exec(t, connect(t, "file:app.db"), "CREATE TABLE t (x)")
	vfsName, _ := register(t, memory.NewReplicaClient(), writing())
	replica := connect(t, "file:app.db?vfs="+vfsName)
	exec(t, replica, "CREATE TABLE t (x)")
	if err := failure(t.Context(), replica, "ATTACH '"+path+"' AS l"); err == nil || !strings.Contains(err.Error(), path+" is open as a replica") {
		t.Errorf("attach of the local file: %v", err)
	}
	opts := writing()
	opts.NewClient = func(name string) (litestream.ReplicaClient, error) {
		if name == "app.db" {
			return memory.NewReplicaClient(), nil
		}
		return nil, nil
	}
	vfsName, _ = register(t, nil, opts)
	local := connect(t, "file:"+path+"?vfs="+vfsName)
	if err := failure(t.Context(), local, "ATTACH 'app.db' AS r"); err == nil || !strings.Contains(err.Error(), path+" was opened as a local file before") {
		t.Errorf("attach of the replica: %v", err)
	}
	if err := failure(t.Context(), local, "ATTACH '"+filepath.Join(dir, "no", "x.db")+"' AS l"); err == nil {
		t.Error("a file in a missing folder is attached")
	}
}

// TestErrors checks that the text and the code of an error reach the program.
func TestErrors(t *testing.T) {
	client := memory.NewReplicaClient()
	fault := decorate.NewFault(client)
	opts := writing()
	opts.CacheSize, opts.ReadAheadSize = -1, -1
	vfsName, vfs := register(t, fault, opts)
	conn := connect(t, "file:app.db?vfs="+vfsName)
	exec(t, conn, "CREATE TABLE t (x); INSERT INTO t SELECT randomblob(100000)")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}

	// SQLite unlocks the file before the driver asks for the text.
	conn = connect(t, "file:app.db?vfs="+vfsName)
	remove := fault.Add(decorate.Rule{Err: fmt.Errorf("403: %w", fs.ErrPermission)})
	err := failure(t.Context(), conn, "SELECT sum(length(x)) FROM t")
	if !errors.Is(err, sqlite3.IOERR_READ) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "403") {
		t.Errorf("read: %v", err)
	}
	remove()
	if got := value(t, conn, "SELECT sum(length(x)) FROM t"); got != "100000" {
		t.Errorf("afterwards %s bytes", got)
	}

	for query, want := range map[string]string{
		"PRAGMA litestream_time = 'never'":        `"never"`,
		"SELECT litestream_set_time('never')":     `"never"`,
		"SELECT litestream_set_txid('5')":         "16 hex digits",
		"SELECT litestream_set_write_enabled(17)": "neither on nor off",
	} {
		if err := failure(t.Context(), conn, query); !errors.Is(err, sqlite3.ERROR) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
	exec(t, conn, "SELECT litestream_set_write_enabled(0)")
	if err := failure(t.Context(), conn, "INSERT INTO t VALUES (1)"); !errors.Is(err, sqlite3.READONLY) {
		t.Errorf("write: %v", err)
	}

	for name, want := range map[string]error{"none.db": errMoved, "empty.db": litestream.ErrNoDatabase} {
		vfsName, _ := register(t, nil, litestream.Options{WaitForReplica: -1, NewClient: func(name string) (litestream.ReplicaClient, error) {
			if name == "none.db" {
				return nil, errMoved
			}
			return file.NewReplicaClient(t.TempDir()), nil
		}})
		err := open(t, "file:"+name+"?vfs="+vfsName).Ping()
		if !errors.Is(err, sqlite3.CANTOPEN) || !errors.Is(err, want) || !strings.Contains(err.Error(), "litestream: open "+name+": ") {
			t.Errorf("open of %s: %v", name, err)
		}
		plain := connect(t, ":memory:")
		if err := failure(t.Context(), plain, "ATTACH 'file:"+name+"?vfs="+vfsName+"' AS r"); !errors.Is(err, sqlite3.CANTOPEN) || !errors.Is(err, want) {
			t.Errorf("attach of %s: %v", name, err)
		}
	}
}

var errMoved = errors.New("the tenant has moved")

// TestPragmas checks that PRAGMAs without a result can be queried, although the
// driver panics if a column has no name.
func TestPragmas(t *testing.T) {
	vfsName, _ := register(t, memory.NewReplicaClient(), writing())
	conn := connect(t, "file:app.db?vfs="+vfsName)
	for _, query := range []string{"PRAGMA litestream_hydration_file", "PRAGMA litestream_time = latest"} {
		rows, err := conn.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		if columns, err := rows.Columns(); err != nil || len(columns) != 1 {
			t.Errorf("%s: %q, %v", query, columns, err)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
		if got := value(t, conn, query); got != "" {
			t.Errorf("%s: %q", query, got)
		}
	}
	if got := value(t, conn, "PRAGMA litestream_write_enabled"); got != "1" {
		t.Errorf("write mode is %s", got)
	}
	if got := value(t, conn, "PRAGMA journal_mode = WAL"); got != "delete" {
		t.Errorf("journal mode is %s", got)
	}
}

// TestFunctions checks which connections have the functions.
func TestFunctions(t *testing.T) {
	vfsName, _ := register(t, memory.NewReplicaClient(), writing())
	conn := connect(t, "file:app.db?vfs="+vfsName)
	exec(t, conn, "CREATE TABLE t (x)")
	if got := value(t, conn, "SELECT litestream_sync()"); got != "0000000000000001" {
		t.Errorf("synced %s", got)
	}
	exec(t, conn, "INSERT INTO t VALUES (1)")
	exec(t, conn, "SELECT litestream_sync()")
	if got := value(t, conn, "SELECT litestream_set_txid('0000000000000001')"); got != "0000000000000001" {
		t.Errorf("went to %s", got)
	}
	if got := value(t, conn, "SELECT litestream_txid() || count(*) FROM t"); got != "00000000000000010" {
		t.Errorf("at %s", got)
	}
	exec(t, conn, "SELECT litestream_set_txid('latest')")
	if got := value(t, conn, "SELECT count(*) FROM t"); got != "1" {
		t.Errorf("%s rows of the newest state", got)
	}
	if got := value(t, conn, "SELECT litestream_wait('0000000000000002', 1)"); got != "0000000000000002" {
		t.Errorf("waited for %s", got)
	}
	if got := value(t, conn, "SELECT litestream_set_txid(NULL) IS NULL AND litestream_wait('1', NULL) IS NULL"); got != "1" {
		t.Error("NULL does not give NULL")
	}
	if got := value(t, conn, "SELECT litestream_set_write_enabled('off') || typeof(litestream_write_enabled())"); got != "0integer" {
		t.Errorf("write mode is %s", got)
	}

	local := connect(t, "file:"+filepath.Join(t.TempDir(), "local.db")+"?vfs="+vfsName)
	if err := failure(t.Context(), local, "SELECT litestream_txid()"); err == nil || !strings.Contains(err.Error(), "not served by litestream") {
		t.Errorf("a local file: %v", err)
	}
	if err := failure(t.Context(), connect(t, ":memory:"), "SELECT litestream_txid()"); err == nil || !strings.Contains(err.Error(), "no such function") {
		t.Errorf("another VFS: %v", err)
	}
	plain, err := driver.Open(":memory:", ncruces.RegisterFunctions)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.QueryRow("SELECT litestream_txid()").Scan(new(string)); err == nil || !strings.Contains(err.Error(), "not served by litestream") {
		t.Errorf("RegisterFunctions: %v", err)
	}
}

// TestLocalWAL attaches a local database in WAL mode while another connection of
// the driver writes to it.
func TestLocalWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	other := connect(t, "file:"+path)
	if got := value(t, other, "PRAGMA journal_mode = WAL"); got != "wal" {
		t.Skipf("the driver has no shared memory here: journal mode %s", got)
	}
	exec(t, other, "CREATE TABLE l (x); INSERT INTO l VALUES (1)")
	vfsName, _ := register(t, memory.NewReplicaClient(), writing())
	conn := connect(t, "file:app.db?vfs="+vfsName)
	exec(t, conn, "CREATE TABLE t (x)")
	exec(t, conn, "ATTACH '"+path+"' AS l")
	if got := value(t, conn, "PRAGMA l.journal_mode"); got != "wal" {
		t.Errorf("journal mode is %s", got)
	}
	exec(t, other, "INSERT INTO l VALUES (2)")
	exec(t, conn, "BEGIN")
	if got := value(t, conn, "SELECT count(*) FROM l.l"); got != "2" {
		t.Errorf("%s rows", got)
	}
	exec(t, other, "INSERT INTO l VALUES (3)") // beside a reader
	exec(t, conn, "COMMIT")
	exec(t, conn, "INSERT INTO l.l SELECT max(x) + 1 FROM l.l; INSERT INTO t SELECT x FROM l.l")
	if got := value(t, other, "SELECT group_concat(x) FROM l"); got != "1,2,3,4" {
		t.Errorf("rows %s", got)
	}
	if got := value(t, conn, "SELECT group_concat(x) FROM t"); got != "1,2,3,4" {
		t.Errorf("rows of the replica %s", got)
	}
}

// Limits of TestInterrupt. The query ends within a few tens of milliseconds after
// its context on an idle machine. muchLess is far less than ReadTimeout, and more
// than a busy machine needs.
const (
	hungAfter = 500 * time.Millisecond
	muchLess  = 10 * time.Second
)

// TestInterrupt ends the context of a query while storage hangs. The connection can
// be used afterwards.
func TestInterrupt(t *testing.T) {
	fault := decorate.NewFault(memory.NewReplicaClient())
	opts := writing()
	opts.CacheSize, opts.ReadAheadSize = -1, -1
	vfsName, vfs := register(t, fault, opts)
	exec(t, connect(t, "file:app.db?vfs="+vfsName), "CREATE TABLE t (x); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000) INSERT INTO t SELECT hex(randomblob(200)) FROM n")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
	const scan = "SELECT count(*) FROM t WHERE x > ''"
	for what, tc := range map[string]struct{ prepare, hangs, after string }{
		"first read":  {"SELECT 1", scan, "SELECT 1"},
		"later read":  {scan, scan, "SELECT 1"},
		"write":       {scan, "UPDATE t SET x = 'x' WHERE rowid = 1500", "SELECT 1"},
		"transaction": {"BEGIN IMMEDIATE; UPDATE t SET x = 'z' WHERE rowid = 2", scan, "ROLLBACK"},
		"travel":      {scan, "PRAGMA litestream_time = '2001-01-01'", "SELECT 1"},
	} {
		t.Run(what, func(t *testing.T) {
			conn := connect(t, "file:app.db?vfs="+vfsName+"&_pragma=cache_size(1)")
			exec(t, conn, tc.prepare)
			hang(t, conn, fault, tc.hangs)
			exec(t, conn, tc.after)
			if got := value(t, conn, scan); got != "3000" {
				t.Errorf("%s rows afterwards", got)
			}
		})
	}
	t.Run("attached", func(t *testing.T) {
		conn := connect(t, ":memory:")
		exec(t, conn, "ATTACH 'file:app.db?vfs="+vfsName+"' AS r")
		hang(t, conn, fault, "SELECT count(*) FROM r.t")
		if got := value(t, conn, "SELECT count(*) FROM r.t"); got != "3000" {
			t.Errorf("%s rows afterwards", got)
		}
	})
}

// hang runs a query while storage hangs, and checks that it ends with its context.
func hang(t *testing.T, conn *sql.Conn, fault *decorate.Fault, query string) {
	t.Helper()
	before := runtime.NumGoroutine()
	remove := fault.Add(decorate.Rule{Hang: true})
	defer remove()
	ctx, cancel := context.WithTimeout(t.Context(), hungAfter)
	defer cancel()
	start := time.Now()
	err := failure(ctx, conn, query)
	took := time.Since(start)
	t.Logf("%s: returns after %v: %v", query, took, err)
	if !errors.Is(err, sqlite3.INTERRUPT) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", query, err)
	}
	if took < hungAfter || took > muchLess {
		t.Errorf("%s: returns after %v", query, took)
	}
	cancel()
	remove()
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
