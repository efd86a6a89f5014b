package litestream_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// TestWrite_TurnedOffWhileWriting checks what other connections see while
// litestream_write_enabled = 0 waits and may still fail. Connections that want
// to write meanwhile find the database busy, and read-only once write mode is
// off.
func TestWrite_TurnedOffWhileWriting(t *testing.T) {
	for _, succeeds := range []bool{true, false} {
		client := memoryClient()
		ltxtest.New(t, client, ltxtest.Options{Rollback: true}).Exec("CREATE TABLE t (v)")
		closeTimeout := time.Minute
		if !succeeds {
			closeTimeout = 200 * time.Millisecond
		}
		vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.CloseTimeout = closeTimeout }))
		writer := openConn(t, vfsName, "app.db")
		switcher, other := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
		waiting := openConn(t, vfsName, "app.db", "_busy_timeout=20000")
		mustExec(t, other, "PRAGMA busy_timeout = 0")
		mustExec(t, writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
		wantCode(t, other, "INSERT INTO t VALUES (2)", litestream.CodeBusy)

		off := make(chan error, 1)
		go func() { off <- execErr(switcher, "PRAGMA litestream_write_enabled = 0") }()
		waitFor(t, "write mode to be turned off", func() bool {
			err := execErr(other, "INSERT INTO t VALUES (2)")
			if err == nil {
				t.Fatal("two writers")
			}
			if code := sqliteCode(t, err); code != litestream.CodeBusy {
				t.Fatalf("while it is being turned off: %v, want SQLITE_BUSY", err)
			}
			s := status(t, other)
			return s.LastError != nil && strings.HasSuffix(s.LastError.Text, ": database is busy: write mode is being turned off")
		})
		late := openConn(t, vfsName, "app.db") // must not stay a reader for good
		waited := make(chan error, 1)
		go func() { waited <- execErr(waiting, "INSERT INTO t VALUES (3)") }()
		if succeeds {
			mustExec(t, writer, "COMMIT")
			if err := <-off; err != nil {
				t.Error(err)
			}
			if err := <-waited; err == nil || sqliteCode(t, err) != litestream.CodeReadOnly {
				t.Errorf("who waited: %v, want SQLITE_READONLY", err)
			}
			wantCode(t, other, "INSERT INTO t VALUES (4)", litestream.CodeReadOnly)
			wantSQL(t, other, "SELECT group_concat(v) FROM t", "1")
			continue
		}
		if err := <-off; err == nil {
			t.Error("turned off while a transaction is under way")
		}
		mustExec(t, writer, "COMMIT")
		if err := <-waited; err != nil {
			t.Errorf("who waited: %v", err)
		}
		mustExec(t, other, "INSERT INTO t VALUES (4)")
		mustExec(t, late, "INSERT INTO t VALUES (5)")
		wantSQL(t, other, "SELECT group_concat(v) FROM t", "1,3,4,5")
	}
}

func execErr(c *sql.Conn, query string) error {
	_, err := c.ExecContext(context.Background(), query)
	return err
}
