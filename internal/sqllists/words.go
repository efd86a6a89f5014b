package sqllists

import (
	"iter"
	"strings"

	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// Words returns the words of a statement, folded as SQLite compares them, which are
// keywords, names and numbers. A name with dots gives its parts, and one in double
// quotes, backquotes or brackets is as if it had none. There are none for a long
// statement.
func Words(sql string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(sql) > MaxText {
			return
		}
		s := scanner{sql}
		for token, ok := s.next(); ok; token, ok = s.next() {
			if c := token[0]; c == '\'' {
				continue
			} else if c == '"' || c == '`' {
				token = strings.Trim(token, string(c))
			} else if !isWord(c) {
				continue
			}
			for word := range strings.SplitSeq(sqltokens.Fold(token), ".") {
				if word != "" && !yield(word) {
					return
				}
			}
		}
	}
}
