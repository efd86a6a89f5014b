package sqllists

import (
	"math"
	"strconv"
	"strings"
)

// Limit returns how many rows a statement that has its parameters expanded reads
// at least before a LIMIT ends it, those that an OFFSET leaves out among them. It
// is the largest one where the statement has several, in subqueries for example.
// It reports false if there is none, or one that is not a number.
func Limit(sql string) (rows int, ok bool) {
	if len(sql) > MaxText {
		return 0, false
	}
	s := scanner{sql}
	token, more := s.next()
	for more {
		if !strings.EqualFold(token, "limit") {
			token, more = s.next()
			continue
		}
		var n, and int
		var valid bool
		token, _ = s.next()
		if n, valid = count(token); !valid {
			return 0, false
		}
		token, more = s.next()
		switch {
		case !more, token == ")", token == ";":
		case token == ",", strings.EqualFold(token, "offset"):
			token, _ = s.next()
			if and, valid = count(token); !valid {
				return 0, false
			}
			if token, more = s.next(); more && token != ")" && token != ";" {
				return 0, false
			}
		default: // the first token of an expression
			return 0, false
		}
		rows, ok = max(rows, min(n, math.MaxInt-and)+and), true
	}
	return rows, ok
}

// count returns a number of rows.
func count(token string) (int, bool) {
	n, err := strconv.Atoi(token)
	return n, err == nil && n >= 0
}
