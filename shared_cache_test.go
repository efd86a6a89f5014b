//go:build cgo

// ncruces/go-sqlite3 is built without the shared cache.

package litestream_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sharedcache"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestSharedCache checks that a replica cannot be opened with SQLite's shared
// cache: neither by parameter, nor by ATTACH, nor because it is the default of
// the process. Connections with a shared cache share one file, so one that
// travels would take the others along, and replicas with the same file name
// would show each other's pages. Other files can be opened with it.
func TestSharedCache(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	private := openConn(t, vfsName, "app.db")
	refused := func(params ...string) {
		t.Helper()
		failsToOpen(t, vfsName, "app.db", &log, litestream.ErrSharedCache.Error(), params...)
	}
	allowed := func(params ...string) {
		t.Helper()
		for range 3 {
			wantSQL(t, openConn(t, vfsName, "app.db", params...), "SELECT count(*) FROM t", "0")
		}
	}
	attach := func(param string) error {
		conn := openConn(t, vfsName, "app.db", "cache=private")
		defer conn.Close()
		_, err := conn.ExecContext(t.Context(), "ATTACH 'file:app.db?vfs="+vfsName+param+"' AS r")
		return err
	}
	allowed()
	refused("cache=shared")
	refused("cache=shared", "mode=ro")
	allowed("cache=private")
	if err := attach("&cache=shared"); err == nil {
		t.Error("attached with a shared cache")
	}

	if err := sharedcache.Enable(true); err != nil {
		t.Fatal(err)
	}
	defer sharedcache.Enable(false)
	for range 2 {
		refused()
		refused("mode=ro")
		allowed("cache=private")
		if err := attach(""); err == nil {
			t.Error("attached with a shared cache")
		}
		if err := attach("&cache=private"); err != nil {
			t.Error(err)
		}
	}
	// Local files share their cache.
	local := filepath.Join(t.TempDir(), "local.db")
	a, b := openConn(t, vfsName, local, "mode=rwc"), openConn(t, vfsName, local)
	mustExec(t, a, "CREATE TABLE t (x); PRAGMA read_uncommitted = 1; BEGIN; INSERT INTO t VALUES (1)")
	mustExec(t, b, "PRAGMA read_uncommitted = 1")
	wantSQL(t, b, "SELECT count(*) FROM t", "1")
	mustExec(t, a, "ROLLBACK")

	if err := sharedcache.Enable(false); err != nil {
		t.Fatal(err)
	}
	allowed()
	runtime.LockOSThread() // so that other work with names does not count
	defer runtime.UnlockOSThread()
	for range 3 {
		_ = vfs.Sync(t.Context(), "app.db")
		allowed()
	}
	mustExec(t, private, "PRAGMA litestream_txid = latest")
	if n := len(vfs.Stats()); n != 1 {
		t.Errorf("%d databases", n)
	}
}

// TestSharedCache_Travel shows what would happen with a shared cache.
func TestSharedCache_Travel(t *testing.T) {
	_, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	db := openDB(t, vfsName, "app.db", "cache=shared")
	a, err := db.Conn(t.Context())
	if err != nil {
		if code := sqliteCode(t, err); code != litestream.CodeCantOpen {
			t.Errorf("open: %v", err)
		}
		return
	}
	defer a.Close()
	b, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := a.ExecContext(t.Context(), "PRAGMA litestream_txid = '0000000000000002'"); err == nil && at(t, b) != "4" {
		t.Errorf("another connection is at transaction %s", at(t, b))
	}
}
