package litestream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
)

// writing returns options of a writer that syncs only on request.
func writing(more ...func(*litestream.Options)) *litestream.Options {
	o := &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: 10 * time.Millisecond}
	for _, fn := range more {
		fn(o)
	}
	return o
}

// wantSQL compares the result of a query with the expected one.
func wantSQL(t testing.TB, q querier, query, want string) {
	t.Helper()
	if got := mustQuery(t, q, query); got != want {
		t.Errorf("%s: got %q, want %q", query, got, want)
	}
}

// TestWrite creates a database, writes to it, and reads it as another process
// would.
func TestWrite(t *testing.T) {
	client := memoryClient()
	vfsName, _ := newVFS(t, client, writing())
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
	mustExec(t, db, "INSERT INTO t (v) VALUES ('a'), ('b')")
	wantSQL(t, db, "SELECT group_concat(v) FROM t", "a,b")
	wantSQL(t, db, "PRAGMA litestream_sync", "0000000000000001")
	mustExec(t, db, "UPDATE t SET v = 'c' WHERE id = 1")
	wantSQL(t, db, "PRAGMA integrity_check", "ok")

	readName, _ := newVFS(t, client, nil)
	reader := openDB(t, readName, "app.db")
	wantSQL(t, reader, "SELECT group_concat(v) FROM t", "a,b")
	wantSQL(t, db, "SELECT litestream_sync()", "0000000000000002")
	waitFor(t, "the second transaction", func() bool {
		return mustQuery(t, reader, "SELECT group_concat(v) FROM t") == "c,b"
	})
	wantSQL(t, reader, "PRAGMA integrity_check", "ok")
	wantSQL(t, db, "SELECT group_concat(v) FROM t", "c,b")
	for i := range 100 {
		mustExec(t, db, "INSERT INTO t (v) VALUES (?)", fmt.Sprint(i))
		if i%10 == 0 {
			mustExec(t, db, "PRAGMA litestream_sync")
		}
	}
	wantSQL(t, db, "SELECT count(*) FROM t", "102")
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "all transactions", func() bool {
		return mustQuery(t, reader, "SELECT count(*) FROM t") == "102"
	})
}
