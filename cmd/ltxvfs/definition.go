package main

import (
	"fmt"
	"strings"

	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// statementOf returns a definition as a statement for scripts, or as a comment if it is
// not one.
func statementOf(definition string) string {
	if sql, ok := scriptOf(definition, "TABLE", "VIRTUAL", "INDEX", "UNIQUE", "VIEW", "TRIGGER"); ok {
		return sql + ";"
	}
	return fmt.Sprintf("-- not a definition: %q", definition)
}

// scriptOf returns a definition of something of some kinds, to which a semicolon can be
// added: it may end with a comment to the end of its line. ok is false if it is none, see
// isDefinition.
func scriptOf(definition string, kinds ...string) (sql string, ok bool) {
	for _, end := range []string{"", "\n"} {
		if isDefinition(definition+end, kinds...) {
			return definition + end, true
		}
	}
	return "", false
}

// isDefinition reports whether a text of sqlite_schema is one statement that creates
// something of some kinds, by the word after CREATE, and nothing else that a script would
// run: a command of SQLite's shell, another statement, or the query that a table is
// created from, which SQLite does not store.
func isDefinition(sql string, kinds ...string) bool {
	tokens := sqltokens.Split(sql)
	isKind := len(tokens) > 3 && tokens[0].Is("CREATE") && tokens[1].IsAny(kinds...)
	return isKind && (!tokens[1].Is("TABLE") || tokens[3] == "(") && strings.HasPrefix(sql, "CREATE ") && isOneStatement(sql)
}

// isOneStatement reports whether a text is one statement once a semicolon follows it,
// for SQLite and for programs that split a script as its shell does. The text is from a
// database, so it may have been made to be more than that: a quote or a comment that
// goes on, or another statement. It must have no variable either, since SQLite takes
// $a(') for one, and its shell for the beginning of a quote.
func isOneStatement(sql string) bool {
	if strings.Contains(sql, "\x00") {
		return false // SQLite and its shell read no further
	}
	sql += ";"
	state := atStart
	for i := 0; i < len(sql); {
		kind, size := nextToken(sql[i:])
		token := sql[i : i+size]
		i += size
		switch {
		case kind == spaceToken:
			continue
		case kind == openToken, strings.IndexByte("$@#:", token[0]) >= 0, endsForShell(sql, i-size, i):
			return false
		}
		next := state.after(sqltokens.Token(token))
		if next == atStart {
			return state != atStart && i == len(sql)
		}
		state = next
	}
	return false
}

// endsForShell reports whether SQLite's shell takes a token, from one offset of a text to
// another, for a semicolon: it does so with "/" and "go" that are alone on a line but for
// space and comments.
func endsForShell(sql string, from, to int) bool {
	if token := sql[from:to]; token != "/" && !strings.EqualFold(token, "go") {
		return false
	}
	const space = " \t\r\f\v"
	before := strings.TrimRight(sql[:from], space)
	after, _, _ := strings.Cut(sql[to:], "\n")
	after = strings.TrimLeft(after, space)
	return (before == "" || strings.HasSuffix(before, "\n")) &&
		(after == "" || strings.HasPrefix(after, "--") || strings.HasPrefix(after, "/*"))
}
