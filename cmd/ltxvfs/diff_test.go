package main

import (
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/ncruces"
)

// newHistory makes a replica in a folder, and runs texts of SQL on it. It returns the
// URL of the replica, and the last transaction of each text.
func newHistory(t *testing.T, statements ...string) (url string, txids []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.db")
	v := litestream.NewVFS(file.NewReplicaClient(dir), &litestream.Options{
		WriteEnabled: true, PollInterval: -1, WriteBufferPath: filepath.Join(t.TempDir(), "buffer"), Logger: testlog.New(t, nil),
	})
	if err := ncruces.RegisterVFS("history", v); err != nil {
		t.Fatal(err)
	}
	defer vfs.Unregister("history")
	conn, err := sqlite3.Open("file:app.db?vfs=history")
	for _, sql := range statements {
		if err == nil {
			err = conn.Exec(sql)
		}
		var rows []string
		if err == nil {
			rows, err = texts(conn, "PRAGMA litestream_sync")
		}
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %v, synced %q", sql, err, rows)
		}
		txids = append(txids, rows[0])
	}
	if err := errors.Join(err, conn.Close(), v.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return "file://" + filepath.ToSlash(dir), txids
}

// dump returns the rows of all tables of a database file, as SQL.
func dump(t *testing.T, path string) (all []string) {
	t.Helper()
	conn, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	names, err := texts(conn, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		stmt, _, err := conn.Prepare("SELECT * FROM " + sqlite3.QuoteIdentifier(name))
		if err != nil {
			t.Fatal(err)
		}
		for stmt.Step() {
			row := name
			for i := range stmt.ColumnCount() {
				row += "," + fmt.Sprint(stmt.ColumnType(i), stmt.ColumnText(i))
			}
			all = append(all, row)
		}
		if err := errors.Join(stmt.Err(), stmt.Close()); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}

// What --undo prints brings the content of the state before back.
func TestDiff_Undo(t *testing.T) {
	p := newProgram(t, startS3(t))
	for _, tc := range []struct{ name, from, to string }{
		{"app.db", "0000000000000008", "000000000000001d"},
		{"app.db", "0000000000000010", "000000000000001c"},
		{"app.db", "000000000000001d", "0000000000000010"},
		{"tenants/a/app.db", "000000000000003f", "0000000000000045"},
		{"tenants/a/app.db", "0000000000000002", "0000000000000040"},
	} {
		url := "s3://bucket/" + tc.name
		before, after := filepath.Join(t.TempDir(), "before.db"), filepath.Join(t.TempDir(), "after.db")
		p.run("restore", "-q", url, before, "--at", tc.from)
		p.run("restore", "-q", url, after, "--at", tc.to)
		undo := p.run("diff", "-q", url, "--from", tc.from, "--to", tc.to, "--undo")
		want := dump(t, before)
		if slices.Equal(want, dump(t, after)) {
			t.Fatalf("%s: nothing has changed from %s to %s", tc.name, tc.from, tc.to)
		}
		conn, err := sqlite3.Open(after)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conn.Exec(undo), conn.Close()); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := dump(t, after); !slices.Equal(got, want) {
			t.Errorf("%s, back from %s to %s: %d rows, want %d; the SQL begins %.300s", tc.name, tc.to, tc.from, len(got), len(want), strings.ReplaceAll(undo, "\n", " "))
		}
	}
}

