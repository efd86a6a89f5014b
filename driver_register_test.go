//go:build cgo

package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/mattn/go-sqlite3"
)

var registered atomic.Int64 // number of names that registerC has used

// registerC makes a VFS known to SQLite by litestream.RegisterVFS, whatever binding
// the other tests use.
func registerC(t testing.TB, client litestream.ReplicaClient, opts *litestream.Options) (name string, vfs *litestream.VFS) {
	t.Helper()
	var o litestream.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = testlog.New(t, nil)
	}
	vfs = litestream.NewVFS(client, &o)
	name = fmt.Sprintf("litestream-c-%d", registered.Add(1))
	if err := litestream.RegisterVFS(name, vfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Errorf("close vfs: %v", err)
		}
	})
	return name, vfs
}

// connectC opens a connection with the plain driver of mattn/go-sqlite3.
func connectC(t testing.TB, dsn string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestRegisterVFS_Names registers names that are taken and names that SQLite cannot
// have. Options may be set until the first open.
func TestRegisterVFS_Names(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 7)
	name, vfs := registerC(t, client, nil)
	vfs.PollInterval = time.Hour
	for _, other := range []string{name, "unix", "", "a\x00b"} {
		if err := litestream.RegisterVFS(other, litestream.NewVFS(client)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", other)) {
			t.Errorf("register %q: %v", other, err)
		}
	}
	if err := litestream.RegisterVFS("litestream-c-nil", nil); err == nil {
		t.Error("registers nothing")
	}
	if err := litestream.RegisterVFS(name, vfs); err != nil {
		t.Errorf("register it again: %v", err)
	}
	old := connectC(t, dsn(name, "app.db"))
	if got := at(t, old); got != "7" {
		t.Errorf("reads %s", got)
	}

	// A VFS takes the name of one that was closed.
	if err := vfs.Close(t.Context()); err != nil {
		t.Error(err)
	}
	other := memoryClient()
	numberedReplica(t, other, 8)
	next := litestream.NewVFS(other, &litestream.Options{Logger: testlog.New(t, nil)})
	defer next.Close(context.Background())
	if err := litestream.RegisterVFS(name, next); err != nil {
		t.Errorf("register another one after the first was closed: %v", err)
	}
	conn := connectC(t, dsn(name, "app.db"))
	if got := at(t, conn); got != "8" {
		t.Errorf("reads %s", got)
	}
	if _, err := queryText(old, "SELECT n FROM t"); err == nil {
		t.Error("a connection of the closed VFS still reads")
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestRegisterVFS_Concurrent registers VFSs while others are used.
func TestRegisterVFS_Concurrent(t *testing.T) {
	var wg sync.WaitGroup
	var taken atomic.Int64
	same := fmt.Sprintf("litestream-c-same-%d", registered.Add(1))
	for i := range 8 {
		client := memoryClient()
		numberedReplica(t, client, i)
		wg.Go(func() {
			if litestream.RegisterVFS(same, litestream.NewVFS(client)) == nil {
				taken.Add(1)
			}
			name, _ := registerC(t, client, nil)
			for range 20 {
				db, err := sql.Open("sqlite3", dsn(name, "app.db"))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := queryText(db, "SELECT n FROM t"); got != fmt.Sprint(i) || err != nil {
					t.Errorf("VFS %d reads %s, %v", i, got, err)
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

// TestRegisterVFS_OpenError checks that a failed open says why, and that connections
// with other VFSs are not affected.
func TestRegisterVFS_OpenError(t *testing.T) {
	var log testlog.Buffer
	name, _ := registerC(t, nil, &litestream.Options{
		Logger: testlog.New(t, &log),
		NewClient: func(string) (litestream.ReplicaClient, error) {
			return nil, errors.New("the tenant has moved")
		},
	})
	db, err := sql.Open("sqlite3", dsn(name, "tenants/app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var e sqlite3.Error
	if err := db.Ping(); !errors.As(err, &e) || e.Code != sqlite3.ErrCantOpen || !strings.HasSuffix(err.Error(), "litestream: open tenants/app.db: the tenant has moved") {
		t.Errorf("open: %v", err)
	}
	conn := connectC(t, filepath.Join(t.TempDir(), "plain.db"))
	if _, err := queryText(conn, "SELECT litestream_txid()"); err == nil || !strings.Contains(err.Error(), "no such function") {
		t.Errorf("a plain connection has functions: %v", err)
	}
	if _, err := conn.ExecContext(t.Context(), "ATTACH '"+dsn(name, "tenants/app.db")+"' AS r"); err == nil {
		t.Error("attach succeeds")
	}
	mustExec(t, conn, "CREATE TABLE t (x)")
}

// hungAfter is how long a query may take in TestRegisterVFS_Interrupt, and
// muchLess is far less than ReadTimeout and more than a busy machine needs.
const (
	hungAfter = 500 * time.Millisecond
	muchLess  = 10 * time.Second
)

// TestRegisterVFS_Interrupt ends the context of a query while storage hangs. The
// connection can be used afterwards.
func TestRegisterVFS_Interrupt(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000) INSERT INTO t SELECT hex(randomblob(200)) FROM n")
	fault := decorate.NewFault(client)
	opts := writing(func(o *litestream.Options) { o.CacheSize, o.ReadAheadSize, o.PollInterval = -1, -1, -1 })
	name, _ := registerC(t, fault, opts)
	connectC(t, dsn(name, "app.db")) // keeps the database open

	const scan = "SELECT count(*) FROM t WHERE x > ''"
	for what, c := range map[string]struct{ prepare, hangs, check string }{
		"row":     {scan, scan, scan},
		"write":   {scan, "UPDATE t SET x = 'x' WHERE rowid = 1500", scan},
		"journal": {"BEGIN IMMEDIATE; UPDATE t SET x = 'z' WHERE rowid = 2", "SELECT count(*) FROM t WHERE x < ''", "ROLLBACK; " + scan},
	} {
		t.Run(what, func(t *testing.T) {
			conn := connectC(t, dsn(name, "app.db", "_cache_size=1"))
			mustExec(t, conn, c.prepare)
			testHung(t, conn, fault, c.hangs)
			if _, err := conn.ExecContext(t.Context(), strings.TrimSuffix(c.check, scan)); err != nil {
				t.Error(err)
			}
			if got := mustQuery(t, conn, scan); got != "3000" {
				t.Errorf("%s rows afterwards", got)
			}
		})
	}
	t.Run("attached", func(t *testing.T) {
		conn := connectC(t, ":memory:")
		mustExec(t, conn, "ATTACH '"+dsn(name, "app.db")+"' AS r")
		testHung(t, conn, fault, "SELECT count(*) FROM r.t")
		if got := mustQuery(t, conn, "SELECT count(*) FROM r.t"); got != "3000" {
			t.Errorf("%s rows afterwards", got)
		}
	})
}

// testHung runs a query while storage hangs, and checks that it ends with its
// context.
func testHung(t *testing.T, conn *sql.Conn, fault *decorate.Fault, query string) {
	t.Helper()
	before := runtime.NumGoroutine()
	remove := fault.Add(decorate.Rule{Hang: true})
	defer remove()
	ctx, cancel := context.WithTimeout(t.Context(), hungAfter)
	defer cancel()
	start := time.Now()
	rows, err := conn.QueryContext(ctx, query)
	if err == nil {
		for rows.Next() {
		}
		err = errors.Join(rows.Err(), rows.Close())
	}
	took := time.Since(start)
	t.Logf("%s: returns after %v: %v", query, took, err)
	if err == nil {
		t.Errorf("%s: no error", query)
	}
	if took < hungAfter || took > muchLess {
		t.Errorf("%s: returns after %v", query, took)
	}
	cancel()
	remove()
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestRegisterVFS_InterruptAnywhere ends contexts of queries at random moments,
// before, within and after the waits for a slow storage, and closes connections
// right afterwards. Queries that succeed say what they should.
func TestRegisterVFS_InterruptAnywhere(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500) INSERT INTO t SELECT hex(randomblob(200)) FROM n")
	slow := decorate.NewLatency(client, decorate.Latency{PerRequest: 25 * time.Millisecond})
	opts := writing(func(o *litestream.Options) { o.CacheSize, o.ReadAheadSize, o.PollInterval = -1, -1, -1 })
	name, _ := registerC(t, slow, opts)
	keep := connectC(t, dsn(name, "app.db"))
	var wg sync.WaitGroup
	var done, ended atomic.Int64
	for i := range 8 {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for range 5 {
				db, err := sql.Open("sqlite3", dsn(name, "app.db", "_cache_size=1"))
				if err != nil {
					t.Error(err)
					return
				}
				for range 3 {
					limit := time.Duration(rng.IntN(200)) * time.Millisecond
					if rng.IntN(4) == 0 {
						limit = time.Minute
					}
					ctx, cancel := context.WithTimeout(context.Background(), limit)
					var n int
					err := db.QueryRowContext(ctx, "SELECT count(x) FROM t WHERE rowid BETWEEN ? AND ?", 1+i, 20+i).Scan(&n)
					cancel()
					switch {
					case err == nil && n == 20:
						done.Add(1)
					case limit < time.Minute && errors.Is(err, context.DeadlineExceeded):
						ended.Add(1)
					default:
						t.Errorf("%d rows, %v", n, err)
					}
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d queries ended with their context, %d did not", ended.Load(), done.Load())
	if ended.Load() == 0 {
		t.Error("no query ended with its context")
	}
	if got := mustQuery(t, keep, "SELECT count(*) FROM t"); got != "500" {
		t.Errorf("%s rows", got)
	}
}

// TestRegisterVFS_BareName opens a file as VFSs do that split a database into several files.
// Their names have no parameters, and anything may follow them in memory.
func TestRegisterVFS_BareName(t *testing.T) {
	name, _ := registerC(t, memory.NewReplicaClient(), &litestream.Options{WriteEnabled: true})
	if err := sqlitetest.OpenBare(name, filepath.Join(t.TempDir(), "app.db")); err != nil {
		t.Error(err)
	}
}
