//go:build cgo

package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
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

// TestRegisterVFS_CommitFails has commits fail when SQLite has committed and the
// journal is gone.
func TestRegisterVFS_CommitFails(t *testing.T) {
	for _, mode := range journalModes {
		for how, pragmas := range map[string]string{
			"unsynced":  "PRAGMA synchronous = OFF",
			"exclusive": "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES (2)", // commits after the first are not sealed before
		} {
			t.Run(mode+"/"+how, func(t *testing.T) {
				opts, fails := failingCommits(t, errors.New("the disk is gone"))
				name, _ := registerC(t, memoryClient(), opts)
				commitFails(t, name, fails, "PRAGMA journal_mode = "+mode, pragmas)
			})
		}
	}
}

// TestPsanford_CommitFails is TestRegisterVFS_CommitFails over psanford/sqlite3vfs, where
// commits are inferred. Another writer has taken over where SQLite does not see a code
// that makes it drop its cached pages unless the adapter gives it one.
func TestPsanford_CommitFails(t *testing.T) {
	for _, mode := range journalModes {
		for _, tt := range []struct {
			how, pragmas string
			err          error
		}{
			{"unsynced", "PRAGMA synchronous = OFF", litestream.ErrConflict},
			{"exclusive", "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES (2)", errors.New("the disk is gone")},
			{"exclusive, unsynced", "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; INSERT INTO t VALUES (2)", errors.New("the disk is gone")},
			{"exclusive, unsynced, conflict", "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; INSERT INTO t VALUES (2)", litestream.ErrConflict},
			{"exclusive, unsynced, short journal", "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_size_limit = 0; INSERT INTO t VALUES (2)", litestream.ErrConflict},
		} {
			if strings.HasPrefix(tt.how, "exclusive, unsynced") && (mode == "MEMORY" || mode == "OFF") {
				continue // nothing is committed until the lock is given back
			}
			t.Run(mode+"/"+tt.how, func(t *testing.T) {
				opts, fails := failingCommits(t, tt.err)
				registerPsanford(t, &psanfordSlot, memoryClient(), opts)
				commitFails(t, overPsanford, fails, "PRAGMA journal_mode = "+mode, tt.pragmas)
			})
		}
	}
}

