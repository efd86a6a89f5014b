//go:build cgo

package litestream_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
)

// localStep is a statement of one of several connections. Its result is compared
// with that of plain SQLite.
type localStep struct {
	conn int
	sql  string
}

// localScript is a script over connections to one local file, which is called l.
type localScript struct {
	params []string // parameters of the file's URI
	conns  int
	steps  []localStep
}

// localScripts use what a VFS has to have for plain files. PATH is the folder of the
// file.
var localScripts = map[string]localScript{
	"WAL": {nil, 2, []localStep{
		{0, "PRAGMA l.journal_mode = WAL"},
		{0, "CREATE TABLE l.t (x); INSERT INTO l.t VALUES (1)"},
		{1, "SELECT group_concat(x) FROM l.t"},
		{0, "FILES"},
		{0, "BEGIN; INSERT INTO l.t VALUES (2)"},
		{1, "BEGIN; SELECT group_concat(x) FROM l.t"},
		{1, "SELECT group_concat(x) FROM l.t"},
		{0, "COMMIT"},
		{1, "SELECT group_concat(x) FROM l.t"}, // the snapshot
		{1, "INSERT INTO l.t VALUES (3)"},      // of an old snapshot
		{1, "ROLLBACK"},
		{1, "INSERT INTO l.t VALUES (3)"},
		{0, "SELECT group_concat(x) FROM l.t"},
		{0, "PRAGMA l.wal_checkpoint(TRUNCATE)"},
		{0, "PRAGMA l.journal_mode = DELETE"}, // another connection has it
		{0, "PRAGMA l.integrity_check"},
	}},
	"WAL with an exclusive lock": {nil, 2, []localStep{
		{0, "PRAGMA l.locking_mode = EXCLUSIVE"},
		{0, "PRAGMA l.journal_mode = WAL"},
		{0, "CREATE TABLE l.t (x); INSERT INTO l.t VALUES (1)"},
		{0, "FILES"},
		{1, "SELECT group_concat(x) FROM l.t"},
	}},
	"memory map": {nil, 2, []localStep{
		{0, "PRAGMA l.mmap_size = 1000000"},
		{1, "PRAGMA l.mmap_size = 1000000"},
		{0, "CREATE TABLE l.t (x); INSERT INTO l.t VALUES (hex(zeroblob(100000)))"},
		{1, "SELECT length(x) FROM l.t"},
		{0, "SELECT length(x) FROM l.t"},
		{0, "MAPS"},
		{0, "PRAGMA l.mmap_size = 0"},
		{1, "PRAGMA l.mmap_size = 0"},
		{0, "MAPS"},
	}},
	"shared cache": {[]string{"cache=shared"}, 2, []localStep{
		{0, "CREATE TABLE l.t (x); PRAGMA read_uncommitted = 1"},
		{1, "PRAGMA read_uncommitted = 1"},
		{0, "BEGIN; INSERT INTO l.t VALUES (1)"},
		{1, "SELECT group_concat(x) FROM l.t"},
		{1, "INSERT INTO l.t VALUES (2)"},
		{1, "PRAGMA read_uncommitted = 0"},
		{1, "SELECT group_concat(x) FROM l.t"}, // a table lock
		{0, "COMMIT"},
		{1, "SELECT group_concat(x) FROM l.t"},
	}},
	"VACUUM INTO": {nil, 1, []localStep{
		{0, "CREATE TABLE l.t (x); INSERT INTO l.t VALUES (1); PRAGMA l.journal_mode = WAL"},
		{0, "VACUUM l INTO 'PATH/copy.db'"},
		{0, "VACUUM l INTO 'PATH/copy.db'"}, // is there
		{0, "ATTACH 'PATH/copy.db' AS copy; PRAGMA copy.journal_mode = WAL"},
		{0, "INSERT INTO copy.t VALUES (2)"},
		{0, "SELECT group_concat(x) FROM copy.t"},
		{0, "FILES"},
		{0, "PRAGMA copy.journal_mode = DELETE; PRAGMA l.journal_mode = DELETE"},
		{0, "FILES"},
	}},
	"locks": {[]string{"_busy_timeout=0"}, 2, []localStep{
		{0, "CREATE TABLE l.t (x); BEGIN IMMEDIATE"},
		{1, "BEGIN IMMEDIATE"},
		{0, "INSERT INTO l.t VALUES (1)"},
		{0, "FILES"},
		{1, "SELECT count(*) FROM l.t"},
		{0, "COMMIT"},
		{0, "FILES"},
		{1, "SELECT count(*) FROM l.t"},
	}},
}

