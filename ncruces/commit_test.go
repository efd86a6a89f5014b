package ncruces

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// watched is a connection's file that counts commits.
type watched struct {
	*litestream.Conn
	told     int   // commits that SQLITE_FCNTL_COMMIT_PHASETWO told of
	inferred int   // other commits
	fail     error // error of the next commit
}

func (c *watched) Commit(durable bool) error {
	callers := make([]uintptr, 8)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	isTold := false
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		isTold = isTold || strings.HasSuffix(frame.Function, "(*file).CommitPhaseTwo")
	}
	if isTold {
		c.told++
	} else {
		c.inferred++
	}
	if err := c.fail; err != nil {
		c.fail = nil
		return err
	}
	return c.Conn.Commit(durable)
}

// watch opens a connection that counts its commits.
func watch(t *testing.T, v *litestream.VFS) (*sqlite3.Conn, *watched) {
	t.Helper()
	name := "ncruces-commits"
	if err := RegisterVFS(name, v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vfs.Unregister(name) })
	conn, err := sqlite3.Open("file:app.db?vfs=" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	f, err := mainFileOf(conn)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Conn: f.conn}
	f.main = mainfile.New(w)
	return conn, w
}

func text(t *testing.T, conn *sqlite3.Conn, query string) string {
	t.Helper()
	stmt, _, err := conn.Prepare(query)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	if !stmt.Step() {
		t.Fatalf("%s: no row, %v", query, stmt.Err())
	}
	return stmt.ColumnText(0)
}

// eachMode runs a test in every mode in which SQLite commits.
func eachMode(t *testing.T, test func(t *testing.T, conn *sqlite3.Conn, w *watched)) {
	for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
		for _, journal := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"} {
			for _, synchronous := range []string{"OFF", "NORMAL", "FULL"} {
				t.Run(fmt.Sprintf("%s/%s/%s", locking, journal, synchronous), func(t *testing.T) {
					v := litestream.NewVFS(memory.NewReplicaClient(), &litestream.Options{WriteEnabled: true, PollInterval: -1, Logger: testlog.New(t, nil)})
					t.Cleanup(func() {
						if err := v.Close(context.Background()); err != nil {
							t.Error(err)
						}
					})
					conn, w := watch(t, v)
					for _, s := range []string{"locking_mode = " + locking, "journal_mode = " + journal, "synchronous = " + synchronous} {
						if err := conn.Exec("PRAGMA " + s); err != nil {
							t.Fatal(err)
						}
					}
					test(t, conn, w)
				})
			}
		}
	}
}

// TestCommits checks that each commit comes from SQLITE_FCNTL_COMMIT_PHASETWO, and
// that nothing else commits.
func TestCommits(t *testing.T) {
	eachMode(t, func(t *testing.T, conn *sqlite3.Conn, w *watched) {
		for _, tt := range []struct {
			sql  string
			told int
		}{
			{"CREATE TABLE t (x)", 1},
			{"INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", 2},
			{"BEGIN; INSERT INTO t VALUES (3); INSERT INTO t VALUES (4); COMMIT", 1},
			{"BEGIN; SAVEPOINT s; UPDATE t SET x = x + 1; RELEASE s; DELETE FROM t WHERE x > 4; COMMIT", 1},
			{"SELECT * FROM t; BEGIN IMMEDIATE; SELECT * FROM t", 0},
			{"ROLLBACK", 0},
			{"VACUUM", 1},
		} {
			w.told = 0
			if err := conn.Exec(tt.sql); err != nil {
				t.Fatalf("%s: %v", tt.sql, err)
			}
			if w.told != tt.told || w.inferred != 0 {
				t.Errorf("%s: %d commits, want %d, and %d that SQLite did not tell of", tt.sql, w.told, tt.told, w.inferred)
			}
		}
		if got := text(t, conn, "SELECT group_concat(x) FROM t"); got != "2,3,4" {
			t.Errorf("rows %s", got)
		}
		if text(t, conn, "PRAGMA journal_mode") == "off" {
			return // there is no rollback
		}
		w.told = 0
		if err := conn.Exec("BEGIN; INSERT INTO t VALUES (5); ROLLBACK"); err != nil {
			t.Error(err)
		}
		if w.told+w.inferred > 0 {
			t.Errorf("a rollback commits")
		}
		if got := text(t, conn, "SELECT count(*) FROM t"); got != "3" {
			t.Errorf("%s rows after a rollback", got)
		}
	})
}