// registerPsanford serves the databases of a slot over psanford/sqlite3vfs until the test
// ends.
func registerPsanford(t *testing.T, s *slot, client litestream.ReplicaClient, opts *litestream.Options) {
	t.Helper()
	o := *opts
	o.Logger = testlog.New(t, nil)
	vfs := litestream.NewVFS(client, &o)
	s.vfs.Store(vfs)
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// failingCommits returns options with which commits fail with err as long as fails is
// set.
func failingCommits(t *testing.T, err error) (opts *litestream.Options, fails *atomic.Bool) {
	t.Helper()
	fails = new(atomic.Bool)
	opts = writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") })
	litestream.OnDisk(opts, func(op string) error {
		if fails.Load() && op == "before: append commit" {
			return err
		}
		return nil
	})
	return opts, fails
}

// commitFails has a commit fail after the pragmas. The old state stays, on this
// connection and on others, and the connection can write again.
func commitFails(t *testing.T, vfs string, fails *atomic.Bool, mode, pragmas string) {
	conn := connectC(t, dsn(vfs, "app.db"))
	mustExec(t, conn, mode+"; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	mustExec(t, conn, pragmas)
	const sum = "SELECT group_concat(x) FROM t"
	want := mustQuery(t, conn, sum)

	fails.Store(true)
	wantCode(t, conn, "UPDATE t SET x = 'new'", litestream.CodeIOErr)
	fails.Store(false)
	wantSQL(t, conn, sum, want)
	wantSQL(t, connectC(t, dsn(vfs, "app.db")), sum, want)
	wantSQL(t, conn, "PRAGMA integrity_check", "ok")
	mustExec(t, conn, "INSERT INTO t VALUES ('after')")
	wantSQL(t, connectC(t, dsn(vfs, "app.db")), sum, want+",after")
}

// TestPsanford_WriteFails has a page fail to be written where nothing tells the end of a
// transaction. What was not committed before is lost, and no later commit is acknowledged
// that is lost as well.
func TestPsanford_WriteFails(t *testing.T) {
	for _, mode := range []string{"MEMORY", "OFF"} {
		t.Run(mode, func(t *testing.T) {
			registerPsanford(t, &psanfordSlot, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = filepath.Join(t.TempDir(), "buffer") }))
			conn := connectC(t, dsn(overPsanford, "app.db"))
			mustExec(t, conn, "PRAGMA journal_mode = "+mode+"; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
			mustExec(t, conn, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA cache_spill = OFF; INSERT INTO t VALUES (2)")

			restore := litestream.TempFolders(filepath.Join(t.TempDir(), "missing")) // where a large transaction spills to
			defer restore()
			wantCode(t, conn, "INSERT INTO t VALUES (zeroblob(2000000))", litestream.CodeIOErr)
			restore()
			if mode == "MEMORY" {
				for range 2 {
					wantCode(t, conn, "INSERT INTO t VALUES ('lost')", litestream.CodeIOErr)
				}
			} else {
				mustExec(t, conn, "INSERT INTO t VALUES ('after')")
			}
			mustExec(t, conn, "PRAGMA locking_mode = NORMAL; SELECT count(*) FROM t") // gives the lock back
			if mode == "MEMORY" {
				mustExec(t, conn, "INSERT INTO t VALUES ('after')")
			}
			for _, c := range []*sql.Conn{conn, connectC(t, dsn(overPsanford, "app.db"))} {
				wantSQL(t, c, "SELECT group_concat(x) FROM t", "1,after")
				wantSQL(t, c, "PRAGMA integrity_check", "ok")
			}
		})
	}
}

// TestRegisterVFS_SeveralVFSs commits and rolls back transactions over replicas of two
// VFSs. The super-journal is one of the first VFS, and names journals of both.
func TestRegisterVFS_SeveralVFSs(t *testing.T) {
	name, _ := registerC(t, memoryClient(), writing())
	opts, fails := failingCommits(t, errors.New("the disk is gone"))
	other, _ := registerC(t, memoryClient(), opts)
	commitSeveral(t, name, other, fails)
}

// TestPsanford_SeveralVFSs is TestRegisterVFS_SeveralVFSs over psanford/sqlite3vfs.
func TestPsanford_SeveralVFSs(t *testing.T) {
	registerPsanford(t, &psanfordSlot, memoryClient(), writing())
	opts, fails := failingCommits(t, errors.New("the disk is gone"))
	registerPsanford(t, &psanfordSlotToo, memoryClient(), opts)
	commitSeveral(t, overPsanford, overPsanfordToo, fails)
}

// commitSeveral has transactions over replicas of two VFSs. The commits of the second
// one fail as long as fails is set.
func commitSeveral(t *testing.T, name, other string, fails *atomic.Bool) {
	conn := connectC(t, dsn(name, "a.db"))
	mustExec(t, conn, "ATTACH '"+dsn(other, "b.db")+"' AS b; CREATE TABLE main.t (x); CREATE TABLE b.u (x)")
	mustExec(t, conn, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); COMMIT")
	mustExec(t, conn, "BEGIN; INSERT INTO t VALUES (2); INSERT INTO u VALUES (2); ROLLBACK")
	for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
		mustExec(t, conn, "PRAGMA locking_mode = "+locking+"; BEGIN; INSERT INTO t VALUES (3); INSERT INTO u VALUES (3)")
		fails.Store(true)
		wantCode(t, conn, "COMMIT", litestream.CodeIOErr)
		fails.Store(false)
		for vfs, query := range map[string]string{dsn(name, "a.db"): "SELECT group_concat(x) FROM t", dsn(other, "b.db"): "SELECT group_concat(x) FROM u"} {
			wantSQL(t, conn, query, "1")
			wantSQL(t, connectC(t, vfs), query, "1")
		}
	}
}
