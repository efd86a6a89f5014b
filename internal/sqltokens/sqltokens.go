// Package sqltokens splits SQL text into tokens, and compares names as SQLite does.
package sqltokens

import "strings"

// Token is a token with its quotes.
type Token string

// Is reports whether a token is a keyword, in upper or lower case. A quoted token
// is none.
func (t Token) Is(keyword string) bool { return EqualFold(string(t), keyword) }

// IsAny reports whether a token is one of some keywords.
func (t Token) IsAny(keywords ...string) bool {
	for _, k := range keywords {
		if t.Is(k) {
			return true
		}
	}
	return false
}

// Name returns the identifier that a token stands for, without its quotes.
func (t Token) Name() string {
	if len(t) < 2 {
		return string(t)
	}
	inner := string(t[1 : len(t)-1])
	switch q := t[0]; q {
	case '"', '`', '\'':
		return strings.ReplaceAll(inner, string([]byte{q, q}), string(q))
	case '[':
		return inner
	}
	return string(t)
}

// Split returns the tokens of a text: words and numbers, texts and identifiers with
// their quotes, blob literals, and all other characters one by one. Comments and
// white space are left out. A quote that is not closed extends to the end.
func Split(sql string) (all []Token) {
	for {
		sql = trimSpace(sql)
		if sql == "" {
			return all
		}
		n := length(sql)
		all = append(all, Token(sql[:n]))
		sql = sql[n:]
	}
}

// TrimEmpty returns a text without the empty statements, comments and white space at its
// beginning.
func TrimEmpty(sql string) string {
	for {
		sql = trimSpace(sql)
		rest, ok := strings.CutPrefix(sql, ";")
		if !ok {
			return sql
		}
		sql = rest
	}
}

// trimSpace returns a text without the comments and the white space at its beginning.
func trimSpace(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\n\r\f\v")
		switch {
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			_, sql, _ = strings.Cut(sql[2:], "*/")
		default:
			return sql
		}
	}
}

// length returns the length of the first token of a text.
func length(sql string) int {
	switch c := sql[0]; {
	case c == '\'' || c == '"' || c == '`':
		return quoted(sql, c)
	case c == '[':
		if i := strings.IndexByte(sql, ']'); i >= 0 {
			return i + 1
		}
		return len(sql)
	case (c == 'x' || c == 'X') && len(sql) > 1 && sql[1] == '\'':
		return 1 + quoted(sql[1:], '\'')
	case !isWord(c):
		return 1
	}
	n := 1
	for n < len(sql) && (isWord(sql[n]) || isSign(sql, n)) {
		n++
	}
	return n
}

// isSign reports whether the character at n is the sign of an exponent, as in
// 1e-3.
func isSign(sql string, n int) bool {
	return (sql[n] == '-' || sql[n] == '+') && (sql[n-1] == 'e' || sql[n-1] == 'E') && sql[0] >= '.' && sql[0] <= '9' &&
		!isHex(sql)
}

// isHex reports whether a text begins with a hexadecimal number.
func isHex(sql string) bool {
	return len(sql) >= 2 && sql[0] == '0' && (sql[1] == 'x' || sql[1] == 'X')
}

// quoted returns the length of the quoted text at the start of s.
func quoted(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '$' || c >= 0x80
}
