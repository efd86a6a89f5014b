package rowdiff

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// table is what the text of a CREATE TABLE statement says about the rows of the
// table. https://www.sqlite.org/fileformat2.html#representation_of_sql_tables
type table struct {
	name    string
	columns []column
	alias   int   // the column that is the rowid, -1 if there is none
	key     []key // of a table without rowids; nil if the table has them

	stored []int // columns in the order of the record
}

// column is a column of a table.
type column struct {
	name      string
	affinity  affinity
	isAny     bool // its type is ANY, which has no affinity in a STRICT table
	generated bool
	virtual   bool   // it is computed, and not in the record
	def       string // text of the default value; empty: NULL
	collation string // its folded name
}

// key is a column of the primary key of a table without rowids.
type key struct {
	column    int
	collation string // its folded name
	desc      bool
}

type affinity byte

const (
	blobAffinity affinity = iota
	textAffinity
	numericAffinity // and integer
	realAffinity
)

// affinityOf returns the affinity of a declared type in a table that is not STRICT.
// https://www.sqlite.org/datatype3.html#determination_of_column_affinity
func affinityOf(declared string) affinity {
	t := sqltokens.Fold(declared)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(t, w) })
	}
	switch {
	case has("int"):
		return numericAffinity
	case has("char", "clob", "text"):
		return textAffinity
	case t == "", has("blob"):
		return blobAffinity
	case has("real", "floa", "doub"):
		return realAffinity
	}
	return numericAffinity
}

// unsupportedError is an error about the definition of a table. It is one of
// errors.ErrUnsupported.
type unsupportedError string

func (e unsupportedError) Error() string { return string(e) }

func (unsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

const (
	errNotParsed  = unsupportedError("the CREATE TABLE statement is not understood")
	errExpression = unsupportedError("its default is an expression")
)

// parseTable parses a CREATE TABLE statement as SQLite stores it in the schema.
func parseTable(sql string) (*table, error) {
	p := &parser{rest: sqltokens.Split(sql)}
	t, err := p.table()
	if err != nil {
		return nil, fmt.Errorf("%w: %.80q", err, sql)
	}
	return t, nil
}

// parser reads the tokens of a statement.
type parser struct{ rest []sqltokens.Token }

func (p *parser) peek() sqltokens.Token {
	if len(p.rest) == 0 {
		return ""
	}
	return p.rest[0]
}

func (p *parser) next() sqltokens.Token {
	t := p.peek()
	p.rest = p.rest[min(1, len(p.rest)):]
	return t
}

// take skips keywords if they come next.
func (p *parser) take(keywords ...string) bool {
	if len(p.rest) < len(keywords) {
		return false
	}
	for i, k := range keywords {
		if !p.rest[i].Is(k) {
			return false
		}
	}
	p.rest = p.rest[len(keywords):]
	return true
}

// group returns the tokens in the parentheses that come next, nil if none do.
func (p *parser) group() []sqltokens.Token {
	if p.peek() != "(" {
		return nil
	}
	depth := 0
	for i, t := range p.rest {
		switch t {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				inner := p.rest[1:i]
				p.rest = p.rest[i+1:]
				return inner
			}
		}
	}
	return nil
}

// items splits tokens at the commas outside of parentheses.
func items(tokens []sqltokens.Token) (all [][]sqltokens.Token) {
	depth, from := 0, 0
	for i, t := range tokens {
		switch {
		case t == "(":
			depth++
		case t == ")":
			depth--
		case t == "," && depth == 0:
			all = append(all, tokens[from:i])
			from = i + 1
		}
	}
	return append(all, tokens[from:])
}

func (p *parser) table() (*table, error) {
	if !p.take("CREATE") {
		return nil, errNotParsed
	}
	_ = p.take("TEMP") || p.take("TEMPORARY")
	if !p.take("TABLE") {
		return nil, errNotParsed
	}
	p.take("IF", "NOT", "EXISTS")
	t := &table{name: p.next().Name(), alias: -1}
	if p.take(".") {
		t.name = p.next().Name()
	}
	body := p.group()
	if body == nil {
		return nil, errNotParsed
	}
	var primary []key
	inline := false // the primary key is a constraint of its column, in descending order
	for _, item := range items(body) {
		q := &parser{rest: item}
		if q.peek().IsAny("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN") {
			if keys := q.tableKey(t); keys != nil {
				primary = keys
			}
			continue
		}
		c, isKey, desc, err := q.column()
		if err != nil {
			return nil, err
		}
		if isKey {
			primary = []key{{len(t.columns), "", desc}}
			inline = desc
		}
		t.columns = append(t.columns, c)
	}
	withoutRowid := false
	for len(p.rest) > 0 {
		if p.take("WITHOUT", "ROWID") {
			withoutRowid = true
			continue
		}
		if p.next().Is("STRICT") {
			for i, c := range t.columns {
				if c.isAny {
					t.columns[i].affinity = blobAffinity
				}
			}
		}
	}
	return t, t.store(primary, withoutRowid, inline, body)
}

