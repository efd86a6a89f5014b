package litestream_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// TestWrite_BackupOfWAL copies a database in WAL mode onto a replica by
// SQLite's backup interface. The copy has the same mode, and the connection
// still works.
func TestWrite_BackupOfWAL(t *testing.T) {
	local, err := sqlitetest.Open(filepath.Join(t.TempDir(), "local.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	mustExec(t, local, "PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (1), (2)")
	vfsName, _ := newVFS(t, memoryClient(), writing())
	dst := openConn(t, vfsName, "app.db")
	src, err := local.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for range 2 {
		backup(t, dst, src)
		wantSQL(t, dst, "SELECT count(*) FROM t", "2")
		mustExec(t, dst, "INSERT INTO t VALUES (3)")
		wantSQL(t, dst, "SELECT count(*) FROM t", "3")
		wantSQL(t, openConn(t, vfsName, "app.db"), "SELECT count(*) FROM t", "3")
	}
	wantSQL(t, dst, "PRAGMA integrity_check", "ok")
}

func backup(t testing.TB, dst, src *sql.Conn) {
	t.Helper()
	err := dst.Raw(func(to any) error {
		return src.Raw(func(from any) error { return sqlitetest.Backup(to, from) })
	})
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
}

// TestWrite_BackupOfWALExclusive checks that SQLite's backup of a database in
// WAL mode is refused on a connection that keeps its lock, because the
// connection could not be used afterwards.
func TestWrite_BackupOfWALExclusive(t *testing.T) {
	src := plainConn(t, filepath.Join(t.TempDir(), "local.db"))
	mustExec(t, src, "PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (1), (2)")
	vfsName, _ := newVFS(t, memoryClient(), writing())
	dst := openConn(t, vfsName, "app.db", "_locking_mode=EXCLUSIVE")
	mustExec(t, dst, "CREATE TABLE t (v)")
	err := dst.Raw(func(to any) error {
		return src.Raw(func(from any) error { return sqlitetest.Backup(to, from) })
	})
	if err == nil {
		t.Error("no error")
	}
	mustExec(t, dst, "INSERT INTO t VALUES (3)")
	wantSQL(t, dst, "SELECT count(*) FROM t", "1")
	wantSQL(t, dst, "PRAGMA integrity_check", "ok")
}