// TestCommits_Fail checks that a commit that fails leaves the old state, for this
// connection and for others, and that the next one succeeds.
func TestCommits_Fail(t *testing.T) {
	eachMode(t, func(t *testing.T, conn *sqlite3.Conn, w *watched) {
		if err := conn.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		w.fail = errors.New("the buffer is gone")
		err := conn.Exec("UPDATE t SET x = 2")
		if !errors.Is(err, sqlite3.IOERR) || !strings.Contains(err.Error(), "the buffer is gone") {
			t.Errorf("commit: %v", err)
		}
		if got := text(t, conn, "SELECT x FROM t"); got != "1" {
			t.Errorf("reads %s after a failed commit", got)
		}
		if err := conn.Exec("UPDATE t SET x = x + 10"); err != nil {
			t.Error(err)
		}
		if err := conn.Exec("PRAGMA locking_mode = NORMAL; SELECT * FROM t"); err != nil {
			t.Error(err)
		}
		other, err := sqlite3.Open("file:app.db?vfs=ncruces-commits&mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if got := text(t, other, "SELECT x FROM t"); got != "11" {
			t.Errorf("another connection reads %s", got)
		}
		if got := text(t, other, "PRAGMA integrity_check"); got != "ok" {
			t.Error(got)
		}
	})
}

// failsToSeal is a connection's file whose part of a commit of several databases fails
// as long as fails is set.
type failsToSeal struct {
	*litestream.Conn
	fails bool
}

func (c *failsToSeal) SealSeveral() error {
	if c.fails {
		return errors.New("the buffer is gone")
	}
	return c.Conn.SealSeveral()
}

// TestCommits_SeveralVFSs commits and rolls back transactions over replicas of two VFSs.
// The super-journal is one of the first VFS, and names journals of both.
func TestCommits_SeveralVFSs(t *testing.T) {
	for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
		t.Run(locking, func(t *testing.T) {
			for _, name := range []string{"ncruces-one", "ncruces-two"} {
				v := litestream.NewVFS(memory.NewReplicaClient(), &litestream.Options{WriteEnabled: true, PollInterval: -1, Logger: testlog.New(t, nil)})
				if err := RegisterVFS(name, v); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := v.Close(context.Background()); err != nil {
						t.Error(err)
					}
					vfs.Unregister(name)
				})
			}
			conn, err := sqlite3.Open("file:a.db?vfs=ncruces-one")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			exec := func(sql string) {
				t.Helper()
				if err := conn.Exec(sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			wantRows := func(want string) {
				t.Helper()
				for _, table := range []string{"t", "u"} {
					if got := text(t, conn, "SELECT group_concat(x) FROM "+table); got != want {
						t.Errorf("%s: rows %s, want %s", table, got, want)
					}
				}
			}
			exec("ATTACH 'file:b.db?vfs=ncruces-two' AS b")
			got, err := conn.FileControl("b", sqlite3.FCNTL_FILE_POINTER)
			if err != nil {
				t.Fatal(err)
			}
			f := mainOf(got.(vfs.File))
			second := &failsToSeal{Conn: f.conn}
			f.main = mainfile.New(second)
			exec("CREATE TABLE main.t (x); CREATE TABLE b.u (x); PRAGMA locking_mode = " + locking)
			exec("BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); COMMIT")
			exec("BEGIN; INSERT INTO t VALUES (2); INSERT INTO u VALUES (2); ROLLBACK")
			wantRows("1")

			exec("BEGIN; INSERT INTO t VALUES (3); INSERT INTO u VALUES (3)")
			second.fails = true
			if err := conn.Exec("COMMIT"); !errors.Is(err, sqlite3.IOERR) {
				t.Errorf("commit: %v", err)
			}
			second.fails = false
			wantRows("1")
			exec("BEGIN; INSERT INTO t VALUES (4); INSERT INTO u VALUES (4); COMMIT")
			wantRows("1,4")
		})
	}
}
