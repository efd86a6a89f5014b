package rowdiff_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/rowdiff"
)

// TestDiff_Columns says of changes which columns there are, and which of them are the key
// or generated. Virtual ones are left out.
func TestDiff_Columns(t *testing.T) {
	h := plain(t, 4096, false)
	for name, c := range map[string]struct {
		definition, insert string
		columns            string
		rowid              string // the column that is the rowid
		hasRowid           bool
		key, generated     []int
	}{
		"plain":       {"(a, b)", "(a, b) VALUES (1, 2)", "a b", "", true, nil, nil},
		"rowid":       {"(a, id INTEGER PRIMARY KEY)", "(a) VALUES (1)", "a id", "id", true, nil, nil},
		"virtual":     {"(a, v AS (a + 1), b, w AS (b), c)", "(a, b, c) VALUES (1, 2, 3)", "a b c", "", true, nil, nil},
		"stored":      {"(v AS (a + 1), s AS (a * 2) STORED, a, w AS (a), r AS (a) STORED)", "(a) VALUES (1)", "s a r", "", true, nil, []int{0, 2}},
		"rowid below": {"(id INTEGER, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "id", true, nil, nil},
		"rowid named": {"(id INTEGER CONSTRAINT c NOT NULL, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "id", true, nil, nil},
		"no type":     {"(id, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"no rowid":    {"(id INTEGER UNSIGNED, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"descending":  {"(id INTEGER PRIMARY KEY DESC, a)", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"key twice":   {"(a, b, c, PRIMARY KEY (b, a, b)) WITHOUT ROWID", "VALUES (1, 2, 3)", "a b c", "", false, []int{1, 0}, nil},
		"two orders":  {"(a, b, PRIMARY KEY (a, b COLLATE NOCASE, b)) WITHOUT ROWID", "VALUES (1, 'x')", "a b", "", false, []int{0, 1, 1}, nil},
		"key":         {"(a, b, c, PRIMARY KEY (c, a)) WITHOUT ROWID", "VALUES (1, 2, 3)", "a b c", "", false, []int{2, 0}, nil},
		"no comma":    {"(id INTEGER, a, UNIQUE (a) PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "id", true, nil, nil},
		"no commas":   {"(a, b, c, CONSTRAINT \"PRIMARY\" CHECK (b) FOREIGN KEY (b) REFERENCES plain ON DELETE SET DEFAULT CONSTRAINT k PRIMARY KEY (c, a) UNIQUE (b)) WITHOUT ROWID", "VALUES (1, 2, 3)", "a b c", "", false, []int{2, 0}, nil},
		"letters":     {`("ä" TEXT, "Ä" INTEGER PRIMARY KEY)`, "VALUES ('x', 5)", "ä Ä", "Ä", true, nil, nil},
		"letter keys": {`("ä", "Ä", b, PRIMARY KEY ("Ä")) WITHOUT ROWID`, "VALUES (1, 2, 3)", "ä Ä b", "", false, []int{1}, nil},
		"virtual key": {"(v AS (a), a, w AS (a), b, s AS (b) STORED, PRIMARY KEY (b DESC)) WITHOUT ROWID", "(a, b) VALUES (1, 2)", "a b s", "", false, []int{1}, []int{2}},
	} {
		a := h.image()
		h.exec("CREATE TABLE x %s", c.definition)
		h.exec("INSERT INTO x %s", c.insert)
		b, after := h.image(), expected(content{}, read(t, h.db))
		h.exec("DROP TABLE x")
		var reads atomic.Int64
		rows := 0
		opts := options(a, b)
		opts.Tables = []string{"x"}
		err := rowdiff.Diff(t.Context(), a.state(&reads), b.state(&reads), opts, func(got rowdiff.Change) error {
			if got.Kind != rowdiff.Inserted {
				return nil
			}
			rows++
			if want := after[text("x", key(got), nil, got.New)]; !want {
				t.Errorf("%s: the row is %v, which SQL does not say", name, got.New)
			}
			if strings.Join(got.Columns, " ") != c.columns || len(got.New) != len(got.Columns) || got.RowidColumn != c.rowid ||
				got.HasRowid != c.hasRowid || !slices.Equal(got.Key, c.key) || !slices.Equal(got.Generated, c.generated) {
				t.Errorf("%s: %+v", name, got)
			}
			return nil
		})
		if err != nil || rows != 1 {
			t.Errorf("%s: %d rows, %v", name, rows, err)
		}
	}
}

// TestDiff_Values compares rows before and after a change, with what SQL says of both.
func TestDiff_Values(t *testing.T) {
	values := []string{"NULL", "0", "0.0", "1", "''", "x''", "'0'", "x'30'", "'text'", "x'74657874'"}
	for _, from := range values {
		h := plain(t, 4096, false)
		for i := range values {
			h.exec("INSERT INTO plain (_rowid_, a, b) VALUES (%d, %d, %s)", i+1, i, from)
		}
		a, before := h.image(), read(t, h.db)
		for i, to := range values {
			h.exec("UPDATE plain SET b = %s WHERE _rowid_ = %d", to, i+1)
		}
		b, after := h.image(), read(t, h.db)
		var reads atomic.Int64
		got, err := changes(t, a, b, &reads, 0)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "from "+from, got, expected(before, after))
		if n := len(values) - 1; len(got) != n {
			t.Errorf("from %s: %d changes, want %d", from, len(got), n)
		}
	}
}

// A column is the same one before and after by its name, or by its place if it was
// renamed.
func TestDiff_RenamedColumns(t *testing.T) {
	for _, tt := range []struct {
		name, done string
		want       int // changes of rows
	}{
		{"a column more", "ALTER TABLE u ADD COLUMN c DEFAULT 7", 0},
		{"renamed", "ALTER TABLE u RENAME COLUMN a TO c", 0},
		{"both renamed", "ALTER TABLE u RENAME COLUMN a TO c; ALTER TABLE u RENAME COLUMN b TO d", 0},
		{"dropped", "ALTER TABLE u DROP COLUMN a", 0},
		{"the first one dropped, and another one added", "ALTER TABLE u DROP COLUMN a; ALTER TABLE u ADD COLUMN c DEFAULT 7", 0},
		{"the first one dropped, and one with other values added", "ALTER TABLE u DROP COLUMN a; ALTER TABLE u ADD COLUMN c DEFAULT 7; UPDATE u SET c = 8 WHERE b = 2", 1},
		{"the last one dropped, and another one added", "ALTER TABLE u DROP COLUMN b; ALTER TABLE u ADD COLUMN c; UPDATE u SET c = a + 1", 0},
		{"made anew with another column before the first one", "DROP TABLE u; CREATE TABLE u (c, a); INSERT INTO u VALUES (NULL, 1), (NULL, 3)", 0},
		{"made anew, and one with values before the first one", "DROP TABLE u; CREATE TABLE u (c, a); INSERT INTO u VALUES (NULL, 1), (5, 3)", 1},
	} {
		h := plain(t, 4096, false)
		h.exec("CREATE TABLE u (a, b); INSERT INTO u VALUES (1, 2), (3, 4)")
		a := h.image()
		h.exec("%s", tt.done)
		b := h.image()
		for _, known := range []int{0, -1} {
			var reads atomic.Int64
			got, err := changes(t, a, b, &reads, known)
			if err != nil || len(got) != 1+tt.want {
				t.Errorf("%s, known %d: %q, %v; want %d changes of rows", tt.name, known, got, err, tt.want)
			}
		}
	}
}

// A table without rowids whose key has a column of another name counts as made anew.
func TestDiff_RenamedKey(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE u (x PRIMARY KEY, y) WITHOUT ROWID; INSERT INTO u VALUES (1, 2), (3, 4)")
	a, before := h.image(), read(t, h.db)
	h.exec("ALTER TABLE u RENAME COLUMN x TO z")
	b, after := h.image(), read(t, h.db)
	var reads atomic.Int64
	got, err := changes(t, a, b, &reads, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := 6; len(got) != want { // two rows twice, and the table
		t.Errorf("%d changes, want %d", len(got), want)
	}
	compare(t, "a renamed key", got, expected(before, after))
}

// key returns the key of a row in the form of text.
func key(c rowdiff.Change) string {
	if c.HasRowid {
		return fmt.Sprint(c.Rowid)
	}
	return ""
}
