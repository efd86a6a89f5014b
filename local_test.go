package litestream_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// localFixture returns a connection to a replica of three rows, and a folder
// for files to attach.
func localFixture(t *testing.T) (p *ltxtest.Primary, conn *sql.Conn, dir string) {
	t.Helper()
	client := memoryClient()
	p = ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3)")
	vfsName, _ := newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond})
	return p, openConn(t, vfsName, "app.db"), t.TempDir()
}

func fileNames(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return strings.Join(names, " ")
}

// TestLocal_WALBeside opens a replica by a path where another database has left a WAL, in
// folders whose names contain what those of super-journals do.
func TestLocal_WALBeside(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	for _, folder := range []string{"folder", "user-mjones", "a-mj123456789"} {
		dir := filepath.Join(t.TempDir(), folder)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "app.db-wal"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		vfsName, _ := newVFS(t, client, nil)
		wantSQL(t, openConn(t, vfsName, filepath.ToSlash(filepath.Join(dir, "app.db"))), "SELECT n FROM t", "1")
	}
}

// TestLocal_Attach creates, writes and reads a local file beside a replica.
func TestLocal_Attach(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist", "memory", "off"} {
		t.Run(mode, func(t *testing.T) {
			p, conn, dir := localFixture(t)
			path := filepath.Join(dir, "local.db")
			mustExec(t, conn, "ATTACH '"+path+"' AS l")
			mustExec(t, conn, "PRAGMA l.page_size = 512; PRAGMA l.cache_size = 5")
			if got := mustQuery(t, conn, "PRAGMA l.journal_mode = "+mode); got != mode {
				t.Fatalf("journal mode is %s", got)
			}
			mustExec(t, conn, "CREATE TABLE l.copy AS SELECT x, hex(zeroblob(1000)) AS pad FROM main.t")
			mustExec(t, conn, "CREATE INDEX l.copy_x ON copy (x)")

			// A transaction over both files sees one state of the replica.
			mustExec(t, conn, "BEGIN")
			mustExec(t, conn, "INSERT INTO copy SELECT x + 10, '' FROM t")
			p.Exec("INSERT INTO t VALUES (4)")
			if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "3" {
				t.Errorf("%s rows of the replica within the transaction", got)
			}
			mustExec(t, conn, "COMMIT")
			waitFor(t, "the primary's news", func() bool { return mustQuery(t, conn, "SELECT count(*) FROM t") == "4" })

			if mode != "off" {
				mustExec(t, conn, "BEGIN; UPDATE copy SET pad = hex(zeroblob(2000)), x = x + 100; INSERT INTO copy SELECT x, pad FROM copy; ROLLBACK")
			}
			const rows = "SELECT x, length(pad) FROM copy ORDER BY x"
			want := "1|2000\n2|2000\n3|2000\n11|0\n12|0\n13|0"
			if got := mustQuery(t, conn, rows); got != want {
				t.Errorf("rows:\n%s\nwant\n%s", got, want)
			}
			if got := mustQuery(t, conn, "SELECT count(*) FROM t JOIN copy USING (x)"); got != "3" {
				t.Errorf("join has %s rows", got)
			}
			mustExec(t, conn, "VACUUM l")
			mustExec(t, conn, "DETACH l")
			plain := plainConn(t, path)
			if got := mustQuery(t, plain, rows); got != want {
				t.Errorf("rows in plain SQLite:\n%s\nwant\n%s", got, want)
			}
			if got := mustQuery(t, plain, "PRAGMA integrity_check"); got != "ok" {
				t.Errorf("integrity check: %s", got)
			}
			if got := fileNames(t, dir); mode == "delete" && got != "local.db" {
				t.Errorf("files: %s", got)
			}
		})
	}
}

