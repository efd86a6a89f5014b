package rowdiff_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/rowdiff"
)

// Rows that are older than a column have its default value. SQLite stores that value
// once it writes the row again, so both have to be equal.
func TestDiff_Defaults(t *testing.T) {
	columns := []string{
		"INT DEFAULT 010", "DEFAULT 010", "DEFAULT -010", "DEFAULT 08", "DEFAULT 0x1f", "DEFAULT 0X1F", "INT DEFAULT 0xFFFFFFFFFFFFFFFF", "DEFAULT 0x8000000000000000",
		"DEFAULT 1_000", "DEFAULT 1_0.5", "DEFAULT 0x1_0", "DEFAULT 9223372036854775807", "DEFAULT 9223372036854775808", "DEFAULT -9223372036854775808",
		"DEFAULT +5", "DEFAULT -5", "DEFAULT - 5", "DEFAULT + 0x10", "DEFAULT -0x10", "DEFAULT 1e3", "DEFAULT 1.", "DEFAULT .5", "DEFAULT -.5e1", "INT DEFAULT 5.0", "REAL DEFAULT 5", "TEXT DEFAULT 5", "TEXT DEFAULT 5.0", "TEXT DEFAULT 0x10", "TEXT DEFAULT 0.3333333333333333", "TEXT DEFAULT 1234567.12345678", "TEXT DEFAULT 1e15", "TEXT DEFAULT 1e-7", "TEXT DEFAULT -1.50", "TEXT DEFAULT +1.50", "TEXT DEFAULT 010", "TEXT DEFAULT 2147483647", "TEXT DEFAULT 02147483648", "TEXT DEFAULT -2147483647", "TEXT DEFAULT -02147483648", "TEXT DEFAULT 0x7fffffff", "TEXT DEFAULT 0xffffffff", "TEXT DEFAULT -0x1F", "TEXT DEFAULT 1_000", "TEXT DEFAULT 1_0.5_0", "TEXT DEFAULT 09223372036854775807", "TEXT DEFAULT 09223372036854775808", "TEXT DEFAULT -09223372036854775808", "TEXT DEFAULT -9223372036854775807", "TEXT DEFAULT -09223372036854775807", "TEXT DEFAULT 0x8000000000000000", "TEXT DEFAULT 0xffffffffffffffff", "TEXT DEFAULT -0x8000000000000001", "TEXT DEFAULT .5", "TEXT DEFAULT 5.", "TEXT DEFAULT (0.50)", "TEXT DEFAULT (-0.50)", "CLOB DEFAULT 9e999",
		"DEFAULT 'it''s'", "INT DEFAULT '12'", "INT DEFAULT '012'", "INT DEFAULT '0x10'", "INT DEFAULT '1_0'", "INT DEFAULT ' 12 '", "NUMERIC DEFAULT '1e2'", "INT DEFAULT '12x'", "REAL DEFAULT '7'",
		"DEFAULT inf", "DEFAULT Infinity", "DEFAULT nan", "DEFAULT NaN", "REAL DEFAULT 'inf'", "REAL DEFAULT 'nan'", "DEFAULT 1e999", "DEFAULT -1e999", "DEFAULT \"quoted\"",
		"DEFAULT x'00ff'", "DEFAULT X'AB'", "DEFAULT x", "DEFAULT xy", "DEFAULT _", "DEFAULT _1", "DEFAULT __1_", "DEFAULT e1", "DEFAULT NULL", "DEFAULT (NULL)", "DEFAULT (5)", "DEFAULT (-5)", "INT DEFAULT ( + 5 )", "DEFAULT ('x')", "DEFAULT ('it''s')", "DEFAULT ((7))", "DEFAULT (x'00ff')", "DEFAULT (X'')", "DEFAULT (TRUE)", "TEXT DEFAULT (false)", "DEFAULT (1.5)", "DEFAULT (.5)", "DEFAULT (-0x10)", "DEFAULT (1_0)", "TEXT DEFAULT ('(')", "DEFAULT ''", "INT DEFAULT ''", "INT DEFAULT '-'", "DEFAULT '+-'", "DEFAULT TRUE", "DEFAULT false", "TEXT DEFAULT TRUE", "REAL DEFAULT true",
		"ANY DEFAULT '12'", "ANY DEFAULT 'x'", "FLOATING POINT DEFAULT '12'", "CHARINT DEFAULT '12'", "STRING DEFAULT '12'", "BLOB DEFAULT '12'", "DECIMAL(10, 5) DEFAULT '1.50'",
		"INT REFERENCES d ON DELETE SET DEFAULT ON UPDATE CASCADE", "REFERENCES d ON UPDATE SET DEFAULT NOT DEFERRABLE", "REFERENCES d ON DELETE SET DEFAULT DEFAULT 7", "DEFAULT 7 REFERENCES d ON DELETE SET DEFAULT",
	}
	h := newHistory(t, 1, 4096)
	h.exec("CREATE TABLE d (k INTEGER PRIMARY KEY, v)")
	h.exec("INSERT INTO d VALUES (1, 1)")
	for i, c := range columns {
		h.exec("ALTER TABLE d ADD COLUMN c%d %s", i, c)
	}
	a := h.image()
	h.exec("UPDATE d SET v = 2")
	b := h.image()
	var reads atomic.Int64
	found := 0
	err := rowdiff.Diff(context.Background(), a.state(&reads), b.state(&reads), options(a, b), func(c rowdiff.Change) error {
		found++
		if len(c.Old) != len(columns)+2 || len(c.New) != len(columns)+2 {
			t.Fatalf("the row had %d values and has %d, want %d", len(c.Old), len(c.New), len(columns)+2)
		}
		for i, column := range columns {
			if got, want := c.Old[i+2], c.New[i+2]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: the row had %#v, and SQLite wrote %#v", column, got, want)
			}
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("%d changes, %v", found, err)
	}
}

// A default value that is an expression is not known, and the error shows it. It does not
// matter for rows that have a value.
func TestDiff_ExpressionDefault(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE d (k INTEGER PRIMARY KEY, v); INSERT INTO d VALUES (1, 1), (2, 2); ALTER TABLE d ADD COLUMN c DEFAULT (- (5))")
	a := h.image()
	h.exec("UPDATE d SET v = 3 WHERE k = 1")
	b := h.image()
	h.exec("UPDATE d SET v = 4 WHERE k = 1")
	c := h.image()
	var reads atomic.Int64
	if got, err := changes(t, a, b, &reads, 0); !errors.Is(err, errors.ErrUnsupported) || !strings.HasSuffix(err.Error(), "column c: its default is an expression: (- ( 5 ))") {
		t.Errorf("a row without a value: %q, %v", got, err)
	}
	if got, err := changes(t, b, c, &reads, 0); err != nil || len(got) != 1 {
		t.Errorf("a row with a value: %q, %v", got, err)
	}
	for _, text := range []string{"(-'5')", "(-NULL)", "(+NULL)"} {
		h.exec("CREATE TABLE f (v); INSERT INTO f VALUES (1)")
		if _, err := h.db.Exec("ALTER TABLE f ADD COLUMN c DEFAULT " + text); err != nil {
			t.Logf("%s: %v", text, err)
		} else {
			a := h.image()
			h.exec("UPDATE f SET v = 2")
			if got, err := changes(t, a, h.image(), &reads, 0); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: %q, %v", text, got, err)
			}
		}
		h.exec("DROP TABLE f")
	}
}