// TestRegisterVFS_LocalFiles runs scripts on local files: with plain SQLite, with the
// file as main database of the VFS, and attached to a replica. All say the same.
func TestRegisterVFS_LocalFiles(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	name, _ := registerC(t, client, &litestream.Options{PollInterval: -1})
	for what, script := range localScripts {
		t.Run(what, func(t *testing.T) {
			plain := runLocal(t, script, func(path string, params ...string) *sql.Conn {
				return attachLocal(t, connectC(t, ":memory:"), path, params)
			})
			for how, open := range map[string]func(path string, params ...string) *sql.Conn{
				"attached to a replica": func(path string, params ...string) *sql.Conn {
					return attachLocal(t, connectC(t, dsn(name, "app.db")), path, params)
				},
				"attached to a file": func(path string, params ...string) *sql.Conn {
					other := filepath.Join(t.TempDir(), "other.db")
					return attachLocal(t, connectC(t, dsn(name, other)), path, params)
				},
				"attached to a plain database": func(path string, params ...string) *sql.Conn {
					return attachLocal(t, connectC(t, ":memory:"), path, append(params, "vfs="+name))
				},
			} {
				// The first name that is opened is the replica's.
				connectC(t, dsn(name, "app.db"))
				got := runLocal(t, script, open)
				if !slices.Equal(got, plain) {
					t.Errorf("%s: got\n%s\nplain SQLite says\n%s", how, strings.Join(got, "\n"), strings.Join(plain, "\n"))
				}
			}
		})
	}
}

func attachLocal(t *testing.T, conn *sql.Conn, path string, params []string) *sql.Conn {
	t.Helper()
	mustExec(t, conn, "ATTACH 'file:"+path+"?"+strings.Join(params, "&")+"' AS l; PRAGMA busy_timeout = 0")
	return conn
}

// runLocal runs a script in a new folder, and returns a line for each step.
func runLocal(t *testing.T, script localScript, open func(path string, params ...string) *sql.Conn) (lines []string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "local.db")
	conns := make([]*sql.Conn, script.conns)
	for i := range conns {
		conns[i] = open(path, slices.Clone(script.params)...)
	}
	for _, s := range script.steps {
		var got string
		switch s.sql {
		case "FILES":
			got = fileNames(t, dir)
		case "MAPS":
			got = fmt.Sprint(runtime.GOOS != "linux" || isMapped(t, path))
		default:
			var all []string
			for statement := range strings.SplitSeq(strings.ReplaceAll(s.sql, "PATH", dir), "; ") {
				result, err := queryText(conns[s.conn], statement)
				if err != nil {
					result = strings.ReplaceAll(err.Error(), dir, "PATH")
				}
				all = append(all, result)
			}
			got = strings.Join(all, "; ")
		}
		lines = append(lines, fmt.Sprintf("%d: %s: %s", s.conn, s.sql, got))
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	return lines
}

// isMapped reports whether the process has a memory map of a file.
func isMapped(t *testing.T, path string) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(maps), path)
}

// isOpenIn reports whether the process has a file open in a folder.
func isOpenIn(t *testing.T, dir string) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		return err == nil && strings.HasPrefix(target, dir)
	})
}

// TestRegisterVFS_TempDirectory checks that temporary files are in the folder that
// SQLITE_TMPDIR names, and are gone from there when they are open. SQLite reads the
// variable once, so another process runs the test.
func TestRegisterVFS_TempDirectory(t *testing.T) {
	const variable = "SQLITE_TMPDIR"
	dir := os.Getenv(variable)
	if dir == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRegisterVFS_TempDirectory$", "-test.v")
		cmd.Env = append(os.Environ(), variable+"="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	client := memoryClient()
	numberedReplica(t, client, 1)
	name, _ := registerC(t, client, nil)
	for what, name := range map[string]string{"plain": ":memory:", "replica": dsn(name, "app.db")} {
		conn := connectC(t, name)
		mustExec(t, conn, "PRAGMA temp_store = file; PRAGMA temp.cache_size = 10")
		mustExec(t, conn, "CREATE TEMP TABLE big AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) SELECT x, hex(zeroblob(500)) FROM n")
		if runtime.GOOS == "linux" && !isOpenIn(t, dir) {
			t.Errorf("%s: no file in %s is open", what, dir)
		}
		if got := fileNames(t, dir); got != "" {
			t.Errorf("%s: files: %s", what, got)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
