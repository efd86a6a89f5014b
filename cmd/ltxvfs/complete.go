package main

import (
	"strings"

	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// completion says how far the text of statements is.
type completion int

const (
	blank    completion = iota // nothing but space and whole comments
	partial                    // the last statement goes on
	complete                   // the last statement ends with a semicolon
)

// sqlState is where a text is between two tokens.
type sqlState int

const (
	atStart      sqlState = iota // before the first token of a statement
	inStatement                  // in a statement that ends with the next semicolon
	afterExplain                 // after EXPLAIN, before the statement that it explains
	afterCreate                  // after CREATE, and TEMP
	inTrigger                    // in CREATE TRIGGER, which has semicolons within
	afterSemi                    // in a trigger, after a semicolon
	afterEnd                     // in a trigger, after a semicolon and END
)

// completionOf finds out whether a text ends with a whole statement. It follows the
// rules of sqlite3_complete: a semicolon outside quotes and comments ends a
// statement, and only "; END ;" ends a trigger. Quotes and comments that are open go
// on.
func completionOf(sql string) completion {
	state, begun := atStart, false
	for i := 0; i < len(sql); {
		kind, size := nextToken(sql[i:])
		token := sqltokens.Token(sql[i : i+size])
		i += size
		switch kind {
		case openToken:
			return partial
		case spaceToken:
			continue
		}
		state, begun = state.after(token), true
	}
	switch {
	case !begun:
		return blank
	case state == atStart:
		return complete
	}
	return partial
}

// after returns the state after a token.
func (s sqlState) after(token sqltokens.Token) sqlState {
	switch s {
	case inTrigger, afterSemi, afterEnd:
		switch {
		case token == ";" && s == afterEnd:
			return atStart
		case token == ";":
			return afterSemi
		case token.Is("END") && s == afterSemi:
			return afterEnd
		}
		return inTrigger
	}
	switch {
	case token == ";":
		return atStart
	case token.Is("CREATE") && (s == atStart || s == afterExplain):
		return afterCreate
	case token.IsAny("TEMP", "TEMPORARY") && s == afterCreate:
		return afterCreate
	case token.Is("TRIGGER") && s == afterCreate:
		return inTrigger
	case token.Is("EXPLAIN") && s == atStart:
		return afterExplain
	case s == afterExplain && !token.IsAny("EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END"):
		return afterExplain // QUERY PLAN
	}
	return inStatement
}

// tokenKind is what a token means for completionOf.
type tokenKind int

const (
	plainToken tokenKind = iota
	spaceToken           // space or a comment
	openToken            // a quote or a comment that does not end
)

// nextToken returns the first token of a text that is not empty.
func nextToken(sql string) (kind tokenKind, size int) {
	until := func(kind tokenKind, skip int, end string) (tokenKind, int) {
		n := strings.Index(sql[skip:], end)
		if n < 0 {
			return openToken, len(sql)
		}
		return kind, skip + n + len(end)
	}
	switch c := sql[0]; {
	case strings.IndexByte(" \t\r\n\f", c) >= 0:
		return spaceToken, 1
	case strings.HasPrefix(sql, "/*"):
		return until(spaceToken, 2, "*/")
	case strings.HasPrefix(sql, "--"):
		if kind, size = until(spaceToken, 2, "\n"); kind == openToken {
			kind = spaceToken // the end of the text ends it, too
		}
		return kind, size
	case c == '[':
		return until(plainToken, 1, "]")
	case c == '"' || c == '\'' || c == '`':
		return until(plainToken, 1, sql[:1])
	case !isNameByte(c):
		return plainToken, 1
	}
	for size < len(sql) && isNameByte(sql[size]) {
		size++
	}
	return plainToken, size
}

// isNameByte reports whether a byte may be part of a name or a number.
func isNameByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
