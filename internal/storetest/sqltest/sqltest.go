// Package sqltest has SQLite work on a replica in an object store, through the
// whole engine. Package storetest tests a client alone.
package sqltest

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/replica"
)

// Store is the store that Run tests.
type Store struct {
	// Addr is the host and port of the server.
	Addr string

	// NewReplica makes an empty replica, and returns a function that makes
	// clients of it. The clients use the function's transport, or one of their
	// own if that is nil.
	NewReplica func(t testing.TB) func(http.RoundTripper) replica.Client

	// NewTCP is there instead of NewReplica if the store does not speak HTTP. The
	// clients connect to the function's address, a host and a port.
	NewTCP func(t testing.TB) func(addr string) replica.Client
}

// newReplica makes an empty replica, and returns a function that makes clients of
// it. The clients connect through a proxy, or directly if that is nil.
func (s Store) newReplica(t testing.TB) func(*storetest.Proxy) replica.Client {
	if s.NewTCP != nil {
		client := s.NewTCP(t)
		return func(proxy *storetest.Proxy) replica.Client {
			if proxy == nil {
				return client(s.Addr)
			}
			return client(proxy.Addr())
		}
	}
	client := s.NewReplica(t)
	return func(proxy *storetest.Proxy) replica.Client {
		if proxy == nil {
			return client(nil)
		}
		return client(proxy.Transport())
	}
}

// Run has SQLite query, follow and travel on a replica in a store, over a direct
// connection and over connections that are slow, narrow, cut up, broken and
// down. Most of the time, these tests wait for a connection, so they run in
// parallel.
func Run(t *testing.T, store Store) {
	// Each VFS is registered before a test uses one. The test that waits longest is
	// the first.
	client, proxy := store.newReplica(t), storetest.NewProxy(t, store.Addr)
	writer := client(nil)
	vfsName := register(t, client(proxy), &litestream.Options{ReadTimeout: 3 * time.Second, CacheSize: -1, ReadAheadSize: -1})
	t.Run("down", func(t *testing.T) {
		t.Parallel()
		runDown(t, writer, proxy, vfsName)
	})

	for _, tt := range []struct {
		name   string
		toxics []storetest.Toxic
	}{
		{"direct", nil},
		{"latency", []storetest.Toxic{{Type: "latency", Attributes: map[string]any{"latency": 20, "jitter": 5}}}},
		{"bandwidth", []storetest.Toxic{
			{Type: "bandwidth", Attributes: map[string]any{"rate": 512}}, // KB/s
			{Type: "latency", Attributes: map[string]any{"latency": 20}},
		}},
		{"slicer", []storetest.Toxic{{Type: "slicer", Attributes: map[string]any{"average_size": 200, "size_variation": 100, "delay": 50}}}}, // µs
		{"resets", []storetest.Toxic{{Type: "reset_peer", Toxicity: 0.4, Attributes: map[string]any{"timeout": 30}}}},                        // ms
		{"cut bodies", []storetest.Toxic{{Type: "limit_data", Attributes: map[string]any{"bytes": 150_000}}}},
	} {
		client := store.newReplica(t)
		var proxy *storetest.Proxy
		opts := &litestream.Options{}
		if tt.toxics != nil {
			proxy = storetest.NewProxy(t, store.Addr)
			for _, toxic := range tt.toxics {
				proxy.Add(toxic)
			}
			opts.ReadTimeout, opts.OpenTimeout = time.Minute, time.Minute
		}
		writer, vfsName := client(nil), register(t, client(proxy), opts)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run(t, writer, vfsName)
		})
	}
}

// run writes a replica with a client, and makes SQLite read it through a VFS.
func run(t *testing.T, writer replica.Client, vfsName string) {
	p := newPrimary(t, writer)
	conn := open(t, vfsName)

	const all = "SELECT count(*), sum(n), sum(length(b)) FROM t"
	want := func(query, want string) {
		t.Helper()
		if got := mustQuery(t, conn, query); got != want {
			t.Errorf("%s gives %s, want %s", query, got, want)
		}
	}
	want(all, "600 180300 720000")
	want("SELECT n, hex(substr(b, 1, 2)) FROM t WHERE id = 444", "444 0000")
	want("PRAGMA integrity_check", "ok")

	// The connection follows a single transaction, transactions that come
	// compacted, and a transaction after retention.
	before := p.TXID()
	p.Exec("UPDATE t SET n = 0 WHERE id <= 100")
	follow(t, conn, p.TXID())
	want(all, "600 175250 720000")
	p.Exec("INSERT INTO t SELECT id + 1000, 1, zeroblob(1200) FROM t WHERE id <= 50")
	last := p.Exec("DELETE FROM t WHERE id = 1001")
	p.Compact(1, before+1, last)
	p.Snapshot()
	p.DeleteLevelBelow(0, last)
	p.Exec("UPDATE t SET n = 7 WHERE id = 600")
	follow(t, conn, p.TXID())
	want(all, "649 174706 778800")
	want("PRAGMA integrity_check", "ok")

	// The connection travels by transaction and by time. A transaction within a
	// compacted file is no point in time.
	mustQuery(t, conn, fmt.Sprintf("PRAGMA litestream_txid = '%s'", before-1))
	want(all, "580 168490 696000")
	at := p.Time(last).Add(time.Millisecond)
	mustQuery(t, conn, fmt.Sprintf("PRAGMA litestream_time = '%s'", at.Format(time.RFC3339Nano)))
	want("PRAGMA litestream_txid", last.String())
	want("SELECT sum(n) FROM t", "175299")
	if _, err := query(t.Context(), conn, "PRAGMA litestream_txid = '00000000000000ff'"); err == nil {
		t.Error("went to a transaction that there is not")
	}
	mustQuery(t, conn, "PRAGMA litestream_txid = latest")
	want(all, "649 174706 778800")
}

