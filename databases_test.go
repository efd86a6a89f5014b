package litestream_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
)

// numberedReplica makes a replica with a table t that holds one number.
func numberedReplica(t testing.TB, store ltxtest.Store, n int) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec(fmt.Sprintf("CREATE TABLE t (n); INSERT INTO t VALUES (%d)", n))
	return p
}

// failsToOpen checks that an open fails with SQLITE_CANTOPEN and that the log
// holds the reason.
func failsToOpen(t testing.TB, vfsName, name string, log *testlog.Buffer, reason string, params ...string) {
	t.Helper()
	before := len(log.String())
	err := openDB(t, vfsName, name, params...).Ping()
	if err == nil || sqliteCode(t, err) != litestream.CodeCantOpen {
		t.Errorf("open %s %v: %v, want SQLITE_CANTOPEN", name, params, err)
	}
	if got := log.String()[before:]; !strings.Contains(got, reason) {
		t.Errorf("open %s %v: the log does not say %q:\n%s", name, params, reason, got)
	}
}

// TestDatabases_NewClient gives each name its own replica, a local file, or
// an error.
func TestDatabases_NewClient(t *testing.T) {
	tenants := map[string]*memory.ReplicaClient{}
	var primaries []*ltxtest.Primary
	for i := range 3 {
		client := memoryClient()
		tenants[fmt.Sprintf("tenant-%d.db", i)] = client
		primaries = append(primaries, numberedReplica(t, client, i))
	}
	var calls sync.Map
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, nil, &litestream.Options{
		PollInterval: time.Millisecond,
		Logger:       testlog.New(t, &log),
		NewClient: func(name string) (litestream.ReplicaClient, error) {
			n, _ := calls.LoadOrStore(name, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if client := tenants[name]; client != nil {
				return client, nil
			}
			if strings.HasPrefix(name, "tenant-") {
				return nil, errors.New("no such tenant")
			}
			return nil, nil
		},
	})
	for i := range 3 {
		for range 2 {
			if got := at(t, openConn(t, vfsName, fmt.Sprintf("tenant-%d.db", i))); got != fmt.Sprint(i) {
				t.Errorf("tenant %d reads %s", i, got)
			}
		}
	}
	if n := len(vfs.Stats()); n != 3 {
		t.Errorf("%d databases", n)
	}
	calls.Range(func(name, n any) bool {
		if n := n.(*atomic.Int64).Load(); n != 1 {
			t.Errorf("%s: client made %d times", name, n)
		}
		return true
	})

	// Each database follows its own primary and travels on its own.
	conn := openConn(t, vfsName, "tenant-1.db")
	mustExec(t, conn, "ATTACH './tenant-2.db' AS two")
	primaries[2].Exec("UPDATE t SET n = 22")
	waitFor(t, "tenant 2 to follow", func() bool { return mustQuery(t, conn, "SELECT n FROM two.t") == "22" })
	mustExec(t, conn, "PRAGMA two.litestream_txid = '0000000000000001'")
	if got := mustQuery(t, conn, "SELECT main.t.n, two.t.n FROM main.t, two.t"); got != "1|2" {
		t.Errorf("reads %s", got)
	}

	failsToOpen(t, vfsName, "tenant-9.db", &log, "no such tenant")
	path := filepath.Join(t.TempDir(), "local.db")
	mustExec(t, openConn(t, vfsName, path), "CREATE TABLE l AS SELECT 5 AS x")
	if got := mustQuery(t, plainConn(t, path), "SELECT x FROM l"); got != "5" {
		t.Errorf("local file has %s", got)
	}
	if n := len(vfs.Stats()); n != 3 {
		t.Errorf("%d databases", n)
	}
}

// TestDatabases_OpenAndClose checks that the state of a database lives as long
// as a connection to it.
func TestDatabases_OpenAndClose(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
	a, b := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	p.Exec("UPDATE t SET n = 2")
	if got := at(t, a) + at(t, b); got != "11" {
		t.Errorf("without polling, connections read %s", got)
	}
	closeConn(t, a)
	if got := at(t, b); got != "1" || len(vfs.Stats()) != 1 {
		t.Errorf("after one is closed, the other reads %s; %d databases", got, len(vfs.Stats()))
	}
	closeConn(t, b)
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("%d databases after the last connection", n)
	}
	if got := at(t, openConn(t, vfsName, "app.db")); got != "2" {
		t.Errorf("opened anew, it reads %s", got)
	}
}

