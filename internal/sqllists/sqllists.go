// Package sqllists finds in the text of a statement what tells which rows it is
// going to read: lists of values, which are those of an IN and JSON arrays in a text
// for json_each, and the LIMIT. Nothing depends on their being right.
package sqllists

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/btree"
)

const (
	// least is how many values a list has at least: fewer are not worth a guess.
	least = 8

	// MaxText is the length of the longest statement that Parse looks at.
	MaxText = 1 << 20

	maxValues = 1 << 16
	maxLists  = 8
)

// MayHave reports whether a statement may have lists or a LIMIT once its parameters
// are expanded: it has one of the words, a function of JSON, or a JSON array. To
// expand the parameters of others is not worth the time, since values can be large.
func MayHave(sql string) bool {
	for i := 0; i+1 < len(sql); i++ {
		switch c := sql[i]; {
		case c == '\'' && sql[i+1] == '[':
			return true
		case i > 0 && isWord(sql[i-1]):
		case isWordAt(sql, i, "in"), isWordAt(sql, i, "limit"), len(sql)-i >= 5 && strings.EqualFold(sql[i:i+5], "json_"):
			return true
		}
	}
	return false
}

// isWordAt reports whether a text has a word at a position, in any case.
func isWordAt(text string, i int, word string) bool {
	end := i + len(word)
	return end <= len(text) && strings.EqualFold(text[i:end], word) && (end == len(text) || !isWord(text[end]))
}

// Parse returns the lists of a statement that has its parameters expanded: as
// SQLite goes through them for an IN, which is in order and without duplicates,
// and, where that differs, as they are written. Lists of other things than
// integers and texts are left out, and those of long statements.
func Parse(sql string) (lists [][]btree.Value) {
	if len(sql) > MaxText {
		return nil
	}
	add := func(list []btree.Value) {
		if len(list) < least || len(lists) >= maxLists {
			return
		}
		sorted := slices.Clone(list)
		slices.SortFunc(sorted, btree.Value.Compare)
		sorted = slices.CompactFunc(sorted, func(v, u btree.Value) bool { return v.Compare(u) == 0 })
		lists = append(lists, sorted)
		if !slices.EqualFunc(sorted, list, func(v, u btree.Value) bool { return v.Compare(u) == 0 }) {
			lists = append(lists, list)
		}
	}
	s := scanner{sql}
	var list []btree.Value // since the last parenthesis, if only commas are between them
	comma := true          // a value may follow
	for {
		token, ok := s.next()
		if !ok {
			return lists
		}
		switch {
		case token == "(":
			list, comma = nil, true
		case token == ")":
			if !comma {
				add(list)
			}
			list, comma = nil, false
		case token == ",":
			if comma {
				list = nil
			}
			comma = true
		default:
			v, ok := value(token)
			if ok && comma && len(list) < maxValues {
				list = append(list, v)
			} else {
				list = nil
			}
			comma = false
			if text, ok := strings.CutPrefix(token, "'["); ok {
				add(jsonArray(strings.TrimSuffix(text, "'")))
			}
		}
	}
}

// value returns the value of a literal.
func value(token string) (btree.Value, bool) {
	if strings.HasPrefix(token, "'") && len(token) >= 2 {
		return btree.TextValue(strings.ReplaceAll(token[1:len(token)-1], "''", "'")), true
	}
	i, err := strconv.ParseInt(token, 10, 64)
	return btree.IntegerValue(i), err == nil
}

// jsonArray returns the values of a JSON array without its first bracket, nil if
// they are not simple.
func jsonArray(text string) (list []btree.Value) {
	text, ok := strings.CutSuffix(strings.TrimSpace(text), "]")
	if !ok {
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if s, err := strconv.Unquote(item); err == nil && strings.HasPrefix(item, `"`) {
			list = append(list, btree.TextValue(s))
			continue
		}
		i, err := strconv.ParseInt(item, 10, 64)
		if err != nil || len(list) >= maxValues {
			return nil
		}
		list = append(list, btree.IntegerValue(i))
	}
	return list
}

// scanner splits a statement into tokens.
type scanner struct{ rest string }

// next returns the next token: a parenthesis or comma, a text with its quotes, a
// number with its sign, a word, or another character. Comments are left out.
func (s *scanner) next() (token string, ok bool) {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\n\r\f")
		switch {
		case strings.HasPrefix(s.rest, "--"):
			_, s.rest, _ = strings.Cut(s.rest, "\n")
			continue
		case strings.HasPrefix(s.rest, "/*"):
			_, s.rest, _ = strings.Cut(s.rest[2:], "*/")
			continue
		case s.rest == "":
			return "", false
		}
		n := 1
		switch c := s.rest[0]; {
		case c == '\'' || c == '"' || c == '`':
			n = quoted(s.rest, c)
		case isWord(c) || c == '-' || c == '+':
			for n < len(s.rest) && isWord(s.rest[n]) {
				n++
			}
		}
		token, s.rest = s.rest[:n], s.rest[n:]
		return token, true
	}
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
