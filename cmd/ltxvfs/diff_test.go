package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream"
)

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
	} {
		if got := deleteOf(tt.change); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