// The key of a table is of columns that it has.
func TestDiff_DamagedKey(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE rowid (first INTEGER, second, PRIMARY KEY (first)); CREATE TABLE key (third, fourth, PRIMARY KEY (fourth, third)) WITHOUT ROWID")
	h.exec("INSERT INTO rowid VALUES (1, 2); INSERT INTO key VALUES (1, 2)")
	a := h.image()
	h.exec("UPDATE rowid SET second = 3; UPDATE key SET third = 3")
	b := h.image()
	for _, name := range []string{"(first)", "(fourth,", ", third)"} {
		x, y := slices.Clone(a), slices.Clone(b)
		for _, m := range []image{x, y} {
			copy(m, bytes.ReplaceAll(m, []byte(name), bytes.ReplaceAll([]byte(name), []byte("r"), []byte("q"))))
		}
		var reads atomic.Int64
		if got, err := changes(t, x, y, &reads, 0); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s names no column: %q, %v", name, got, err)
		}
	}
}

// A statement whose key is a column that is computed is none of SQLite, which refuses it.
func TestDiff_GeneratedKey(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE x (a, b /*         */ PRIMARY KEY) WITHOUT ROWID; INSERT INTO x VALUES (1, 2)")
	h.exec("CREATE TABLE y (a, b INTEGER /*         */, PRIMARY KEY (b)); INSERT INTO y VALUES (1, 2)")
	a := h.image()
	h.exec("UPDATE x SET a = 3; UPDATE y SET a = 3")
	b := h.image()
	for _, name := range []string{"x", "y"} {
		for _, as := range []string{"AS (1)       ", "AS (1) STORED"} {
			x, y := slices.Clone(a), slices.Clone(b)
			for _, m := range []image{x, y} {
				copy(m, bytes.ReplaceAll(m, []byte("/*         */"), []byte(as)))
			}
			var reads atomic.Int64
			opts := options(x, y)
			opts.Tables = []string{name}
			err := rowdiff.Diff(t.Context(), x.state(&reads), y.state(&reads), opts, func(c rowdiff.Change) error {
				t.Errorf("table %s with %s: %+v", name, as, c)
				return nil
			})
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("table %s with %s: %v", name, as, err)
			}
		}
	}
}

