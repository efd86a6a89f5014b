package sqltokens

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		sql  string
		want []Token
	}{
		{"", nil},
		{"a DEFAULT 1e-3, b", []Token{"a", "DEFAULT", "1e-3", ",", "b"}},
		{"1E+3 .5e-1 0x1e-3 e-3 0X1E+3", []Token{"1E+3", ".5e-1", "0x1e", "-", "3", "e", "-", "3", "0X1E", "+", "3"}},
		{"x'0a' X'b' 'it''s' [a b] \"c\"\"d\"", []Token{"x'0a'", "X'b'", "'it''s'", "[a b]", `"c""d"`}},
		{"a -- b\n/* c */ d /* e", []Token{"a", "d"}},
		{"'open", []Token{"'open"}},
		{"0", []Token{"0"}},
	} {
		if got := Split(tc.sql); !slices.Equal(got, tc.want) {
			t.Errorf("%q has the tokens %q, want %q", tc.sql, got, tc.want)
		}
	}
}

// TestSplit_Linear checks that what a statement of many numbers allocates grows with
// its length, not with the square of it: the schema of a replica is foreign text.
func TestSplit_Linear(t *testing.T) {
	bytes := func(n int) float64 {
		sql := strings.Repeat("1E-3,", n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Split(sql)
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	if few, many := bytes(1000), bytes(16000); many > 32*few {
		t.Errorf("16 times the text allocates %.0f times the memory: %.0f and %.0f bytes", many/few, few, many)
	}
}

func TestTrimEmpty(t *testing.T) {
	for _, tc := range []struct{ sql, want string }{
		{"", ""},
		{" ;\n-- a; b\n;/* ; */;", ""},
		{"SELECT 1;; SELECT 2", "SELECT 1;; SELECT 2"},
		{"; /* c */ ;SELECT 2; -- d", "SELECT 2; -- d"},
		{"/* e", ""},
		{"/ *", "/ *"},
		{"';'", "';'"},
	} {
		if got := TrimEmpty(tc.sql); got != tc.want {
			t.Errorf("%q begins with %q, want %q", tc.sql, got, tc.want)
		}
	}
}