// tableKey returns the columns of the PRIMARY KEY among constraints of a table, which
// need no commas between them. It returns nil if there is none.
func (p *parser) tableKey(t *table) (keys []key) {
	for !p.take("PRIMARY", "KEY") {
		if len(p.rest) == 0 {
			return nil
		}
		if p.group() == nil {
			p.next()
		}
	}
	for _, item := range items(p.group()) {
		q := &parser{rest: item}
		k := key{column: t.indexOf(q.next().Name())}
		for len(q.rest) > 0 {
			switch word := q.next(); {
			case word.Is("COLLATE"):
				k.collation = sqltokens.Fold(q.next().Name())
			case word.Is("DESC"):
				k.desc = true
			}
		}
		keys = append(keys, k)
	}
	return keys
}

func (t *table) indexOf(name string) int {
	return slices.IndexFunc(t.columns, func(c column) bool { return sqltokens.EqualFold(c.name, name) })
}

// column parses the definition of a column.
func (p *parser) column() (c column, isKey, desc bool, err error) {
	if p.peek() == "" {
		return c, false, false, errNotParsed
	}
	c.name = p.next().Name()
	var declared []string
	for len(p.rest) > 0 && !p.peek().IsAny("CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES", "GENERATED", "AS") {
		if p.group() == nil {
			declared = append(declared, p.next().Name())
		}
	}
	typ := strings.Join(declared, " ")
	c.affinity, c.isAny = affinityOf(typ), sqltokens.EqualFold(typ, "ANY")
	for len(p.rest) > 0 {
		switch {
		case p.take("PRIMARY", "KEY"):
			isKey = true
			desc = p.take("DESC")
		case p.take("SET", "DEFAULT"): // the action of a foreign key
		case p.take("DEFAULT"):
			c.def = p.defaultValue()
		case p.take("COLLATE"):
			c.collation = sqltokens.Fold(p.next().Name())
		case p.take("GENERATED", "ALWAYS", "AS"), p.take("AS"):
			p.group()
			c.generated = true
			c.virtual = !p.take("STORED")
		case p.peek() == "(":
			if p.group() == nil {
				return c, false, false, errNotParsed
			}
		default:
			p.next()
		}
	}
	return c, isKey, desc, nil
}

// defaultValue returns the text of a default value, in parentheses if it is an expression.
func (p *parser) defaultValue() string {
	if p.peek() == "(" {
		inner := p.group()
		if text := literal(inner); text != "" {
			return text
		}
		text := ""
		for _, t := range inner {
			text += " " + string(t)
		}
		return "(" + strings.TrimSpace(text) + ")"
	}
	text := string(p.next())
	if text == "-" || text == "+" {
		text += string(p.next())
	}
	return text
}

// literal returns the text of an expression that is a value, maybe in more parentheses,
// and "" for another one. SQLite refuses to add a column with nearly any other default to
// a table that has rows.
func literal(expression []sqltokens.Token) string {
	for n := len(expression); n > 2 && expression[0] == "(" && expression[n-1] == ")"; n = len(expression) {
		expression = expression[1 : n-1]
	}
	isNumber := func(t sqltokens.Token) bool { return t[0] == '.' || t[0] >= '0' && t[0] <= '9' }
	switch {
	case len(expression) == 2 && (expression[0] == "-" || expression[0] == "+") && isNumber(expression[1]):
		return string(expression[0] + expression[1])
	case len(expression) != 1:
		return ""
	}
	t := expression[0]
	if isNumber(t) || t[0] == '\'' || (t[0] == 'x' || t[0] == 'X') && strings.HasPrefix(string(t[1:]), "'") || t.IsAny("NULL", "TRUE", "FALSE") {
		return string(t)
	}
	return ""
}