// TestLocal_OtherWriter reads while another connection is in the middle of a
// write transaction with its journal in place. The read must leave the journal
// alone.
func TestLocal_OtherWriter(t *testing.T) {
	_, conn, dir := localFixture(t)
	path := filepath.Join(dir, "local.db")
	other := plainConn(t, path)
	mustExec(t, other, "PRAGMA busy_timeout = 0; CREATE TABLE l (x); INSERT INTO l VALUES ('old')")
	mustExec(t, conn, "ATTACH '"+path+"' AS l; PRAGMA busy_timeout = 0")
	for i := range 2 {
		mustExec(t, other, "BEGIN IMMEDIATE; UPDATE l SET x = 'new'")
		if got := fileNames(t, dir); got != "local.db local.db-journal" {
			t.Fatalf("files: %s", got)
		}
		if got := mustQuery(t, conn, "SELECT x FROM l.l"); got != "old" {
			t.Errorf("%d: reads %q beside a writer", i, got)
		}
		if got := fileNames(t, dir); got != "local.db local.db-journal" {
			t.Errorf("%d: files after a read: %s", i, got)
		}
		wantCode(t, conn, "UPDATE l.l SET x = 'mine'", litestream.CodeBusy)
		mustExec(t, other, "UPDATE l SET x = x || 'er'; COMMIT")
		if got := mustQuery(t, conn, "SELECT x FROM l.l"); got != "newer" {
			t.Errorf("%d: reads %q after the writer's commit", i, got)
		}
		mustExec(t, conn, "BEGIN; UPDATE l.l SET x = 'old'")
		wantCode(t, other, "BEGIN IMMEDIATE", litestream.CodeBusy)
		if got := mustQuery(t, other, "SELECT x FROM l"); got != "newer" {
			t.Errorf("%d: the other reads %q", i, got)
		}
		mustExec(t, conn, "COMMIT")
		if got := mustQuery(t, other, "SELECT x FROM l"); got != "old" {
			t.Errorf("%d: the other reads %q after our commit", i, got)
		}
	}
}

