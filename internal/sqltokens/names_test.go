package sqltokens

import "testing"

// Only the letters A to Z have two cases. U+212A and U+017F are letters that Unicode folds
// to k and s, and U+0130 and U+0131 are those with i.
func TestFold(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", ""},
		{"AZaz@[`{_09", "azaz@[`{_09"},
		{"ÄäΣςКк", "ÄäΣςКк"},
		{"Straße ẞ", "straße ẞ"},
		{"\u212A\u017F\u0130\u0131", "\u212A\u017F\u0130\u0131"},
		{"A\xff\x00B", "a\xff\x00b"},
	} {
		if got := Fold(tt.name); got != tt.want {
			t.Errorf("%q is folded to %q, want %q", tt.name, got, tt.want)
		}
		if !EqualFold(tt.name, tt.want) {
			t.Errorf("%q and %q are two names", tt.name, tt.want)
		}
	}
	for _, tt := range [][2]string{{"ä", "Ä"}, {"k", "\u212A"}, {"S", "\u017F"}, {"σ", "ς"}, {"a", "ab"}, {"a", "b"}, {"@", "`"}, {"[", "{"}} {
		if EqualFold(tt[0], tt[1]) || EqualFold(tt[1], tt[0]) || Fold(tt[0]) == Fold(tt[1]) {
			t.Errorf("%q and %q are one name", tt[0], tt[1])
		}
	}
}

// A keyword has no letters beyond ASCII.
func TestToken_Is(t *testing.T) {
	for _, tt := range []struct {
		token   Token
		keyword string
		want    bool
	}{
		{"Key", "KEY", true}, {"KEY", "KEY", true}, {"\u212AEY", "KEY", false}, {"A\u017F", "AS", false}, {`"KEY"`, "KEY", false}, {"KEYS", "KEY", false},
	} {
		if got := tt.token.Is(tt.keyword); got != tt.want {
			t.Errorf("%q is the keyword %s: %v", tt.token, tt.keyword, got)
		}
	}
}
