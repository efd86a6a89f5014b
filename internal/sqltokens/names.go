package sqltokens

// SQLite compares names and keywords without the case of the letters A to Z. It knows no
// case of other letters: "Ä" and "ä" are two names.

// Lower returns a byte in lower case, if it is one of the letters A to Z.
func Lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Fold returns a name with the letters A to Z in lower case. Names are the same for SQLite
// if this form of them is.
func Fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = Lower(c)
	}
	return string(b)
}

// EqualFold reports whether two names are the same for SQLite.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if Lower(a[i]) != Lower(b[i]) {
			return false
		}
	}
	return true
}
