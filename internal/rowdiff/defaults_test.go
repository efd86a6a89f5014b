package rowdiff_test

import (
	"context"
	"reflect"
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
		"DEFAULT +5", "DEFAULT -5", "DEFAULT - 5", "DEFAULT + 0x10", "DEFAULT -0x10", "DEFAULT 1e3", "DEFAULT 1.", "DEFAULT .5", "DEFAULT -.5e1", "INT DEFAULT 5.0", "REAL DEFAULT 5", "TEXT DEFAULT 5", "TEXT DEFAULT 5.0", "TEXT DEFAULT 0x10",
		"DEFAULT 'it''s'", "INT DEFAULT '12'", "INT DEFAULT '012'", "INT DEFAULT '0x10'", "INT DEFAULT '1_0'", "INT DEFAULT ' 12 '", "NUMERIC DEFAULT '1e2'", "INT DEFAULT '12x'", "REAL DEFAULT '7'",
		"DEFAULT inf", "DEFAULT Infinity", "DEFAULT nan", "DEFAULT NaN", "REAL DEFAULT 'inf'", "REAL DEFAULT 'nan'", "DEFAULT 1e999", "DEFAULT -1e999", "DEFAULT \"quoted\"",
		"DEFAULT x'00ff'", "DEFAULT X'AB'", "DEFAULT x", "DEFAULT xy", "DEFAULT NULL", "DEFAULT TRUE", "DEFAULT false", "TEXT DEFAULT TRUE", "REAL DEFAULT true",
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
