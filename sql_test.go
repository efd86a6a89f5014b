package litestream_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// plainFile writes a database image to a file.
func plainFile(t testing.TB, image []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "plain.db")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// plainConn opens a database file through SQLite's own VFS.
func plainConn(t testing.TB, path string, params ...string) *sql.Conn {
	t.Helper()
	db, err := vfstest.Open("file:" + path + "?" + strings.Join(append(params, "_sync=off"), "&"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// sqliteCode returns the primary result code of an error, CodeOK for none.
func sqliteCode(t testing.TB, err error) litestream.Code {
	t.Helper()
	code, ok := sqlitetest.ExtendedCode(err)
	if err != nil && !ok {
		t.Errorf("no error of SQLite's: %v", err)
	}
	return litestream.Code(code & 0xff)
}

// wantCode runs a statement that must fail with the given code.
func wantCode(t testing.TB, q querier, query string, want litestream.Code) error {
	t.Helper()
	got, err := queryText(q, query)
	if err == nil {
		t.Errorf("%s: %q, want error %d", query, got, want)
	} else if sqliteCode(t, err) != want {
		t.Errorf("%s: %v, want error %d", query, err, want)
	}
	return err
}

// result returns what a statement gives, rows or error, as text for comparison.
func result(q querier, query string) string {
	s, err := queryText(q, query)
	if err != nil {
		return "error: " + sqlitetest.Text(err)
	}
	return s
}

// richSchema has one of each kind of object that SQLite reads in its own way.
const richSchema = `
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL, data BLOB, cents INT AS (price * 100) STORED);
CREATE TABLE tag (item INT REFERENCES item, tag TEXT, PRIMARY KEY (item, tag)) WITHOUT ROWID;
CREATE INDEX item_price ON item (price DESC) WHERE price > 10;
CREATE VIEW dear AS SELECT * FROM item WHERE price > 90;
CREATE VIRTUAL TABLE text USING ` + fullText + ` (title, body);
CREATE VIRTUAL TABLE box USING rtree (id, x0, x1, y0, y1);
CREATE TRIGGER tagged AFTER INSERT ON item BEGIN INSERT INTO tag VALUES (new.id, 'new'); END;
`

const richRows = `
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
INSERT INTO item (id, name, price, data) SELECT i, printf('item %04d', i * 7919 % 1000), i % 100 + 0.25, zeroblob(i * 3) FROM n;
INSERT INTO item (id, name, price, data) VALUES (5000, 'large', 99, zeroblob(200000));
INSERT INTO text SELECT name, 'the body of ' || name || ' says ' || (id % 13) FROM item;
INSERT INTO box SELECT id, id % 10, id % 10 + 2, id % 7, id % 7 + 1 FROM item;
`

// richPrimary has a database with a bit of everything. Its page size is 1024.
// It is not in WAL mode, because plain SQLite would need a parameter to read a
// copy of a WAL database.
func richPrimary(t testing.TB, store ltxtest.Store) *ltxtest.Primary {
	p := ltxtest.New(t, store, ltxtest.Options{PageSize: 1024, Rollback: true})
	p.Exec(richSchema)
	p.Exec(richRows)
	p.Exec("DELETE FROM item WHERE id BETWEEN 100 AND 300; PRAGMA user_version = 7")
	return p
}

// TestSQL_SameAsPlain runs the same session on the VFS and on a plain read-only
// file of the same content. Results and errors are the same.
func TestSQL_SameAsPlain(t *testing.T) {
	for i, name := range []string{"indexes are read whole", "as needed", "within IndexSize"} {
		t.Run(name, func(t *testing.T) {
			var opts litestream.Options
			unreadIndexes(&opts, uint64(i))
			sameAsPlain(t, &opts)
		})
	}
}

// unreadIndexes makes a third of the tests read page indexes as they are needed,
// and another third do so within an IndexSize.
func unreadIndexes(opts *litestream.Options, seed uint64) {
	if seed%3 > 0 {
		litestream.NeverWhole(opts)
	}
	if seed%3 > 1 {
		opts.IndexSize = 64 << 10
	}
}

func sameAsPlain(t *testing.T, opts *litestream.Options) {
	client := memoryClient()
	p := richPrimary(t, client)
	vfsName, _ := newVFS(t, client, opts)
	conn := openConn(t, vfsName, "app.db")
	plain := plainConn(t, plainFile(t, p.Image(p.TXID())), "mode=ro")
	mustExec(t, plain, "PRAGMA synchronous = normal") // the driver sets this, too

	for _, query := range []string{
		"PRAGMA page_size", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA encoding", "PRAGMA user_version",
		"PRAGMA application_id", "PRAGMA auto_vacuum", "PRAGMA journal_mode", "PRAGMA schema_version",
		"PRAGMA page_size = 8192", "PRAGMA page_size",
		"SELECT * FROM sqlite_schema",
		"SELECT id, name, price, length(data), cents FROM item",
		"SELECT count(*), sum(length(data)) FROM item", "SELECT * FROM dear ORDER BY name",
		"SELECT name FROM item INDEXED BY item_price WHERE price > 50 ORDER BY price DESC",
		"SELECT tag, count(*) FROM tag JOIN item ON item.id = tag.item GROUP BY tag",
		fullTextNear, fullTextPiece,
		"SELECT id FROM box WHERE x0 >= 3 AND x1 <= 6 AND y0 > 2 ORDER BY id",
		"WITH RECURSIVE f (a, b) AS (SELECT 0, 1 UNION ALL SELECT b, a + b FROM f LIMIT 50) SELECT max(a) FROM f",
		"SELECT name FROM item ORDER BY substr(name, -1), random() * 0, name",
		"PRAGMA integrity_check", "PRAGMA quick_check", "PRAGMA foreign_key_check", "PRAGMA table_xinfo(item)",

		// SQLite handles PRAGMAs that are not ours.
		"PRAGMA cache_size", "PRAGMA cache_size = -64", "PRAGMA cache_size", "PRAGMA foreign_keys", "PRAGMA foreign_keys = on",
		"PRAGMA foreign_keys", "PRAGMA no_such_pragma", "PRAGMA no_such_pragma = 1",
		"PRAGMA synchronous", "PRAGMA locking_mode", "PRAGMA compile_options",

		// Writes are refused.
		"INSERT INTO item (name) VALUES ('x')", "UPDATE item SET price = 1 WHERE id = 1", "DELETE FROM item",
		"CREATE TABLE t (x)", "CREATE INDEX i ON item (data)", "DROP TABLE item", "ALTER TABLE item ADD COLUMN x",
		"PRAGMA user_version = 8", "PRAGMA application_id = 8", "PRAGMA user_version", "VACUUM", "ANALYZE", "REINDEX",
		"INSERT INTO text VALUES ('a', 'b')", "DELETE FROM box",
		"CREATE VIRTUAL TABLE vt USING " + fullText + " (x)", "PRAGMA incremental_vacuum",
		"PRAGMA main.integrity_check",

		// These transactions only read.
		"BEGIN", "SELECT count(*) FROM item", "SAVEPOINT a", "SELECT count(*) FROM tag", "RELEASE a", "COMMIT",
		"BEGIN IMMEDIATE", "INSERT INTO item (name) VALUES ('x')", "SELECT count(*) FROM item", "ROLLBACK",
		"BEGIN EXCLUSIVE", "SELECT count(*) FROM item", "COMMIT",

		// These statements do not write to the database.
		"CREATE TEMP TABLE tt AS SELECT id, name FROM item", "CREATE INDEX temp.ti ON tt (name)", "UPDATE tt SET name = name || id WHERE id < 50",
		"BEGIN", "DELETE FROM tt WHERE id > 20", "SAVEPOINT s", "DELETE FROM tt", "ROLLBACK TO s", "SELECT count(*), max(name) FROM tt", "ROLLBACK",
		"SELECT count(*), max(name) FROM tt", "SELECT i.name FROM item i JOIN tt ON tt.id = i.id AND tt.name <> i.name ORDER BY 1",
		"CREATE TEMP TRIGGER ttt BEFORE DELETE ON tt BEGIN SELECT raise(ABORT, 'no'); END", "DELETE FROM tt", "PRAGMA temp.integrity_check",
		"DROP TABLE tt", "CREATE TEMP TABLE tt (x)", "PRAGMA temp_store = memory", "PRAGMA temp_store",
		"ATTACH ':memory:' AS m", "CREATE TABLE m.x AS SELECT * FROM item", "SELECT count(*), sum(cents) FROM m.x", "PRAGMA m.page_size",
		"ATTACH '' AS n", "CREATE TABLE n.x AS SELECT * FROM item", "INSERT INTO n.x SELECT * FROM m.x", "SELECT count(*), sum(cents) FROM n.x",
		"PRAGMA n.integrity_check", "DETACH m", "DETACH n", "SELECT * FROM m.x",
	} {
		got, want := result(conn, query), result(plain, query)
		if got != want {
			t.Errorf("%s:\n%.300s\nwant\n%.300s", query, got, want)
		}
	}
}

// TestSQL_JournalMode sets every journal mode. None makes the database
// unreadable, and none results in WAL, for which there is no shared memory.
func TestSQL_JournalMode(t *testing.T) {
	for _, rollback := range []bool{false, true} {
		t.Run(fmt.Sprintf("rollback=%v", rollback), func(t *testing.T) {
			client := memoryClient()
			ltxtest.New(t, client, ltxtest.Options{Rollback: rollback}).Exec("CREATE TABLE t AS SELECT 42 AS x")
			vfsName, _ := newVFS(t, client, nil)
			conn := openConn(t, vfsName, "app.db")
			for _, c := range []struct{ set, want string }{
				{"", "delete"}, {"WAL", "delete"}, {"delete", "delete"}, {"truncate", "truncate"}, {"persist", "persist"},
				{"memory", "memory"}, {"wal", "memory"}, {"off", "off"}, {"delete", "delete"}, {"nonsense", "delete"},
			} {
				query := "PRAGMA journal_mode"
				if c.set != "" {
					query += " = " + c.set
				}
				if got := mustQuery(t, conn, query); got != c.want {
					t.Errorf("%s: %s, want %s", query, got, c.want)
				}
				if got := mustQuery(t, conn, "SELECT x FROM t"); got != "42" {
					t.Errorf("after %s: %s", query, got)
				}
				wantCode(t, conn, "INSERT INTO t VALUES (1)", litestream.CodeReadOnly)
			}
		})
	}
}

// TestSQL_WritesAreRefused checks for the code and text that programs look for,
// whatever mode the connection is opened with.
func TestSQL_WritesAreRefused(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x)")
	vfsName, _ := newVFS(t, client, nil)
	for _, params := range [][]string{nil, {"mode=rw"}, {"mode=rwc"}, {"mode=ro"}, {"_txlock=immediate"}, {"nolock=1"}, {"immutable=1"}} {
		conn := openConn(t, vfsName, "app.db", params...)
		for _, query := range []string{"INSERT INTO t VALUES (1)", "CREATE TABLE u (x)", "PRAGMA user_version = 1", "VACUUM", "DROP TABLE t"} {
			err := wantCode(t, conn, query, litestream.CodeReadOnly)
			if err != nil && sqlitetest.Text(err) != "attempt to write a readonly database" {
				t.Errorf("%v: %s: %v", params, query, err)
			}
		}
		if strings.Join(params, "") == "mode=ro" { // SQLite then knows that the transaction only reads
			mustExec(t, conn, "BEGIN IMMEDIATE")
			mustExec(t, conn, "COMMIT")
		}
		if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "0" {
			t.Errorf("%v: %s rows", params, got)
		}
	}
}

// TestSQL_VacuumInto makes a local copy, also of a past state, and opens it
// with plain SQLite.
func TestSQL_VacuumInto(t *testing.T) {
	client := memoryClient()
	p := richPrimary(t, client)
	vfsName, _ := newVFS(t, client, nil)
	conn := openConn(t, vfsName, "app.db")
	const rows = "SELECT id, name, price, quote(data), cents FROM item ORDER BY id"
	for txid := p.TXID(); txid >= 2; txid-- {
		mustExec(t, conn, "PRAGMA litestream_txid = '"+txid.String()+"'")
		path := filepath.Join(t.TempDir(), "copy.db")
		mustExec(t, conn, "VACUUM INTO '"+path+"'")
		plain := plainConn(t, path)
		if got := mustQuery(t, plain, "PRAGMA integrity_check"); got != "ok" {
			t.Errorf("%s: integrity check: %s", txid, got)
		}
		want := mustQuery(t, plainConn(t, plainFile(t, p.Image(txid))), rows)
		if got := mustQuery(t, plain, rows); got != want {
			t.Errorf("%s: rows differ", txid)
		}
		if got := mustQuery(t, plain, "PRAGMA page_size"); got != "1024" {
			t.Errorf("%s: page size is %s", txid, got)
		}
		mustExec(t, plain, "INSERT INTO item (name) VALUES ('mine')")
		wantCode(t, conn, "VACUUM INTO '"+path+"'", litestream.CodeError) // the file exists
		wantCode(t, conn, "VACUUM INTO '"+filepath.Join(t.TempDir(), "no", "folder.db")+"'", litestream.CodeCantOpen)
		if got := mustQuery(t, conn, rows); got != want {
			t.Errorf("%s: rows differ on the replica after a VACUUM INTO", txid)
		}
	}
}

// TestSQL_Spills sorts, indexes and stores more than the page cache and
// tempSpill hold. The files that it spills to are never visible by name.
func TestSQL_Spills(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT)")
	p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, i * 7919 % 20011, hex(zeroblob(60)) || i FROM n")
	vfsName, _ := newVFS(t, client, nil)
	plain := plainConn(t, plainFile(t, p.Image(p.TXID())))
	sort := "SELECT sum(k * a) FROM (SELECT row_number() OVER (ORDER BY b, a) AS k, a FROM t)"
	queries := []struct{ make, read string }{
		{"", sort},
		{"", "SELECT count(*) FROM (SELECT DISTINCT b || a FROM t)"},
		{"CREATE TEMP TABLE big AS SELECT * FROM t ORDER BY a", "SELECT sum(rowid * a) FROM big"},
		{"CREATE INDEX temp.big_b ON big (b, a)", "SELECT group_concat(a) FROM (SELECT a FROM big INDEXED BY big_b ORDER BY b LIMIT 100 OFFSET 9000)"},
		{"UPDATE big SET b = b || 'x' WHERE a % 2", "SELECT sum(length(b)) FROM big"},
		{"BEGIN; SAVEPOINT s; UPDATE big SET b = ''; ROLLBACK TO s; COMMIT", "SELECT sum(length(b)) FROM big"},
	}
	tune := func(q querier) {
		mustExec(t, q, "PRAGMA cache_size = 10; PRAGMA temp_store = file; PRAGMA temp.cache_size = 10")
	}
	dir := t.TempDir()
	t.Setenv("SQLITE_TMPDIR", dir)
	conn := openConn(t, vfsName, "app.db")
	tune(conn)
	for _, q := range queries {
		mustExec(t, conn, q.make)
		mustExec(t, plain, q.make)
		if got, want := mustQuery(t, conn, q.read), mustQuery(t, plain, q.read); got != want {
			t.Errorf("%s; %s: %.100s, want %.100s", q.make, q.read, got, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s; %s: left %v in the folder for temporary files (%v)", q.make, q.read, entries, err)
		}
	}
	if got := mustQuery(t, conn, "PRAGMA temp.integrity_check"); got != "ok" {
		t.Errorf("integrity check of temp: %s", got)
	}

	// The statements did spill: without a disk the same statement is an error,
	// and the connection still works.
	restore, ok := withoutTempFolder(t, filepath.Join(dir, "missing"))
	if !ok {
		return // SQLite looks for the folder once
	}
	defer restore()
	conn = openConn(t, vfsName, "app.db")
	tune(conn)
	wantCode(t, conn, sort, litestream.CodeIOErr)
	if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "20000" {
		t.Errorf("after a failed sort: %s rows", got)
	}
}

// TestSQL_DataVersion checks that data_version changes when the primary
// commits, and only then.
func TestSQL_DataVersion(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x)")
	vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond})
	conn := openConn(t, vfsName, "app.db")
	version := func() string { return mustQuery(t, conn, "PRAGMA data_version") }
	seen := map[string]bool{}
	for i := range 3 {
		before := version()
		if seen[before] {
			t.Errorf("data version %s again", before)
		}
		seen[before] = true
		polls := vfs.Stats()[0].Lists
		waitFor(t, "polls without news", func() bool {
			if got := version(); got != before {
				t.Errorf("data version went from %s to %s without news", before, got)
				return true
			}
			return vfs.Stats()[0].Lists > polls+3
		})
		p.Exec("INSERT INTO t VALUES (?)", i)
		waitFor(t, "the data version to change", func() bool { return version() != before })
		if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != fmt.Sprint(i+1) {
			t.Errorf("%s rows, want %d", got, i+1)
		}
	}

	// Travel changes it, too.
	before := version()
	mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000001'")
	if got := version(); got == before {
		t.Errorf("data version stays %s after travel", got)
	}
	if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "0" {
		t.Errorf("%s rows at the first transaction", got)
	}
}