// A statement that is cut off in a default value gives any value, and no panic.
func TestDiff_DamagedDefault(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE d (k INTEGER PRIMARY KEY, v); INSERT INTO d VALUES (1, 1); ALTER TABLE d ADD COLUMN c DEFAULT -5")
	a := h.image()
	h.exec("UPDATE d SET v = 2")
	b := h.image()
	for _, other := range []string{"- ", "--", "-)", "+ "} {
		x, y := slices.Clone(a), slices.Clone(b)
		for _, m := range []image{x, y} {
			copy(m, bytes.ReplaceAll(m, []byte("DEFAULT -5"), []byte("DEFAULT "+other)))
		}
		var reads atomic.Int64
		if got, err := changes(t, x, y, &reads, 0); len(got) > 1 || err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%q: %q, %v", other, got, err)
		}
	}
}

// A table without rowids whose key is in another order was made anew, and has all its
// rows anew.
func TestDiff_KeyOrder(t *testing.T) {
	const ascending, descending = "PRIMARY KEY (x)", "PRIMARY KEY (x DESC)"
	for _, tt := range [][2]string{
		{ascending, descending}, {descending, ascending}, {ascending, "PRIMARY KEY (x COLLATE NOCASE)"}, {ascending, "PRIMARY KEY (y)"}, {ascending, "PRIMARY KEY (x, y)"},
	} {
		h := newHistory(t, 1, 4096)
		make := func(key string) image {
			h.exec("DROP TABLE IF EXISTS u; CREATE TABLE u (x, y, %s) WITHOUT ROWID; INSERT INTO u VALUES (1, 2), (3, 4), (5, 6)", key)
			return h.image()
		}
		a, b := make(tt[0]), make(tt[1])
		var reads atomic.Int64
		got, err := changes(t, a, b, &reads, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{"dropped u": true, "created u": true}
		for _, row := range [][]any{{int64(1), int64(2)}, {int64(3), int64(4)}, {int64(5), int64(6)}} {
			want[text("u", "", row, nil)] = true
			want[text("u", "", nil, row)] = true
		}
		compare(t, tt[0]+" becomes "+tt[1], got, want)
	}
}

// TestDiff_Tables names the tables that are compared, in any case.
func TestDiff_Tables(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.exec("CREATE TABLE Mixed (k INTEGER PRIMARY KEY)")
	a := h.image()
	h.exec("INSERT INTO Mixed VALUES (1); INSERT INTO plain VALUES (1, 1); INSERT INTO t (id) VALUES (1)")
	b := h.image()
	for _, tt := range []struct {
		tables []string
		may    bool
		want   []string // nil: an error
	}{
		{tables: nil, want: []string{"Mixed", "plain", "t"}},
		{tables: []string{"mixed"}, want: []string{"Mixed"}},
		{tables: []string{"PLAIN", "Mixed", "plain"}, want: []string{"Mixed", "plain"}},
		{tables: []string{"mixed", "absent"}, may: true, want: []string{"Mixed"}},
		{tables: []string{"mixed", "absent"}},
	} {
		var reads atomic.Int64
		opts := options(a, b)
		opts.Tables, opts.MayLack = tt.tables, tt.may
		var got []string
		err := rowdiff.Diff(t.Context(), a.state(&reads), b.state(&reads), opts, func(c rowdiff.Change) error {
			got = append(got, c.Table)
			return nil
		})
		if tt.want == nil {
			if !errors.Is(err, rowdiff.ErrNoTable) {
				t.Errorf("%q: %v", tt.tables, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: changes of %q, %v; want %q", tt.tables, got, err, tt.want)
		}
	}
	var reads atomic.Int64
	if err := rowdiff.HasTables(t.Context(), b.state(&reads), []string{"MIXED", "plain"}); err != nil {
		t.Error(err)
	}
	if err := rowdiff.HasTables(t.Context(), b.state(&reads), []string{"plain", "absent"}); !errors.Is(err, rowdiff.ErrNoTable) {
		t.Errorf("a table that is absent: %v", err)
	}
	wrong := errors.New("wrong")
	if err := rowdiff.HasTables(t.Context(), rowdiff.State{Commit: 1, Page: func(context.Context, uint32) ([]byte, error) { return nil, wrong }}, nil); !errors.Is(err, wrong) {
		t.Errorf("pages that cannot be read: %v", err)
	}
}

// SQLite knows no case of letters beyond A to Z, so names that differ in that case are those
// of two tables.
func TestDiff_LettersOfTables(t *testing.T) {
	for encoding, h := range encodings(t, 4096) {
		var images []image
		var contents []content
		for _, statements := range []string{
			`CREATE TABLE "ä" (a); INSERT INTO "ä" VALUES (1)`,
			`CREATE TABLE "Ä" (a); INSERT INTO "Ä" VALUES (2)`,
			`UPDATE "ä" SET a = 3; UPDATE "Ä" SET a = 4`,
			`DROP TABLE "ä"`,
		} {
			h.exec("%s", statements)
			images, contents = append(images, h.image()), append(contents, read(t, h.db))
		}
		var reads atomic.Int64
		for from := range images {
			for to := range images {
				got, err := changes(t, images[from], images[to], &reads, 0)
				if err != nil {
					t.Fatalf("%s, from %d to %d: %v", encoding, from, to, err)
				}
				compare(t, fmt.Sprintf("%s, from %d to %d", encoding, from, to), got, expected(contents[from], contents[to]))
			}
		}
		for _, name := range []string{"ä", "Ä"} {
			opts := options(images[1], images[2])
			opts.Tables = []string{name}
			var got []string
			err := rowdiff.Diff(t.Context(), images[1].state(&reads), images[2].state(&reads), opts, func(c rowdiff.Change) error {
				got = append(got, c.Table)
				return nil
			})
			if err != nil || !slices.Equal(got, opts.Tables) {
				t.Errorf("%s, table %s: changes of %q, %v", encoding, name, got, err)
			}
		}
	}
}

// Types, too, have two cases of the letters A to Z only: U+0131 is an i without its dot,
// which has the upper case I elsewhere. The values are older than the column.
func TestDiff_LettersOfTypes(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE d (k INTEGER PRIMARY KEY, v); INSERT INTO d VALUES (1, 1); ALTER TABLE d ADD COLUMN c TEXT\u0131NT DEFAULT 5")
	a, before := h.image(), read(t, h.db)
	h.exec("UPDATE d SET v = 2")
	b, after := h.image(), read(t, h.db)
	var reads atomic.Int64
	got, err := changes(t, a, b, &reads, 0)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "TEXT\u0131NT", got, expected(before, after))
}

// TestDiff_KeyOfNumbers compares tables whose keys are integers and floats that are
// close to each other, in two states of which each has keys that the other lacks.
func TestDiff_KeyOfNumbers(t *testing.T) {
	keys := []string{
		"-1e19", "-9223372036854775808", "-9223372036854775807", "-1.5", "-1", "-0.5", "0", "0.5", "1", "1.5", "2",
		"9007199254740992.0", "9007199254740993", "9007199254740994.0", "9223372036854775807", "9223372036854775808.0", "1e19", "9e999", "''", "x''", "'1'", "x'31'",
	}
	for _, order := range []string{"ASC", "DESC"} {
		h := newHistory(t, 1, 4096)
		h.exec("CREATE TABLE n (k BLOB, v, PRIMARY KEY (k %s)) WITHOUT ROWID", order)
		for i, k := range keys {
			if i%3 != 0 {
				h.exec("INSERT INTO n VALUES (%s, 1)", k)
			}
		}
		a, before := h.image(), read(t, h.db)
		for i, k := range keys {
			switch i % 3 {
			case 0:
				h.exec("INSERT INTO n VALUES (%s, 2)", k)
			case 1:
				h.exec("DELETE FROM n WHERE k = %s", k)
			}
		}
		b, after := h.image(), read(t, h.db)
		var reads atomic.Int64
		for _, known := range []int{0, -1} {
			got, err := changes(t, a, b, &reads, known)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, order, got, expected(before, after))
		}
	}
}

// A program may order the rows of a table in its own way. The test renames a collation
// in the bytes of the schema.
func TestDiff_UnknownCollation(t *testing.T) {
	failed := 0
	for seed := range uint64(6) { // of which some have each encoding of texts
		h := newHistory(t, seed, 512, 4096)
		h.exec("CREATE TABLE c (k TEXT COLLATE RTRIM, n INT, v, PRIMARY KEY (k, n)) WITHOUT ROWID")
		h.exec("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 300) INSERT INTO c SELECT 'key' || (i %% 50), i, i FROM s")
		h.exec("INSERT INTO c VALUES (CAST('key7' AS BLOB), 7, 'of bytes'), (x'', 1, 1)")
		a, before := h.image(), read(t, h.db)
		h.exec("UPDATE c SET v = v || 'x' WHERE n %% 40 = 7; DELETE FROM c WHERE n %% 50 = 9; INSERT INTO c VALUES ('another', 1, 2), ('key3', 1.5, 3)")
		b, after := h.image(), read(t, h.db)
		for _, m := range []image{a, b} {
			for _, pair := range [][2]string{{"RTRIM", "OURS_"}, {"R\x00T\x00R\x00I\x00M\x00", "O\x00U\x00R\x00S\x00_\x00"}, {"\x00R\x00T\x00R\x00I\x00M", "\x00O\x00U\x00R\x00S\x00_"}} {
				copy(m, bytes.ReplaceAll(m, []byte(pair[0]), []byte(pair[1])))
			}
		}
		var reads atomic.Int64
		for _, known := range []int{0, -1} {
			got, err := changes(t, a, b, &reads, known)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			compare(t, fmt.Sprintf("seed %d, known %d", seed, known), got, expected(before, after))
		}
		wrong, root := errors.New("wrong"), b.page(h.rootOf("c"))
		if root[0] != 2 {
			continue // it is a leaf
		}
		failed++
		last := binary.BigEndian.Uint32(root[8:]) // the walk down the tree reads the first leaf
		for _, isOld := range []bool{true, false} {
			from, to, _ := failing(a, b, isOld, last, wrong)
			opts := options(a, b)
			opts.Tables, opts.Known = []string{"c"}, -1
			if err := rowdiff.Diff(t.Context(), from, to, opts, func(rowdiff.Change) error { return nil }); !errors.Is(err, wrong) {
				t.Errorf("seed %d, old %v: a leaf that cannot be read: %v", seed, isOld, err)
			}
		}
	}
	if failed == 0 {
		t.Error("no table has several leaves")
	}
}

// By the collation of the program, the key of an inserted row can be that of a deleted one.
// So the deleted row comes first.
func TestDiff_UnknownCollationOrder(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE c (k TEXT PRIMARY KEY COLLATE RTRIM, v) WITHOUT ROWID; INSERT INTO c VALUES ('a', 1), ('b', 1), ('c', 1)")
	a := h.image()
	h.exec("UPDATE c SET k = 'b  ' WHERE k = 'b'; UPDATE c SET v = 2 WHERE k <> 'b'; INSERT INTO c VALUES ('0', 3)")
	b := h.image()
	for _, m := range []image{a, b} {
		copy(m, bytes.ReplaceAll(m, []byte("RTRIM"), []byte("OURS_")))
	}
	want := []string{
		text("c", "", []any{"a", int64(1)}, []any{"a", int64(2)}),
		text("c", "", []any{"b", int64(1)}, nil),
		text("c", "", []any{"c", int64(1)}, []any{"c", int64(2)}),
		text("c", "", nil, []any{"0", int64(3)}),
		text("c", "", nil, []any{"b  ", int64(1)}),
	}
	var reads atomic.Int64
	for _, known := range []int{0, -1} {
		got, err := changes(t, a, b, &reads, known)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("known %d: %q, %v; want %q", known, got, err, want)
		}
	}
}