// closeConn closes a connection for good; database/sql would return it to its
// pool.
func closeConn(t testing.TB, conn interface{ Raw(func(any) error) error }) {
	t.Helper()
	if err := conn.Raw(sqlitetest.Close); err != nil {
		t.Fatal(err)
	}
}

// TestDatabases_ReplicaURL opens replicas by the URI parameter, both with and
// without other clients on the VFS. One URL is one database, whatever its name
// is.
func TestDatabases_ReplicaURL(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		numberedReplica(t, file.NewReplicaClient(dir), 10+i)
	}
	bound := memoryClient()
	numberedReplica(t, bound, 1)
	for name, client := range map[string]litestream.ReplicaClient{"alone": nil, "beside a client": bound} {
		t.Run(name, func(t *testing.T) {
			vfsName, vfs := newVFS(t, client, nil)
			a := openConn(t, vfsName, "a.db", "replica_url=file://"+dirs[0])
			b := openConn(t, vfsName, "b.db", "replica_url=file://"+dirs[0])
			c := openConn(t, vfsName, "a.db", "replica_url=file:"+strings.ReplaceAll(dirs[1], "/", "%2F"))
			if got := at(t, a) + at(t, b) + at(t, c); got != "101011" {
				t.Errorf("connections read %s", got)
			}
			if n := len(vfs.Stats()); n != 2 {
				t.Errorf("%d databases, want 2", n)
			}
			if client == nil {
				return
			}
			if got := at(t, openConn(t, vfsName, "a.db")); got != "1" {
				t.Errorf("the VFS's own client reads %s", got)
			}
			mustExec(t, c, "ATTACH 'file:x?replica_url=file://"+dirs[0]+"' AS x")
			if got := mustQuery(t, c, "SELECT main.t.n, x.t.n FROM main.t, x.t"); got != "11|10" {
				t.Errorf("attached: %s", got)
			}
			if n := len(vfs.Stats()); n != 3 {
				t.Errorf("%d databases, want 3", n)
			}
		})
	}
}

// TestDatabases_BadURL opens malformed URLs. The log holds the reason and no
// secrets.
func TestDatabases_BadURL(t *testing.T) {
	litestream.RegisterReplicaClientFactory("broken-test", nil)
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, nil, &litestream.Options{Logger: testlog.New(t, &log)})
	for url, reason := range map[string]string{
		"nosuch://bucket/path":            `no replica client is registered for url scheme \"nosuch\"`,
		"broken-test://bucket/path":       `no replica client is registered for url scheme \"broken-test\"`,
		"path/without/scheme":             "has no scheme",
		"file://user@otherhost/path":      "a file url has no user",
		"file://":                         "a file url needs a path",
		"nosuch://user:se%20cret@b%5Ba/p": "parse replica url",
		"//user:secret@bucket/path":       "has no scheme",
	} {
		failsToOpen(t, vfsName, "app.db", &log, reason, "replica_url="+url)
	}
	failsToOpen(t, vfsName, "app.db", &log, "no replica client: give one to NewVFS")
	failsToOpen(t, vfsName, "app.db", &log, "no replica client: give one to NewVFS", "replica_url=")
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "se cret") {
		t.Errorf("the log holds a password: %s", log.String())
	}
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("%d databases", n)
	}
}

// TestOptions_Differ opens a database with options other than those it is open
// with. The error names the option and both values.
func TestOptions_Differ(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), PollInterval: -1})
	openConn(t, vfsName, "app.db", "cache_size=64KiB")
	for param, want := range map[string]string{
		"cache_size=2MiB":                          "cache_size is 64KiB, not 2MiB",
		"cache_size=65536&read_timeout=1m":         "read_timeout is 30s, not 1m0s",
		"cache_size=64KiB&hydration_path=/ab":      `hydration_path is \"\", not \"/ab\"`,
		"cache_size=64KiB&write_enabled=true":      "write_enabled is false, not true",
		"cache_size=64KiB&compaction_levels=1m":    "compaction_levels is 30s,5m0s,1h0m0s,24h0m0s, not 1m0s",
		"cache_size=64KiB&hydration_concurrency=1": "hydration_concurrency is 8, not 1",
	} {
		failsToOpen(t, vfsName, "app.db", &log, "it is open with other options: "+want, param)
	}
}