// TestSQL_CachedStatements keeps prepared statements across views whose
// schemas differ.
func TestSQL_CachedStatements(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES ('one')")
	p.Exec("INSERT INTO t VALUES ('two')")
	p.Exec("ALTER TABLE t ADD COLUMN y DEFAULT 5; CREATE INDEX tx ON t (x)")
	p.Exec("DROP INDEX tx; CREATE TABLE u (z); INSERT INTO t VALUES ('three', 6)")
	vfsName, _ := newVFS(t, client, nil)
	conn := openConn(t, vfsName, "app.db")
	all, err := conn.PrepareContext(t.Context(), "SELECT x FROM t ORDER BY x")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	later, err := conn.PrepareContext(t.Context(), "SELECT count(*) FROM u")
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	for _, c := range []struct{ txid, all, later string }{
		{"4", "one\nthree\ntwo", "0"},
		{"1", "one", "no such table: u"},
		{"3", "one\ntwo", "no such table: u"},
		{"2", "one\ntwo", "no such table: u"},
		{"4", "one\nthree\ntwo", "0"},
	} {
		mustExec(t, conn, "PRAGMA litestream_txid = '000000000000000"+c.txid+"'")
		if got := result(preparedQuery{all}, ""); got != c.all {
			t.Errorf("%s: %q, want %q", c.txid, got, c.all)
		}
		if got := strings.TrimPrefix(result(preparedQuery{later}, ""), "error: "); got != c.later {
			t.Errorf("%s: %q, want %q", c.txid, got, c.later)
		}
	}
}

// preparedQuery is a querier of one statement.
type preparedQuery struct{ *sql.Stmt }

func (q preparedQuery) QueryContext(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
	return q.Stmt.QueryContext(ctx, args...)
}

func (q preparedQuery) ExecContext(ctx context.Context, _ string, args ...any) (sql.Result, error) {
	return q.Stmt.ExecContext(ctx, args...)
}