// A text in UTF-16 of a damaged record may have half a character at its end.
func TestDiff_HalfCharacter(t *testing.T) {
	found := 0
	for seed := range uint64(6) { // of which some have each encoding of texts
		h := newHistory(t, seed, 4096)
		a := h.image()
		h.exec("INSERT INTO plain VALUES ('ab', 7)")
		b := h.image()
		record := []byte{3, 21, 1, 'a', 0, 'b', 0, 7} // a text of four bytes
		at := bytes.Index(b, record)
		if at < 0 {
			continue // another encoding
		}
		found++
		b[at+1] = 19 // of three
		var reads atomic.Int64
		if got, err := changes(t, a, b, &reads, 0); err != nil || len(got) != 1 || !strings.Contains(got[0], "string:a ") {
			t.Errorf("seed %d: %q, %v", seed, got, err)
		}
	}
	if found == 0 {
		t.Error("no database has texts in UTF-16")
	}
}

// TestDiff_RightTrim has keys that are compared without the spaces at their ends, by the
// bytes of UTF-8, whatever the encoding of the database is.
func TestDiff_RightTrim(t *testing.T) {
	keys := []string{"a", "b ", "b!  ", "c   ", "c  d ", "é ", "\ue000 ", "\U00010000  ", "\uffff", "", "ab ", "\u0100 "}
	for encoding, h := range encodings(t, 4096) {
		insert := func(i int, v int) {
			if _, err := h.db.Exec("INSERT OR REPLACE INTO v (k, x) VALUES (?, ?)", keys[i], v); err != nil {
				t.Fatal(err)
			}
		}
		for i := range keys {
			if i%3 > 0 {
				insert(i, 1)
			}
		}
		a, before := h.image(), read(t, h.db)
		for i := range keys {
			switch i % 3 {
			case 0:
				insert(i, 2)
			case 1:
				if _, err := h.db.Exec("DELETE FROM v WHERE k = ?", keys[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		b, after := h.image(), read(t, h.db)
		var reads atomic.Int64
		for _, known := range []int{0, -1} {
			got, err := changes(t, a, b, &reads, known)
			if err != nil {
				t.Fatalf("%s: %v", encoding, err)
			}
			compare(t, encoding, got, expected(before, after))
		}
	}
}

// TestDiff_Strict has default values in a table that keeps values of other types out.
func TestDiff_Strict(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.exec("CREATE TABLE d (k INTEGER PRIMARY KEY, v INT) STRICT; INSERT INTO d VALUES (1, 1)")
	for i, c := range []string{"ANY DEFAULT '12'", "ANY DEFAULT 012", "TEXT DEFAULT 12", "REAL DEFAULT 12", "INT DEFAULT '12'", "BLOB DEFAULT x'12'"} {
		h.exec("ALTER TABLE d ADD COLUMN c%d %s", i, c)
	}
	a := h.image()
	h.exec("UPDATE d SET v = 2")
	b := h.image()
	var reads atomic.Int64
	err := rowdiff.Diff(t.Context(), a.state(&reads), b.state(&reads), options(a, b), func(c rowdiff.Change) error {
		if len(c.Old) != 8 || !reflect.DeepEqual(c.Old[2:], c.New[2:]) {
			t.Errorf("the row had %#v, and SQLite wrote %#v", c.Old, c.New)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A virtual table is created, altered and dropped, and has no rows of its own.
func TestDiff_Virtual(t *testing.T) {
	h := newHistory(t, 1, 4096)
	only := func(a, b image) (got []string) {
		t.Helper()
		var reads atomic.Int64
		all, err := changes(t, a, b, &reads, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range all {
			if strings.HasSuffix(change, " area") || strings.HasPrefix(change, "area ") {
				got = append(got, change)
			}
		}
		return got
	}
	empty := h.image()
	h.exec("CREATE VIRTUAL TABLE area USING rtree(id, west, east)")
	h.exec("INSERT INTO area VALUES (1, 2, 3)")
	with := h.image()
	h.exec("INSERT INTO area VALUES (2, 2, 3)")
	more := h.image()
	h.exec("DROP TABLE area; CREATE VIRTUAL TABLE area USING rtree(id, west, east, south, north)")
	other := h.image()
	h.exec("DROP TABLE area; CREATE TABLE area (id); INSERT INTO area VALUES (5)")
	plain := h.image()
	for _, tt := range []struct {
		name     string
		from, to image
		want     []string
	}{
		{"created", empty, with, []string{"created area"}},
		{"a row more", with, more, nil},
		{"other columns", more, other, []string{"altered area"}},
		{"a plain table", other, plain, []string{"dropped area", "created area", text("area", "1", nil, []any{int64(5)})}},
		{"a virtual one again", plain, other, []string{text("area", "1", []any{int64(5)}, nil), "dropped area", "created area"}},
		{"dropped", other, empty, []string{"dropped area"}},
	} {
		if got := only(tt.from, tt.to); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