// A row is deleted by its key, also if the table had other columns before.
func TestDeleteOf(t *testing.T) {
	for _, tt := range []struct {
		change litestream.Change
		want   string
	}{
		{litestream.Change{Table: "t", Key: []int{1}, Columns: []string{"x", "k"}, New: []any{int64(1), int64(2)}, OldColumns: []string{"K"}, Old: []any{int64(2)}},
			`DELETE FROM "t" WHERE "K" IS 2`},
		{litestream.Change{Table: "t", Key: []int{0, 1}, Columns: []string{"a", "b"}, New: []any{int64(1), int64(2)}, OldColumns: []string{"x", "a", "b"}, Old: []any{int64(9), int64(1), int64(2)}},
			`DELETE FROM "t" WHERE "a" IS 1 AND "b" IS 2`},
		{litestream.Change{Table: "t", Key: []int{1}, Columns: []string{"ä", "Ä"}, OldColumns: []string{"ä", "Ä"}, Old: []any{int64(1), int64(2)}},
			`DELETE FROM "t" WHERE "Ä" IS 2`},
	} {
		if got := deleteOf(tt.change); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// restoreAndRun restores the newest state of a replica to a file, runs a script on it
// that has a statement on each line, and returns the rows that are there before and
// afterwards. It goes on after errors, as sqlite3 does without -bail, and rolls an open
// transaction back at the end.
func restoreAndRun(t *testing.T, p *program, url, script string) (before, after []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "today.db")
	p.run("restore", "-q", url, path)
	before = dump(t, path)
	conn, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(script) {
		_ = conn.Exec(line) // the rows say what it has done
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	return before, dump(t, path)
}

// Where rows of before have a column that the table has no more, --undo is an error, and
// what it has printed until then changes nothing.
func TestDiff_UndoLacksColumn(t *testing.T) {
	p := newProgram(t, nil)
	for name, alter := range map[string]string{
		"dropped":   "ALTER TABLE t DROP COLUMN note",
		"renamed":   "ALTER TABLE t RENAME COLUMN note TO remark; UPDATE t SET remark = 'new' WHERE id < 50",
		"generated": "ALTER TABLE t DROP COLUMN note; ALTER TABLE t ADD COLUMN note AS (name || 'x')",
	} {
		t.Run(name, func(t *testing.T) {
			url, txids := newHistory(t, `CREATE TABLE t (id INTEGER PRIMARY KEY, name, note);
				WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t SELECT i, 'name', 'note ' || i FROM n`, alter)
			script, err := p.command("diff", "-q", url, "--from", txids[0], "--undo").Output()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != exitFound || !strings.Contains(string(exit.Stderr), `table "t" has no column "note" any more`) || !strings.Contains(string(exit.Stderr), "restore --at "+txids[0]) {
				t.Errorf("it ends with %v", err)
			}
			before, after := restoreAndRun(t, p, url, string(script))
			if len(before) != 100 || !slices.Equal(before, after) {
				t.Errorf("%d rows were left of %d; the SQL begins %.300s", len(after), len(before), script)
			}
		})
	}
}

// A column that was added is no reason to refuse.
func TestDiff_UndoAddedColumn(t *testing.T) {
	p := newProgram(t, nil)
	url, txids := newHistory(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, name); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
		"ALTER TABLE t ADD COLUMN more; UPDATE t SET name = 'new', more = 1 WHERE id < 3; DELETE FROM t WHERE id = 3")
	script := p.run("diff", "-q", url, "--from", txids[0], "--undo")
	_, after := restoreAndRun(t, p, url, script)
	if want := []string{"t,INTEGER1,TEXTa,NULL", "t,INTEGER2,TEXTb,NULL", "t,INTEGER3,TEXTc,NULL"}; !slices.Equal(after, want) {
		t.Errorf("the rows are %q, want %q; the SQL is %s", after, want, script)
	}
}

// SQLite knows no case of letters beyond A to Z: the columns of one table are not those of
// another one whose name differs in that.
func TestDiff_UndoLetters(t *testing.T) {
	p := newProgram(t, nil)
	url, txids := newHistory(t, `CREATE TABLE "Ä" (id INTEGER PRIMARY KEY, "ö", "Ö"); INSERT INTO "Ä" VALUES (1, 'a', 'b');
		CREATE TABLE "ä" (id INTEGER PRIMARY KEY, other); INSERT INTO "ä" VALUES (1, 'c')`,
		`ALTER TABLE "Ä" ADD COLUMN more; UPDATE "Ä" SET "Ö" = 'new'; UPDATE "ä" SET other = 'new'`)
	script := p.run("diff", "-q", url, "--from", txids[0], "--undo")
	_, after := restoreAndRun(t, p, url, script)
	if want := []string{"Ä,INTEGER1,TEXTa,TEXTb,NULL", "ä,INTEGER1,TEXTc"}; !slices.Equal(after, want) {
		t.Errorf("the rows are %q, want %q; the SQL is %s", after, want, script)
	}
}

// A column is another one if the case of a letter beyond A to Z differs.
func TestLackingColumn(t *testing.T) {
	c := litestream.Change{Columns: []string{"A", "Ä"}}
	if name, lacks := lackingColumn(c, []string{"a", "ä"}); !lacks || name != "Ä" {
		t.Errorf("it lacks %q, %v", name, lacks)
	}
	if name, lacks := lackingColumn(c, []string{"a", "ä", "Ä"}); lacks {
		t.Errorf("it lacks %q", name)
	}
}

// The name of a table, which may contain anything, is no command for the shell that runs
// what --undo prints.
func TestDiff_UndoNames(t *testing.T) {
	p := newProgram(t, nil)
	const name = "\"x\n.shell echo\n\""
	url, txids := newHistory(t, "CREATE TABLE "+name+" (a INTEGER PRIMARY KEY); INSERT INTO "+name+" VALUES (1)", "ALTER TABLE "+name+" ADD COLUMN b")
	script := p.run("diff", "-q", url, "--from", txids[0], "--undo")
	if strings.Contains(script, "\n.shell") || !strings.Contains(script, `-- table "x\n.shell echo\n" was altered`) || !strings.HasSuffix(script, "\nCOMMIT;\n") {
		t.Errorf("it prints %q", script)
	}
}

// A definition that is no statement, which only another program than SQLite writes to a
// replica, is not printed.
func TestDiff_UndoForgedDefinition(t *testing.T) {
	for _, end := range []string{"';' || char(10)", "char(10) || '/' || char(10)"} {
		p := newProgram(t, nil)
		url, txids := newHistory(t,
			"CREATE TABLE t (a); PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x(a)' || "+end+" || '.shell echo')",
			"DELETE FROM sqlite_schema WHERE name = 'x'")
		script, err := p.command("diff", "-q", url, "--from", txids[0], "--undo").Output()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != exitDamaged || !strings.Contains(string(exit.Stderr), `the definition of table "x" is not one CREATE TABLE statement`) {
			t.Errorf("%s: it ends with %v", end, err)
		}
		if strings.Contains(string(script), ".shell") || strings.Contains(string(script), "COMMIT") {
			t.Errorf("%s: it prints %q", end, script)
		}
	}
}

// The definition of a table may end with a comment, which the semicolon must not be in.
func TestDiff_UndoComment(t *testing.T) {
	p := newProgram(t, nil)
	url, txids := newHistory(t, "CREATE TABLE t (a ANY) STRICT -- c", "DROP TABLE t")
	if script := p.run("diff", "-q", url, "--from", txids[0], "--undo"); !strings.Contains(script, "\nCREATE TABLE t (a ANY) STRICT -- c\n;\n") {
		t.Errorf("it prints %q", script)
	}
}

// A name with a NUL, which SQL cannot have, is an error.
func TestCheckNames(t *testing.T) {
	for _, c := range []litestream.Change{{Table: "t\x00"}, {Table: "t", Columns: []string{"a", "b\x00"}}, {Table: "t", OldColumns: []string{"\x00"}}} {
		if err := checkNames(c); !errors.Is(err, litestream.ErrCorrupt) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := checkNames(litestream.Change{Table: "t", Columns: []string{"a"}, OldColumns: []string{"b"}}); err != nil {
		t.Error(err)
	}
}

// A text with a NUL, a line end of two characters, and a number without a fraction come
// back as they were, and a row is told from one whose key differs after a NUL.
func TestDiff_UndoValues(t *testing.T) {
	p := newProgram(t, nil)
	url, txids := newHistory(t, `CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
		INSERT INTO t VALUES ('a', 'stays'), ('a' || char(0) || '1', 'b' || char(0, 13, 10) || 'c'), ('real', 12.0)`, "UPDATE t SET v = 'new' WHERE k <> 'a'")
	script := p.run("diff", "-q", url, "--from", txids[0], "--undo")
	past, today := filepath.Join(t.TempDir(), "past.db"), filepath.Join(t.TempDir(), "today.db")
	p.run("restore", "-q", url, past, "--at", txids[0])
	p.run("restore", "-q", url, today)
	conn, err := sqlite3.Open(today)
	if err != nil {
		t.Fatal(err)
	}
	script = strings.ReplaceAll(script, "\r\n", "\n") // as the sqlite3 shell reads lines
	if err := errors.Join(conn.Exec(script), conn.Close()); err != nil {
		t.Fatalf("%q: %v", script, err)
	}
	if got, want := dump(t, today), dump(t, past); !slices.Equal(got, want) {
		t.Errorf("the rows are %q, want %q; the SQL is %q", got, want, script)
	}
}

// The expression of a value has the value, and no character that a script cannot have.
func TestQuoteSQL(t *testing.T) {
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, v := range []any{
		nil, int64(math.MinInt64), int64(12), 12.0, math.Copysign(0, -1), 0.1, 1e300, math.Inf(1), math.Inf(-1), []byte{}, []byte("\x00\r"),
		"", "it's", "a\x00b", "\x00", "a\r\nb", "\r\x00\ue000\ue001'\r\x00", "\n",
	} {
		sql := quoteSQL(v)
		stmt, _, err := conn.Prepare("SELECT " + sql)
		if err != nil {
			t.Fatalf("%q: %v", sql, err)
		}
		var got any
		if stmt.Step() {
			switch stmt.ColumnType(0) {
			case sqlite3.INTEGER:
				got = stmt.ColumnInt64(0)
			case sqlite3.FLOAT:
				got = stmt.ColumnFloat(0)
			case sqlite3.TEXT:
				got = stmt.ColumnText(0)
			case sqlite3.BLOB:
				got = stmt.ColumnBlob(0, []byte{})
			}
		}
		if err := errors.Join(stmt.Err(), stmt.Close()); err != nil {
			t.Fatal(err)
		}
		if !isSameValue(got, v) || strings.ContainsAny(sql, "\x00\r") {
			t.Errorf("%#v: %q has the value %#v", v, sql, got)
		}
	}
}

// An update shows the key and what has changed, also after a NUL, or only in its type.
func TestFieldsOf(t *testing.T) {
	columns := []string{"k", "a", "b", "c"}
	c := litestream.Change{Key: []int{0}, Columns: columns, OldColumns: columns, Old: []any{"k", "a\x00x", int64(1), []byte("c")}, New: []any{"k", "a\x00y", 1.0, []byte("c")}}
	if got, want := fieldsOf(c.Columns, c.New, &c), "k='k', a: 'a␀x' -> 'a␀y', b: 1 -> 1.0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	columns = []string{"ä", "Ä"} // two columns
	c = litestream.Change{Columns: columns, OldColumns: columns, Old: []any{int64(1), int64(2)}, New: []any{int64(1), int64(3)}}
	if got, want := fieldsOf(c.Columns, c.New, &c), "Ä: 2 -> 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
