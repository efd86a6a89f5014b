package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// undo prints statements that bring back the rows of the state before. Rows are
// deleted first, so that values of unique columns do not meet. If undo returns an
// error, it has printed no COMMIT, so a program that runs what was printed changes
// nothing. columnsOf returns the columns of a table that an INSERT can set today.
func (d *difference) undo(out io.Writer, columnsOf func(table string) ([]string, error)) error {
	_, err := fmt.Fprintf(out, `-- brings back the content of transaction %s in place of that of %s
-- run it with sqlite3 -bail, so that an error leaves the database as it is
PRAGMA foreign_keys = OFF;
BEGIN IMMEDIATE;
`, d.from, d.to)
	if err != nil {
		return err
	}
	print := func(sql string) error {
		_, err := fmt.Fprintf(out, "%s;\n", sql)
		return err
	}
	err = d.changes(d.to, d.from, func(c litestream.Change) error {
		if err := checkNames(c); err != nil {
			return err
		}
		switch c.Kind {
		case litestream.TableAltered:
			// A line end in the name, which %q escapes, would end the comment.
			_, err := fmt.Fprintf(out, "-- table %q was altered; its definition does not come back\n", c.Table)
			return err
		case litestream.TableDropped: // its rows have come before
			return print("DROP TABLE " + sqlite3.QuoteIdentifier(c.Table))
		case litestream.RowDeleted, litestream.RowUpdated:
			return print(deleteOf(c))
		}
		return nil
	})
	if err != nil {
		return err
	}
	altered := make(map[string][]string) // columns by the folded names of tables; nil until there is a row
	err = d.changes(d.to, d.from, func(c litestream.Change) (err error) {
		if err := checkNames(c); err != nil {
			return err
		}
		switch c.Kind {
		case litestream.TableAltered:
			altered[sqltokens.Fold(c.Table)] = nil
		case litestream.TableCreated:
			sql, ok := scriptOf(c.SQL, "TABLE", "VIRTUAL")
			if !ok {
				return fmt.Errorf("%w: the definition of table %q is not one CREATE TABLE statement", litestream.ErrCorrupt, c.Table)
			}
			return print(sql)
		case litestream.RowInserted, litestream.RowUpdated:
			key := sqltokens.Fold(c.Table)
			columns, isAltered := altered[key]
			if isAltered && columns == nil {
				if columns, err = columnsOf(c.Table); err != nil {
					return err
				}
				altered[key] = columns
			}
			if name, lacks := lackingColumn(c, columns); isAltered && lacks {
				return fmt.Errorf("%w: table %q has no column %q any more that could take the values of before: name other tables, or restore --at %s", errNotThere, c.Table, name, d.from)
			}
			return print(insertOf(c))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, "COMMIT;\n")
	return err
}

// checkNames returns an error for a change with a name that SQL cannot have. SQLite makes
// no such names, but whoever writes to the replica can make them.
func checkNames(c litestream.Change) error {
	for _, names := range [][]string{{c.Table}, c.Columns, c.OldColumns} {
		for _, name := range names {
			if strings.Contains(name, "\x00") {
				return fmt.Errorf("%w: table %q has a NUL in the name %q", litestream.ErrCorrupt, c.Table, name)
			}
		}
	}
	return nil
}

// lackingColumn returns the first column that insertOf sets and that is not among some
// columns.
func lackingColumn(c litestream.Change, columns []string) (name string, lacks bool) {
	for i, name := range c.Columns {
		isIt := func(column string) bool { return sqltokens.EqualFold(column, name) }
		if !slices.Contains(c.Generated, i) && !slices.ContainsFunc(columns, isIt) {
			return name, true
		}
	}
	return "", false
}

// columnsOf returns the columns of a table that an INSERT can set, in the state that
// the connection reads. PRAGMA table_info leaves out those that are generated.
func (db *database) columnsOf(table string) ([]string, error) {
	return texts(db.Conn, "SELECT name FROM pragma_table_info("+sqlite3.Quote(table)+")")
}

// deleteOf returns the statement that deletes the old row of a change.
func deleteOf(c litestream.Change) string {
	where := rowidName(c.OldColumns) + " = " + quoteSQL(c.Rowid)
	if !c.HasRowid {
		var terms []string
		for _, k := range c.Key {
			// The table may have had other columns before. Those of the key had these names.
			name := c.Columns[k]
			old := slices.IndexFunc(c.OldColumns, func(s string) bool { return sqltokens.EqualFold(s, name) })
			terms = append(terms, sqlite3.QuoteIdentifier(c.OldColumns[old])+" IS "+quoteSQL(c.Old[old]))
		}
		where = strings.Join(terms, " AND ")
	}
	return "DELETE FROM " + sqlite3.QuoteIdentifier(c.Table) + " WHERE " + where
}

// insertOf returns the statement that inserts the new row of a change.
func insertOf(c litestream.Change) string {
	var names, values []string
	if c.HasRowid && c.RowidColumn == "" {
		names, values = append(names, rowidName(c.Columns)), append(values, quoteSQL(c.Rowid))
	}
	for i, name := range c.Columns {
		if !slices.Contains(c.Generated, i) {
			names, values = append(names, sqlite3.QuoteIdentifier(name)), append(values, quoteSQL(c.New[i]))
		}
	}
	return "INSERT INTO " + sqlite3.QuoteIdentifier(c.Table) + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")"
}

// quoteSQL returns an expression of a value for a script. NULs would end the script, and
// SQLite's shell drops a carriage return before the end of a line, so other characters
// stand for both in the literal of a text.
func quoteSQL(v any) string {
	text, ok := v.(string)
	if !ok {
		return literalOf(v)
	}
	before, after := "", ""
	for _, code := range []rune{0, '\r'} {
		if !strings.ContainsRune(text, code) {
			continue
		}
		standIn := '\uE000' // the first character for private use
		for strings.ContainsRune(text, standIn) {
			standIn++
		}
		text = strings.ReplaceAll(text, string(code), string(standIn))
		before += "replace("
		after += fmt.Sprintf(", '%c', char(%d))", standIn, code)
	}
	return before + literalOf(text) + after
}

// literalOf returns the literal of a value. That of a number with a fraction has a point
// or an exponent, so that it does not become an INTEGER, by which SQLite divides in
// another way. A text must have no NUL.
func literalOf(v any) string {
	text := sqlite3.Quote(v)
	if _, ok := v.(float64); ok && !strings.ContainsAny(text, ".eN") { // N is that of NULL
		text += ".0"
	}
	return text
}

// rowidName returns a name of the rowid that no column has.
func rowidName(columns []string) string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.ContainsFunc(columns, func(c string) bool { return sqltokens.EqualFold(c, name) }) {
			return name
		}
	}
	return "rowid" // a table with columns of all three names has no other
}
