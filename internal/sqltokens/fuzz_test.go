package sqltokens

import (
	"strings"
	"testing"
)

// FuzzSplit splits any text. The tokens are pieces of it in its order, none is empty,
// and each is a token by itself.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{
		"SELECT a, \"b\"\"c\", [d], `e` FROM t -- x\nWHERE x = 'it''s' /* y */ AND z >= x'00' LIMIT 1e-3",
		"/*", "--", "'", "\"\"\"", "[", "x'", "0x1e-3", "1.e+", "/*/", "é\x00\xff", "CREATE TABLE t (a GENERATED ALWAYS AS (b||'c') STORED)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rest := s
		for _, token := range Split(s) {
			i := strings.Index(rest, string(token))
			if token == "" || i < 0 {
				t.Fatalf("%q has a token %q", s, token)
			}
			rest = rest[i+len(token):]
			if again := Split(string(token)); len(again) != 1 || again[0] != token {
				t.Errorf("token %q of %q is %q by itself", token, s, again)
			}
			if name := token.Name(); len(name) > len(token) {
				t.Errorf("the name of %q is %q", token, name)
			}
			token.IsAny("SELECT", "")
		}
	})
}
