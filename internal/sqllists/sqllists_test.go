package sqllists

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/btree"
)

// show writes lists down, integers as they are and texts in quotes.
func show(lists [][]btree.Value) string {
	var all []string
	for _, list := range lists {
		var values []string
		for _, v := range list {
			i, ok := v.Integer()
			if text := fmt.Sprint(i); ok {
				values = append(values, text)
				continue
			}
			values = append(values, "text")
		}
		all = append(all, strings.Join(values, " "))
	}
	return strings.Join(all, "; ")
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ sql, want string }{
		{"", ""},
		{"SELECT * FROM t WHERE id IN (1,2,3,4,5,6,7)", ""}, // too few
		{"SELECT * FROM t WHERE id IN (1,2,3,4,5,6,7,8)", "1 2 3 4 5 6 7 8"},
		{"SELECT * FROM t WHERE id IN ( 8, 7,6,\n5,4,3,2,1, 1 )", "1 2 3 4 5 6 7 8; 8 7 6 5 4 3 2 1 1"},
		{"SELECT * FROM t WHERE id IN (-8,7,-6,5,-4,3,2,1) -- (1,2,3,4,5,6,7,8,9)", "-8 -6 -4 1 2 3 5 7; -8 7 -6 5 -4 3 2 1"},
		{"SELECT /* (1,2,3,4,5,6,7,8,9) */ 1", ""},
		{"SELECT '(1,2,3,4,5,6,7,8,9)'", ""},
		{"SELECT * FROM t WHERE k IN ('a','b','c''d','d','e','f','g','h')", "text text text text text text text text"},
		{"SELECT * FROM t WHERE k IN (1,2,3,4,x,5,6,7,8,9)", ""},
		{"SELECT * FROM t WHERE k IN (1,2,3,4,5.5,6,7,8,9)", ""},
		{"SELECT * FROM t WHERE (a, b) IN ((1,2),(3,4),(5,6),(7,8))", ""},
		{"SELECT max(1,2,3,4,5,6,7,8,)", ""},
		{"SELECT * FROM json_each('[3, 1, 2, 4, 5, 6, 7, 8]')", "1 2 3 4 5 6 7 8; 3 1 2 4 5 6 7 8"},
		{`SELECT * FROM json_each('["a", "b", "c", "d", "e", "f", "g", "h"]')`, "text text text text text text text text"},
		{"SELECT * FROM json_each('[3, 1, 2, 4, 5, 6, 7, [8]]')", ""},
		{"SELECT * FROM json_each('[1, 2, 3, 4, 5, 6, 7, 8')", ""},
		{"SELECT 'not closed (1,2,3,4,5,6,7,8)", ""},
		{`SELECT "(1,2,3,4,5,6,7,8)" FROM t`, ""},
		{"SELECT (1,2,3,4,5,6,7,9223372036854775808)", ""},
		{strings.Repeat("SELECT (1,2,3,4,5,6,7,8);", 20), strings.TrimSuffix(strings.Repeat("1 2 3 4 5 6 7 8; ", 8), "; ")},
		{strings.Repeat(" ", MaxText) + "(1,2,3,4,5,6,7,8)", ""},
	} {
		if got := show(Parse(tc.sql)); got != tc.want {
			t.Errorf("%.60q has lists %s, want %s", tc.sql, got, tc.want)
		}
	}
}

// FuzzParse parses any text. Lists are bounded, and the first of two is in order.
func FuzzParse(f *testing.F) {
	f.Add("SELECT * FROM t WHERE id IN (8,7,6,5,4,3,2,1) OR k IN ('a''', 'b', \"c\")")
	f.Add("SELECT * FROM json_each('[1,2,3,4,5,6,7,\"8\"]') -- x\n/* y */ + -1")
	f.Fuzz(func(t *testing.T, sql string) {
		lists := Parse(sql)
		if len(lists) > maxLists+1 {
			t.Errorf("%d lists", len(lists))
		}
		for _, list := range lists {
			if len(list) == 0 || len(list) > maxValues {
				t.Errorf("%d values", len(list))
			}
			for _, v := range list {
				v.Compare(v)
			}
		}
	})
}

func TestMayHave(t *testing.T) {
	for sql, want := range map[string]bool{
		"":                             false,
		"SELECT * FROM t WHERE id = ?": false,
		"INSERT INTO t VALUES (?, ?)":  false,
		"SELECT * FROM a INNER JOIN b ON a.x = b.in_": false,
		"SELECT min(x), inx, x.in FROM t":             false,
		"SELECT * FROM t WHERE id IN (?, ?)":          true,
		"select * from t where id in(?, ?)":           true,
		"SELECT * FROM t, JSON_EACH(?)":               true,
		"SELECT * FROM t, f('[1, 2]')":                true,
		"SELECT * FROM t WHERE id IN":                 true,
	} {
		if got := MayHave(sql); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}