// store finds out in which order the record has the columns.
func (t *table) store(primary []key, withoutRowid, inline bool, body []sqltokens.Token) error {
	// SQLite refuses a key of a column that is computed.
	if len(t.columns) == 0 || slices.ContainsFunc(primary, func(k key) bool { return k.column < 0 || t.columns[k.column].generated }) {
		return errNotParsed
	}
	in := make([]bool, len(t.columns))
	if withoutRowid {
		for _, k := range primary {
			if k.collation == "" {
				k.collation = t.columns[k.column].collation
			}
			if k.collation == "" {
				k.collation = "binary"
			}
			// A column that comes twice with one collation is stored once.
			if !slices.ContainsFunc(t.key, func(o key) bool { return o.column == k.column && o.collation == k.collation }) {
				t.key = append(t.key, k)
				t.stored = append(t.stored, k.column)
			}
			in[k.column] = true
		}
		if t.key == nil {
			return errNotParsed
		}
	} else if len(primary) == 1 && !inline && isInteger(body, t.columns[primary[0].column].name) {
		t.alias = primary[0].column
	}
	for i, c := range t.columns {
		if !c.virtual && !in[i] {
			t.stored = append(t.stored, i)
		}
	}
	return nil
}

// isInteger reports whether a column is declared as INTEGER, by exactly that word.
func isInteger(body []sqltokens.Token, name string) bool {
	for _, item := range items(body) {
		if len(item) < 2 || !sqltokens.EqualFold(item[0].Name(), name) || !sqltokens.EqualFold(item[1].Name(), "INTEGER") {
			continue
		}
		return len(item) == 2 || item[2].IsAny("CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES")
	}
	return false
}

// names returns the names of the columns that rows have values of.
func (t *table) names() (all []string) {
	for _, c := range t.columns {
		if !c.virtual {
			all = append(all, c.name)
		}
	}
	return all
}

// defaultOf returns the value that a column has in rows that are older than it.
func (c column) defaultOf() (any, error) {
	text := c.def
	switch t := sqltokens.Token(text); {
	case text == "", t.Is("NULL"):
		return nil, nil
	case t.Is("TRUE"):
		return c.affinity.apply(int64(1)), nil
	case t.Is("FALSE"):
		return c.affinity.apply(int64(0)), nil
	case t[0] == '(':
		return nil, fmt.Errorf("column %s: %w: %s", c.name, errExpression, text)
	case t[0] == 'x' || t[0] == 'X':
		if b, err := hex.DecodeString(strings.Trim(text[1:], "'")); err == nil && strings.HasPrefix(text[1:], "'") {
			return b, nil
		}
	}
	if n, ok := number(text); ok {
		if c.affinity == textAffinity {
			return numberText(text, n), nil
		}
		return c.affinity.apply(n), nil
	}
	return c.affinity.apply(sqltokens.Token(text).Name()), nil
}

// number returns the value of a number in SQL, which may have a sign. Zeros at its
// beginning mean nothing, hexadecimal digits are the bits of the integer, and a float
// that is too large is infinite.
func number(text string) (any, bool) {
	digits := strings.TrimLeft(text, "+-")
	if digits == "" || digits[0] != '.' && (digits[0] < '0' || digits[0] > '9') {
		return nil, false
	}
	text, digits = strings.ReplaceAll(text, "_", ""), strings.ReplaceAll(digits, "_", "")
	if hexDigits, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		bits, err := strconv.ParseUint(hexDigits, 16, 64)
		if text[0] == '-' {
			bits = -bits
		}
		return int64(bits), err == nil
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// numberText returns the text that a number in SQL is as the default of a column of texts.
// SQLite keeps it as it is written, unless it is an integer. The least one is none, since
// the number after its sign is too large for one.
func numberText(text string, n any) string {
	if i, ok := n.(int64); ok && (i > math.MinInt64 || text[0] != '-') {
		return strconv.FormatInt(i, 10)
	}
	return strings.ReplaceAll(strings.TrimLeft(text, "+"), "_", "")
}

// apply converts a value as SQLite does when it stores it in a column.
func (a affinity) apply(v any) any {
	switch v := v.(type) {
	case int64:
		switch a {
		case realAffinity:
			return float64(v)
		case textAffinity:
			return strconv.FormatInt(v, 10)
		}
	case float64:
		if a == numericAffinity && v == float64(int64(v)) {
			return int64(v)
		}
	case string:
		if a != numericAffinity && a != realAffinity {
			return v
		}
		text := strings.TrimSpace(v)
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return a.apply(i)
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil && strings.Trim(text, "+-.0123456789eE") == "" {
			return a.apply(f)
		}
	}
	return v
}
