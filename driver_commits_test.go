//go:build cgo

package litestream_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
)

var journalModes = []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"}

// TestRegisterVFS_Commits checks that each commit is one of the replica, and that none
// of them is inferred from the journal.
func TestRegisterVFS_Commits(t *testing.T) {
	for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
		for _, mode := range journalModes {
			for _, synchronous := range []string{"OFF", "FULL"} {
				t.Run(locking+"/"+mode+"/"+synchronous, func(t *testing.T) {
					client := memoryClient()
					name, vfs := registerC(t, client, writing())
					conn := connectC(t, dsn(name, "app.db"))
					mustExec(t, conn, "PRAGMA locking_mode = "+locking+"; PRAGMA journal_mode = "+mode+"; PRAGMA synchronous = "+synchronous)
					mustExec(t, conn, "CREATE TABLE t (x)")
					const commits = 10
					for i := range commits - 1 {
						mustExec(t, conn, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
						if mode != "OFF" {
							mustExec(t, conn, "BEGIN; DELETE FROM t; ROLLBACK")
						}
					}
					if n := vfs.Stats()[0].Write.Commits; n != commits {
						t.Errorf("%d commits, want %d", n, commits)
					}
					if n := litestream.Inferring(vfs); n != 0 {
						t.Errorf("%d files with commits that are inferred", n)
					}
				})
			}
		}
	}
}

// TestCommits_Inferred checks that commits are inferred with psanford/sqlite3vfs only.
func TestCommits_Inferred(t *testing.T) {
	name, vfs := newVFS(t, memoryClient(), writing())
	conn := openConn(t, name, "app.db")
	mustExec(t, conn, "CREATE TABLE t (x)")
	if n := litestream.Inferring(vfs); n > 0 != psanford {
		t.Errorf("%d files with commits that are inferred", n)
	}
}

// TestRegisterVFS_CommitFails has the disk fail when SQLite has committed and the
// journal is gone. The old state stays, on this connection and on others, and the
// connection can write again.
func TestRegisterVFS_CommitFails(t *testing.T) {
	for _, mode := range journalModes {
		for how, pragmas := range map[string]string{
			"unsynced":  "PRAGMA synchronous = OFF",
			"exclusive": "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES (2)", // commits after the first are not sealed before
		} {
			t.Run(mode+"/"+how, func(t *testing.T) {
				var fails atomic.Bool
				opts := writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") })
				litestream.OnDisk(opts, func(op string) error {
					if fails.Load() && op == "before: append commit" {
						return errors.New("the disk is gone")
					}
					return nil
				})
				client := memoryClient()
				name, _ := registerC(t, client, opts)
				conn := connectC(t, dsn(name, "app.db"))
				mustExec(t, conn, "PRAGMA journal_mode = "+mode+"; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
				mustExec(t, conn, pragmas)
				const sum = "SELECT group_concat(x) FROM t"
				want := mustQuery(t, conn, sum)

				fails.Store(true)
				wantCode(t, conn, "UPDATE t SET x = 'new'", litestream.CodeIOErr)
				fails.Store(false)
				wantSQL(t, conn, sum, want)
				wantSQL(t, connectC(t, dsn(name, "app.db")), sum, want)
				wantSQL(t, conn, "PRAGMA integrity_check", "ok")
				mustExec(t, conn, "INSERT INTO t VALUES ('after')")
				wantSQL(t, connectC(t, dsn(name, "app.db")), sum, want+",after")
			})
		}
	}
}

// TestRegisterVFS_SeveralVFSs commits and rolls back transactions over replicas of two
// VFSs. The super-journal is one of the first VFS, and names journals of both.
func TestRegisterVFS_SeveralVFSs(t *testing.T) {
	name, _ := registerC(t, memoryClient(), writing())
	var fails atomic.Bool
	opts := writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") })
	litestream.OnDisk(opts, func(op string) error {
		if fails.Load() && op == "before: append commit" {
			return errors.New("the disk is gone")
		}
		return nil
	})
	other, _ := registerC(t, memoryClient(), opts)
	conn := connectC(t, dsn(name, "a.db"))
	mustExec(t, conn, "ATTACH '"+dsn(other, "b.db")+"' AS b; CREATE TABLE main.t (x); CREATE TABLE b.u (x)")
	mustExec(t, conn, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); COMMIT")
	mustExec(t, conn, "BEGIN; INSERT INTO t VALUES (2); INSERT INTO u VALUES (2); ROLLBACK")
	mustExec(t, conn, "BEGIN; INSERT INTO t VALUES (3); INSERT INTO u VALUES (3)")
	fails.Store(true)
	wantCode(t, conn, "COMMIT", litestream.CodeIOErr)
	fails.Store(false)
	for vfs, query := range map[string]string{dsn(name, "a.db"): "SELECT group_concat(x) FROM t", dsn(other, "b.db"): "SELECT group_concat(x) FROM u"} {
		wantSQL(t, conn, query, "1")
		wantSQL(t, connectC(t, vfs), query, "1")
	}
}
