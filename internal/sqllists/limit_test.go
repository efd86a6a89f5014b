package sqllists

import (
	"math"
	"strings"
	"testing"
)

func TestLimit(t *testing.T) {
	for _, tc := range []struct {
		sql  string
		want int // -1: none
	}{
		{"", -1},
		{"SELECT * FROM t", -1},
		{"SELECT * FROM t LIMIT 10", 10},
		{"select * from t limit 10;", 10},
		{"SELECT * FROM t LIMIT 10 OFFSET 5", 15},
		{"SELECT * FROM t LIMIT 5, 10", 15},
		{"SELECT * FROM t LIMIT 0", 0},
		{"SELECT * FROM t LIMIT -1", -1},
		{"SELECT * FROM t LIMIT 10 OFFSET -1", -1},
		{"SELECT * FROM t LIMIT NULL", -1},
		{"SELECT * FROM t LIMIT ?", -1},
		{"SELECT * FROM t LIMIT 2 * 3", -1},
		{"SELECT * FROM t LIMIT 2 OFFSET 2 * 3", -1},
		{"SELECT * FROM t LIMIT (SELECT 3)", -1},
		{"SELECT * FROM t LIMIT", -1},
		{"SELECT * FROM t LIMIT 9223372036854775807 OFFSET 3", math.MaxInt},
		{"SELECT * FROM t LIMIT 9223372036854775808", -1},
		{"SELECT count(*) FROM (SELECT * FROM t LIMIT 10)", 10},
		{"SELECT (SELECT a FROM u LIMIT 1) FROM t LIMIT 20", 20},
		{"SELECT (SELECT a FROM u LIMIT 30) FROM t LIMIT 20; SELECT 1", 30},
		{"SELECT * FROM (SELECT * FROM t LIMIT 1 + 1) LIMIT 20", -1},
		{`SELECT "limit", 'LIMIT 3' FROM t -- LIMIT 4`, -1},
		{"SELECT a.limit, limits FROM t /* LIMIT 5 */ LIMIT /* */ 6", 6},
		{strings.Repeat(" ", MaxText) + "LIMIT 1", -1},
	} {
		got, ok := Limit(tc.sql)
		if !ok {
			got = -1
		}
		if got != tc.want {
			t.Errorf("%.60q has a limit of %d rows, want %d", tc.sql, got, tc.want)
		}
	}
}

// FuzzLimit looks for a limit in any text.
func FuzzLimit(f *testing.F) {
	f.Add("SELECT * FROM t LIMIT 10 OFFSET 5")
	f.Add("SELECT * FROM (SELECT 1 LIMIT 3, 4) LIMIT ?")
	f.Fuzz(func(t *testing.T, sql string) {
		if rows, ok := Limit(sql); rows < 0 || !ok && rows != 0 {
			t.Errorf("%q has a limit of %d rows, %v", sql, rows, ok)
		}
		if _, ok := Limit(sql); ok && !MayHave(sql) {
			t.Errorf("%q has a limit, but nothing that MayHave looks for", sql)
		}
	})
}
