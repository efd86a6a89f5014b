package litestream_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	killtest.Child(func(store string) (litestream.ReplicaClient, error) { return file.NewReplicaClient(store), nil })
	registerDriver()
	dir, err := os.MkdirTemp("", "litestream-test-") // this process alone uses it
	if err == nil {
		err = errors.Join(os.Setenv("TMPDIR", dir), os.Setenv("XDG_STATE_HOME", dir))
	}
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		left, err := filepath.Glob(filepath.Join(dir, "litestream-*"))
		kept, kerr := filepath.Glob(filepath.Join(dir, "litestream", "*"))
		left, err = append(left, kept...), errors.Join(err, kerr)
		if code == 0 && len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d temp files left, as %v\n", len(left), left[:min(len(left), 5)])
			code = 1
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func slotName(i int) string { return "litestream-test-" + strconv.Itoa(i) }

// register makes a VFS known to SQLite until the test ends, and then closes it.
func register(t testing.TB, vfs *litestream.VFS) (name string) {
	t.Helper()
	name = reuseSlot(t)
	setSlot(name, vfs)
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Errorf("close vfs: %v", err)
		}
	})
	return name
}

// bothWays runs a test without hydration and with it.
func bothWays(t *testing.T, test func(*testing.T)) {
	t.Run("remote", test)
	t.Run(hydrated, test)
}

// hydrated is the name of tests for which newVFS turns hydration on.
const hydrated = "hydrated"

// isHydrated reports whether bothWays runs a test with hydration.
func isHydrated(t testing.TB) bool { return strings.Contains(t.Name(), "/"+hydrated) }

// newVFS registers a VFS over a client, and sends its log to the test's log.
func newVFS(t testing.TB, client litestream.ReplicaClient, opts *litestream.Options) (name string, vfs *litestream.VFS) {
	t.Helper()
	var o litestream.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = testlog.New(t, nil)
	}
	if o.CloseDelay == 0 {
		o.CloseDelay = -1 // most tests look at what a close does
	}
	if isHydrated(t) {
		o.HydrationEnabled = true
	}
	vfs = litestream.NewVFS(client, &o)
	return register(t, vfs), vfs
}

// openDB opens a database through a registered VFS. Params follow the name
// in the URI.
func openDB(t testing.TB, vfsName, name string, params ...string) *sql.DB {
	t.Helper()
	db, err := vfstest.Open(dsn(vfsName, name, params...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func dsn(vfsName, name string, params ...string) string {
	return "file:" + name + "?" + strings.Join(append(params, "vfs="+vfsName), "&")
}

// openConn opens one connection, which the caller may close early.
func openConn(t testing.TB, vfsName, name string, params ...string) *sql.Conn {
	t.Helper()
	conn, err := openDB(t, vfsName, name, params...).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// queryText returns all rows of a query, columns separated by |, rows by newlines.
func queryText(q querier, query string, args ...any) (string, error) {
	rows, err := q.QueryContext(context.Background(), query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values := make([]any, len(columns))
	dest := make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	var b strings.Builder
	for n := 0; rows.Next(); n++ {
		if err := rows.Scan(dest...); err != nil {
			return "", err
		}
		if n > 0 {
			b.WriteByte('\n')
		}
		for i, v := range values {
			if i > 0 {
				b.WriteByte('|')
			}
			if s, ok := v.([]byte); ok {
				v = string(s)
			}
			fmt.Fprint(&b, v)
		}
	}
	return b.String(), rows.Err()
}

// openOne opens a database by a VFS of its own, with one connection. In a bubble of
// synctest, the function that it returns must be called before the bubble ends.
func openOne(t testing.TB, client litestream.ReplicaClient, opts *litestream.Options, name string) (conn *sql.Conn, vfs *litestream.VFS, closeAll func()) {
	t.Helper()
	vfsName, vfs := newVFS(t, client, opts)
	db, err := vfstest.Open(dsn(vfsName, name))
	if err == nil {
		conn, err = db.Conn(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn, vfs, func() {
		_ = conn.Close()
		_ = db.Close()
		_ = vfs.Close(context.Background())
	}
}

func mustQuery(t testing.TB, q querier, query string, args ...any) string {
	t.Helper()
	s, err := queryText(q, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func mustExec(t testing.TB, q querier, query string, args ...any) {
	t.Helper()
	if _, err := q.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// connStatus holds the fields of litestream_status that tests read.
type connStatus struct {
	litestream.Stats
	View struct {
		TXID       string `json:"txid"`
		Travelling bool   `json:"travelling"`
	} `json:"view"`
	LastError *struct{ Op, Text string } `json:"last_error"`
}

func status(t testing.TB, q querier) (s connStatus) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustQuery(t, q, "PRAGMA litestream_status")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// waitFor polls a condition until it holds, or fails the test.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// memoryClient returns an empty replica in memory.
func memoryClient() *memory.ReplicaClient { return memory.NewReplicaClient() }

// reuseSlot reserves a slot for a test that puts one VFS after another into it
// and closes them itself. The slot is free again when the test ends.
func reuseSlot(t testing.TB) (name string) {
	t.Helper()
	freeSlots.Lock()
	defer freeSlots.Unlock()
	if n := len(freeSlots.names); n > 0 {
		name = freeSlots.names[n-1]
		freeSlots.names = freeSlots.names[:n-1]
	} else if freeSlots.next < len(slots) {
		name = slotName(freeSlots.next)
		freeSlots.next++
	} else {
		t.Fatal("no slot left, add some")
	}
	t.Cleanup(func() {
		freeSlots.Lock()
		defer freeSlots.Unlock()
		freeSlots.names = append(freeSlots.names, name)
	})
	return name
}

var freeSlots struct {
	sync.Mutex
	next  int      // guarded by Mutex; index of the first slot that was never used
	names []string // guarded by Mutex; names of used slots that are free again
}

// newVFSOnly is newVFS without the close, for a test that examines closing.
func newVFSOnly(t testing.TB, client litestream.ReplicaClient, opts *litestream.Options) (name string, vfs *litestream.VFS) {
	t.Helper()
	o := *opts
	if o.Logger == nil {
		o.Logger = testlog.New(t, nil)
	}
	if o.CloseDelay == 0 {
		o.CloseDelay = -1
	}
	name, vfs = reuseSlot(t), litestream.NewVFS(client, &o)
	setSlot(name, vfs)
	return name, vfs
}