// TestOptions_Params sets options by URI parameters. A malformed value is an
// error that names the parameter.
func TestOptions_Params(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), PollInterval: -1})
	for _, param := range []string{
		"cache_size=1MiBs", "hedge_requests=maybe", "read_ahead_size=x", "cache_size=", "cache_size=lots", "cache_size=1.5MB", "cache_size=99999999999GB", "cache_size=MiB",
		"poll_interval=1", "poll_interval=fast", "poll_interval=", "poll_idle_after=1x", "open_timeout=10", "read_timeout=soon", "close_timeout=1h1",
	} {
		name, _, _ := strings.Cut(param, "=")
		failsToOpen(t, vfsName, "app.db", &log, "parameter "+name, param)
	}
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("%d databases", n)
	}
	good := []string{"cache_size=64KiB", "read_ahead_size=1MiB", "hedge_requests=true", "poll_interval=1ms", "poll_idle_after=1h", "open_timeout=1m30s", "read_timeout=2s", "close_timeout=-1s", "_unknown=1", "mode=ro"}
	conn := openConn(t, vfsName, "app.db", good...)
	p.Exec("UPDATE t SET n = 2")
	waitFor(t, "a poll", func() bool { return at(t, conn) == "2" })

	// A later open must ask for the same values, but may write them
	// differently.
	openConn(t, vfsName, "app.db", "cache_size=65536", "read_ahead_size=1048576", "hedge_requests=1", "poll_interval=0.001s", "poll_idle_after=60m", "open_timeout=90s", "read_timeout=2000ms", "close_timeout=-1000ms")
	failsToOpen(t, vfsName, "app.db", &log, "open with other options", "cache_size=2MiB")
	failsToOpen(t, vfsName, "app.db", &log, "open with other options")
	for i, param := range good[:8] {
		other := append([]string(nil), good...)
		name, _, _ := strings.Cut(param, "=")
		switch name {
		case "close_timeout":
			other[i] = "close_timeout=1s"
		case "hedge_requests":
			other[i] = "hedge_requests=false"
		default:
			other[i] = strings.Replace(param, "=", "=1", 1)
		}
		failsToOpen(t, vfsName, "app.db", &log, "open with other options", other...)
	}
	if got := at(t, conn); got != "2" || len(vfs.Stats()) != 1 {
		t.Errorf("after refused opens: reads %s, %d databases", got, len(vfs.Stats()))
	}
}

// TestOptions_CacheSize bounds what stays in memory. Without a cache, every
// page that SQLite evicts is fetched again.
func TestOptions_CacheSize(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	p.Exec("CREATE TABLE big (x)")
	p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO big SELECT zeroblob(4000) FROM n")
	p.Exec("UPDATE t SET n = 2")
	for size, again := range map[string]bool{"10MiB": false, "-1": true, "16KB": true} {
		vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
		conn := openConn(t, vfsName, "app.db", "cache_size="+size)
		mustExec(t, conn, "PRAGMA cache_size = 5")
		scan := func() int64 {
			before := vfs.Stats()[0].Reads
			mustQuery(t, conn, "SELECT sum(length(x)) FROM big")
			return vfs.Stats()[0].Reads - before
		}
		scan()
		if n := scan(); (n > 0) != again {
			t.Errorf("cache of %s: a second scan makes %d reads", size, n)
		}
	}
}

// TestNewVFS passes options in every way that NewVFS and the fields allow, also
// after NewVFS has returned.
func TestNewVFS(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	for name, vfs := range map[string]*litestream.VFS{
		"none":  litestream.NewVFS(client),
		"nil":   litestream.NewVFS(client, nil),
		"empty": litestream.NewVFS(client, &litestream.Options{}),
		"later": litestream.NewVFS(client, nil, &litestream.Options{}),
	} {
		if got := at(t, openConn(t, register(t, vfs), "app.db")); got != "1" {
			t.Errorf("%s: reads %s", name, got)
		}
	}

	// Fields can be set until the first open.
	fault := decorate.NewFault(client)
	vfs := litestream.NewVFS(fault, &litestream.Options{OpenTimeout: time.Hour})
	var log testlog.Buffer
	vfs.Logger = testlog.New(t, &log)
	vfs.OpenTimeout = 20 * time.Millisecond
	vfs.PollInterval = -1
	vfsName := register(t, vfs)
	remove := fault.Add(decorate.Rule{Hang: true})
	failsToOpen(t, vfsName, "app.db", &log, "deadline exceeded")
	remove()
	db := openDB(t, vfsName, "app.db")
	waitFor(t, "the database to open", func() bool { return result(db, "SELECT n FROM t") == "1" })
	vfs = litestream.NewVFS(nil)
	vfs.NewClient = func(string) (litestream.ReplicaClient, error) { return client, nil }
	if got := at(t, openConn(t, register(t, vfs), "any.db")); got != "1" {
		t.Errorf("reads %s", got)
	}
}
