package litestream_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestWAL_Exclusive checks that WAL mode is refused with PRAGMA
// locking_mode=EXCLUSIVE, where SQLite tries it even without shared memory. The
// database still works afterwards, whether or not its file is told of the
// locking mode and of the journal mode.
func TestWAL_Exclusive(t *testing.T) {
	attached := func(t *testing.T, vfsName string) *sql.Conn {
		conn := plainConn(t, ":memory:")
		mustExec(t, conn, "PRAGMA locking_mode = EXCLUSIVE")
		mustExec(t, conn, "ATTACH 'file:app.db?vfs="+vfsName+"' AS r")
		return conn
	}
	for name, c := range map[string]struct {
		open     func(t *testing.T, vfsName string) *sql.Conn
		file     string
		database string
		pragma   string
	}{
		"main": {func(t *testing.T, vfsName string) *sql.Conn {
			return openConn(t, vfsName, "app.db", "_locking_mode=EXCLUSIVE")
		}, "app.db", "main", "PRAGMA journal_mode = WAL"},
		"attached":          {attached, "app.db", "r", "PRAGMA r.journal_mode = WAL"},
		"attached, unheard": {attached, "app.db", "r", "PRAGMA journal_mode = WAL"},
		"attached to its like": {func(t *testing.T, vfsName string) *sql.Conn {
			conn := openConn(t, vfsName, "app.db", "_locking_mode=EXCLUSIVE")
			mustExec(t, conn, "ATTACH 'file:other.db?vfs="+vfsName+"' AS r")
			return conn
		}, "other.db", "r", "PRAGMA r.journal_mode = wal"},
	} {
		for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"} {
			for _, synchronous := range []string{"FULL", "OFF"} {
				t.Run(name+"/"+mode+"/"+synchronous, func(t *testing.T) { testWALRefused(t, c.open, c.file, c.database, c.pragma, mode, synchronous) })
			}
		}
	}
}

func testWALRefused(t *testing.T, open func(*testing.T, string) *sql.Conn, file, database, pragma, mode, synchronous string) {
	stores := map[string]litestream.ReplicaClient{"app.db": memoryClient(), "other.db": memoryClient()}
	var log testlog.Buffer
	opts := writing(func(o *litestream.Options) {
		o.NewClient = func(name string) (litestream.ReplicaClient, error) { return stores[name], nil }
		o.Logger = testlog.New(t, &log)
	})
	vfsName, _ := newVFS(t, nil, opts)
	conn := open(t, vfsName)
	mustExec(t, conn, "CREATE TABLE "+database+".t (x); INSERT INTO "+database+".t VALUES (1)")
	mustExec(t, conn, "PRAGMA "+database+".journal_mode = "+mode)
	mustExec(t, conn, "PRAGMA "+database+".synchronous = "+synchronous)
	for range 2 {
		if got, err := queryText(conn, pragma); err == nil && !strings.Contains(pragma, "PRAGMA journal_mode") || got == "wal" {
			t.Errorf("%s: %q, %v", pragma, got, err)
		}
		if !strings.Contains(log.String(), "there is no WAL mode") {
			t.Errorf("the log does not say why:\n%s", log.String())
		}
		mustExec(t, conn, "INSERT INTO "+database+".t SELECT max(x) + 1 FROM "+database+".t")
	}
	wantSQL(t, conn, "SELECT group_concat(x) FROM "+database+".t", "1,2,3")
	// If SQLite could not be told in time, it takes the mode for WAL until the
	// mode is set.
	mustExec(t, conn, "PRAGMA "+database+".journal_mode = "+mode)
	mustExec(t, conn, "VACUUM "+database)
	mustExec(t, conn, "BEGIN; DELETE FROM "+database+".t; ROLLBACK; INSERT INTO "+database+".t VALUES (4)")
	wantSQL(t, conn, "PRAGMA "+database+".integrity_check", "ok")
	mustExec(t, conn, "PRAGMA locking_mode = NORMAL; SELECT 1 FROM "+database+".t") // releases the lock
	mustExec(t, conn, "PRAGMA "+database+".litestream_sync")
	readName, _ := newVFS(t, stores[file], nil)
	wantSQL(t, openDB(t, readName, file), "SELECT group_concat(x) FROM t", "1,2,3,4")
}

// TestWAL_NotExclusive checks that the mode is left unchanged without an error,
// so that programs which always ask for WAL mode still work.
func TestWAL_NotExclusive(t *testing.T) {
	vfsName, _ := newVFS(t, memoryClient(), writing())
	conn := openConn(t, vfsName, "app.db")
	wantSQL(t, conn, "PRAGMA journal_mode = WAL", "delete")
	mustExec(t, conn, "CREATE TABLE t (x)")
	wantSQL(t, conn, "PRAGMA journal_mode = WAL", "delete")
	local := plainConn(t, filepath.Join(t.TempDir(), "local.db"))
	mustExec(t, local, "ATTACH 'file:app.db?vfs="+vfsName+"' AS r")
	wantSQL(t, local, "PRAGMA journal_mode = WAL", "wal")
	wantSQL(t, local, "PRAGMA r.journal_mode", "delete")
	mustExec(t, local, "INSERT INTO r.t VALUES (1)")
	wantSQL(t, local, "SELECT x FROM r.t", "1")
}