// crashedFile makes a database whose writer died in the middle of a
// transaction: pages are overwritten, and the journal still exists.
func crashedFile(t testing.TB, path string) {
	t.Helper()
	source := filepath.Join(t.TempDir(), "source.db")
	w := plainConn(t, source)
	mustExec(t, w, "CREATE TABLE l (id INTEGER PRIMARY KEY, x); PRAGMA cache_size = 5")
	mustExec(t, w, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO l SELECT i, hex(zeroblob(100)) FROM n")
	mustExec(t, w, "BEGIN; UPDATE l SET x = 'half'")
	for _, suffix := range []string{"", "-journal"} {
		b, err := os.ReadFile(source + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if suffix == "" && !strings.Contains(string(b), "half") {
			t.Fatal("the writer has not spilled")
		}
		if err := os.WriteFile(path+suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustExec(t, w, "ROLLBACK")
}

// TestLocal_HotJournal opens a file whose writer crashed. Its journal is played
// back before any page is read.
func TestLocal_HotJournal(t *testing.T) {
	_, conn, dir := localFixture(t)
	path := filepath.Join(dir, "local.db")
	crashedFile(t, path)
	mustExec(t, conn, "ATTACH '"+path+"' AS l")
	if got := mustQuery(t, conn, "SELECT count(*), sum(x = 'half') FROM l.l"); got != "500|0" {
		t.Errorf("rows, and those of the lost transaction: %s, want 500|0", got)
	}
	if got := fileNames(t, dir); got != "local.db" {
		t.Errorf("files: %s", got)
	}
	if got := mustQuery(t, conn, "PRAGMA l.integrity_check"); got != "ok" {
		t.Errorf("integrity check: %s", got)
	}
}

// TestLocal_Names attaches files by relative path, through links and with odd
// spellings. The file, its locks and its journal are those that plain SQLite
// uses.
func TestLocal_Names(t *testing.T) {
	for _, c := range []struct{ name, open, real string }{
		{"relative", "local.db", "local.db"},
		{"dots", "sub/../sub/./local.db", "sub/local.db"},
		{"dashes", "a-journal-b-.db", "a-journal-b-.db"},
		{"link", "link.db", "sub/real.db"},
		{"dangling link", "dangling.db", "sub/later.db"},
		{"link of a link", "twice.db", "sub/real.db"},
		{"folder link", "folder/local.db", "sub/local.db"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, conn, dir := localFixture(t)
			t.Chdir(dir)
			if err := os.Mkdir("sub", 0o755); err != nil {
				t.Fatal(err)
			}
			mustExec(t, plainConn(t, "sub/real.db"), "CREATE TABLE before (x)")
			for from, to := range map[string]string{"link.db": "sub/real.db", "twice.db": "link.db", "dangling.db": filepath.Join(dir, "sub/later.db"), "folder": "sub"} {
				if err := os.Symlink(to, from); err != nil {
					t.Skip(err)
				}
			}
			mustExec(t, conn, "ATTACH '"+c.open+"' AS l")
			mustExec(t, conn, "CREATE TABLE l.l (x); INSERT INTO l.l SELECT sum(x) FROM t")
			mustExec(t, conn, "BEGIN; INSERT INTO l.l VALUES (7)")
			if !exists(c.real + "-journal") {
				t.Errorf("no journal beside %s", c.real)
			}
			plain := plainConn(t, c.real)
			if got := mustQuery(t, plain, "SELECT x FROM l"); got != "6" {
				t.Errorf("plain SQLite reads %q beside our transaction", got)
			}
			mustExec(t, conn, "ROLLBACK")
			if got := mustQuery(t, plain, "SELECT x FROM l"); got != "6" {
				t.Errorf("plain SQLite reads %q", got)
			}
			if exists(c.real + "-journal") {
				t.Errorf("the journal beside %s is still there", c.real)
			}
		})
	}
}

// TestLocal_TwoFiles writes two local files in one transaction. Plain SQLite
// makes that atomic with a super-journal beside the main database, where every
// process that recovers the files must find it. A replica has no such place
// beside it, so the transaction is refused, without harm to either file.
func TestLocal_TwoFiles(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	conn, dir := openConn(t, vfsName, "app.db"), t.TempDir()
	t.Chdir(dir)
	mustExec(t, conn, "ATTACH 'a.db' AS a; ATTACH 'b.db' AS b")
	mustExec(t, conn, "CREATE TABLE a.a (x); CREATE TABLE b.b (x); INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)")
	mustExec(t, conn, "BEGIN; UPDATE a SET x = 1; UPDATE b SET x = 1")
	wantCode(t, conn, "COMMIT", litestream.CodeIOErr)
	if want := "a transaction over the local file"; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	if got := mustQuery(t, conn, "SELECT a.x, b.x FROM a, b"); got != "0|0" {
		t.Errorf("values %s, want 0|0", got)
	}
	if got := fileNames(t, dir); got != "a.db b.db" {
		t.Errorf("files: %s", got)
	}

	// Writing one file at a time works, and so does writing both without a
	// journal on disk.
	mustExec(t, conn, "BEGIN; UPDATE a SET x = 2; COMMIT; BEGIN; UPDATE b SET x = 2; COMMIT")
	mustExec(t, conn, "PRAGMA b.journal_mode = memory; BEGIN; UPDATE a SET x = x + 1; UPDATE b SET x = x + 1; COMMIT")
	if got := mustQuery(t, conn, "SELECT a.x, b.x FROM a, b"); got != "3|3" {
		t.Errorf("values %s, want 3|3", got)
	}
}

// TestLocal_Errors opens files that cannot be opened, and asks for operations
// that a local file on this VFS does not support. The replica stays readable.
func TestLocal_Errors(t *testing.T) {
	_, conn, dir := localFixture(t)
	path := filepath.Join(dir, "local.db")
	wal := plainConn(t, path)
	mustExec(t, wal, "CREATE TABLE l (x)")

	wantCode(t, conn, "ATTACH '"+filepath.Join(dir, "no", "local.db")+"' AS l", litestream.CodeCantOpen)
	wantCode(t, conn, "ATTACH '"+dir+"' AS l", litestream.CodeCantOpen)
	wantCode(t, conn, "ATTACH 'file:"+filepath.Join(dir, "new.db")+"?mode=ro' AS l", litestream.CodeCantOpen)
	if got := fileNames(t, dir); got != "local.db" {
		t.Errorf("files: %s", got)
	}
	mustExec(t, conn, "ATTACH 'file:"+path+"?mode=ro' AS l")
	wantCode(t, conn, "INSERT INTO l.l VALUES (1)", litestream.CodeReadOnly)
	mustExec(t, conn, "DETACH l")

	// sqlite3vfs has no shared memory, so WAL mode is refused.
	want := map[bool]string{false: "wal", true: "delete"}[psanford]
	mustExec(t, conn, "ATTACH '"+path+"' AS l")
	if got := mustQuery(t, conn, "PRAGMA l.journal_mode = wal"); got != want {
		t.Errorf("journal mode of a local file: %s", got)
	}
	mustExec(t, conn, "DETACH l")
	mustExec(t, wal, "PRAGMA journal_mode = wal; INSERT INTO l VALUES (1)")
	if psanford {
		wantCode(t, conn, "ATTACH '"+path+"' AS l", litestream.CodeCantOpen)
	} else {
		mustExec(t, conn, "ATTACH '"+path+"' AS l")
		wantSQL(t, conn, "SELECT x FROM l", "1")
	}

	if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "3" {
		t.Errorf("%s rows of the replica", got)
	}
}

// TestLocal_Main opens local files as main databases of the VFS on several
// connections.
func TestLocal_Main(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	vfsName, vfs := newVFS(t, client, nil)
	replica := openConn(t, vfsName, "app.db")
	path := filepath.Join(t.TempDir(), "local.db")
	a, b := openConn(t, vfsName, path), openConn(t, vfsName, path)
	mustExec(t, a, "CREATE TABLE l (x)")
	for i := range 5 {
		mustExec(t, a, fmt.Sprintf("INSERT INTO l VALUES (%d)", i))
		if got := mustQuery(t, b, "SELECT max(x) FROM l"); got != fmt.Sprint(i) {
			t.Errorf("other connection sees %s, want %d", got, i)
		}
	}
	mustExec(t, a, "ATTACH 'app.db' AS r")
	if got := mustQuery(t, a, "SELECT count(*) FROM r.t"); got != "0" {
		t.Errorf("attached replica has %s rows", got)
	}
	if got := mustQuery(t, a, "PRAGMA r.litestream_txid"); got != "0000000000000001" {
		t.Errorf("attached replica is at %s", got)
	}
	if got := mustQuery(t, a, "PRAGMA litestream_txid"); got != "" {
		t.Errorf("local file is at %s", got)
	}
	mustExec(t, a, "VACUUM; PRAGMA page_size = 8192; VACUUM")
	mustQuery(t, b, "SELECT * FROM l")
	if got := mustQuery(t, b, "PRAGMA page_size"); got != "8192" {
		t.Errorf("page size is %s after VACUUM", got)
	}
	if got := mustQuery(t, replica, "SELECT count(*) FROM t"); got != "0" {
		t.Errorf("%s rows of the replica", got)
	}
	if n := len(vfs.Stats()); n != 1 {
		t.Errorf("%d databases, want only the replica", n)
	}
}

// TestLocal_BesideReplicaURL vacuums into a local file where the VFS knows its
// database by URL only.
func TestLocal_BesideReplicaURL(t *testing.T) {
	source := replicaDir(t, "snapshot-only")
	dir := copyReplica(t, t.TempDir(), source)
	vfsName, _ := newVFS(t, nil, nil)
	conn := openConn(t, vfsName, "app.db", "replica_url=file://"+dir)
	target := filepath.Join(t.TempDir(), "copy.db")
	mustExec(t, conn, "VACUUM INTO '"+target+"'")
	plain, err := sqlitetest.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	rows, sum := hashTable(t, plain, "items")
	wantRows, want := hashTable(t, conn, "items")
	if rows != wantRows || sum != want {
		t.Errorf("the copy has %d rows, want %d", rows, wantRows)
	}
}
