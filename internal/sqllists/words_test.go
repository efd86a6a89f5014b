package sqllists

import (
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for _, tc := range []struct{ sql, want string }{
		{"", ""},
		{"SELECT x.b FROM Ties x JOIN main.notes AS n ON n.a=?1", "select x b from ties x join main notes as n on n a 1"},
		{`SELECT "first name", [Last] FROM "My.Table" -- WHERE x`, `select first name last from my table`},
		{"SELECT 'people' /* notes */ FROM `marks`;", "select from marks"},
		{`SELECT "`, "select"},
		{"SELECT Ä.ÉTÉ FROM \"Übung\"", "select Ä ÉtÉ from Übung"}, // only A to Z have two cases
		{strings.Repeat(" ", MaxText) + "people", ""},
	} {
		if got := strings.Join(slices.Collect(Words(tc.sql)), " "); got != tc.want {
			t.Errorf("%.60q has the words %q, want %q", tc.sql, got, tc.want)
		}
	}
	for word := range Words("SELECT a FROM b") {
		if word != "select" {
			t.Errorf("%q came after the loop had ended", word)
		}
		break
	}
}

// FuzzWords looks for the words of any text. They are not empty, and no longer than
// the text.
func FuzzWords(f *testing.F) {
	f.Add("SELECT x.b FROM \"ties\" x, `notes`, [marks] WHERE a = 'b''c' -- d")
	f.Fuzz(func(t *testing.T, sql string) {
		n := 0
		for word := range Words(sql) {
			if word == "" || strings.Contains(word, ".") {
				t.Errorf("%q has the word %q", sql, word)
			}
			n++
		}
		if n > len(sql) {
			t.Errorf("%q has %d words", sql, n)
		}
	})
}