// newPrimary makes a replica with a snapshot of 0.7 MB and a few files of the
// other levels.
func newPrimary(t *testing.T, client replica.Client) *ltxtest.Primary {
	t.Helper()
	if c, ok := client.(replica.Initializer); ok {
		if err := c.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500)" +
		" INSERT INTO t SELECT i, i, zeroblob(1200) FROM c")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	from := p.TXID() + 1
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 501 UNION ALL SELECT i + 1 FROM c WHERE i < 580)" +
		" INSERT INTO t SELECT i, i, zeroblob(1200) FROM c")
	p.Compact(1, from, p.TXID())
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 581 UNION ALL SELECT i + 1 FROM c WHERE i < 600)" +
		" INSERT INTO t SELECT i, i, zeroblob(1200) FROM c")
	return p
}

// runDown writes a replica with a client, and makes the store unreachable for a
// database that is open through a VFS and a proxy.
func runDown(t *testing.T, writer replica.Client, proxy *storetest.Proxy, vfsName string) {
	p := newPrimary(t, writer)
	conn := open(t, vfsName)
	mustQuery(t, conn, "SELECT n FROM t WHERE id = 5")

	start := time.Now()
	proxy.SetDown(true)
	const scan = "SELECT count(*), sum(length(b)) FROM t"
	if _, err := query(t.Context(), conn, scan); err == nil {
		t.Error("a query succeeds without a store")
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("the error comes after %v", d)
	}
	status := mustQuery(t, conn, "PRAGMA litestream_status")
	if !strings.Contains(status, "connection refused") && !strings.Contains(status, "connection reset") && !strings.Contains(status, "EOF") {
		t.Errorf("litestream_status does not say why: %s", status)
	}
	p.Exec("UPDATE t SET n = 1")

	// The store is reachable again. The same connection sees the new
	// transaction.
	proxy.SetDown(false)
	follow(t, conn, p.TXID())
	if got := mustQuery(t, conn, "SELECT sum(n), count(*) FROM t"); got != "600 600" {
		t.Errorf("after the store came back: %s", got)
	}

	// The store hangs, which must be an error within the time limit. SQLite has
	// the pages of the last query in its own cache until there is a new
	// transaction.
	p.Exec("UPDATE t SET n = 2")
	follow(t, conn, p.TXID())
	hang := proxy.Add(storetest.Toxic{Type: "timeout", Attributes: map[string]any{"timeout": 0}})
	start = time.Now()
	if _, err := query(t.Context(), conn, scan); err == nil {
		t.Error("a query succeeds on a store that hangs")
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("the error comes after %v", d)
	}
	hang()
	proxy.SetDown(true) // breaks the connections that hang
	proxy.SetDown(false)
	within(t, "queries work again", func() bool {
		_, err := query(t.Context(), conn, scan)
		return err == nil
	})
}

// follow waits until a connection sees a transaction.
func follow(t testing.TB, conn *sql.Conn, txid ltx.TXID) {
	t.Helper()
	within(t, "see transaction "+txid.String(), func() bool {
		got, err := query(t.Context(), conn, "PRAGMA litestream_txid")
		return err == nil && got >= txid.String()
	})
}

// within polls a condition until it holds, for a minute.
func within(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// vfsNames counts the registered VFSes, which SQLite keeps for ever.
var vfsNames atomic.Int64

// register registers a VFS, and closes it when the test ends.
func register(t testing.TB, client replica.Client, opts *litestream.Options) (vfsName string) {
	t.Helper()
	opts.Logger = testlog.New(t, nil)
	opts.PollInterval = cmp.Or(opts.PollInterval, 100*time.Millisecond)
	vfs := litestream.NewVFS(client, opts)
	vfsName = fmt.Sprintf("storetest-%d", vfsNames.Add(1))
	if err := vfstest.Register(vfsName, vfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return vfsName
}

// open opens a database through a registered VFS until the test ends.
func open(t testing.TB, vfsName string) *sql.Conn {
	t.Helper()
	db, err := sqlitetest.Open("file:app.db?mode=ro&vfs=" + vfsName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func mustQuery(t testing.TB, conn *sql.Conn, text string) string {
	t.Helper()
	got, err := query(t.Context(), conn, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return got
}

// query returns a result as text. Spaces separate values, and line breaks
// separate rows.
func query(ctx context.Context, conn *sql.Conn, text string) (string, error) {
	rows, err := conn.QueryContext(ctx, text)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		dests := make([]any, len(columns))
		for i := range values {
			dests[i] = &values[i]
		}
		if err := rows.Scan(dests...); err != nil {
			return "", err
		}
		words := make([]string, len(columns))
		for i, v := range values {
			words[i] = v.String
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n"), rows.Err()
}
