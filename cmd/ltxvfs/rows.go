package main

import (
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream/internal/rowjson"
)

// rowWriter writes the rows of statements in one format.
type rowWriter interface {
	// begin starts the rows of a statement.
	begin(columns []string) error

	// row writes one row. A value is nil, an int64, a float64, a string or a
	// []byte.
	row(values []any) error

	// end ends the rows of a statement.
	end() error
}

// newRows returns the writer of a format.
func newRows(format string, w io.Writer) (rowWriter, error) {
	switch format {
	case "table":
		return &tableRows{w: w}, nil
	case "csv":
		return &csvRows{csv.NewWriter(w), w}, nil
	case "json":
		return &jsonRows{w: w}, nil
	case "markdown":
		return &markdownRows{w}, nil
	}
	return nil, usagef("-o: unknown format %q, want table, csv, json or markdown", format)
}

// writeRows runs a statement and writes its rows.
func writeRows(stmt *sqlite3.Stmt, to rowWriter) error {
	columns := make([]string, stmt.ColumnCount())
	if len(columns) == 0 {
		return stmt.Exec()
	}
	for i := range columns {
		columns[i] = stmt.ColumnName(i)
	}
	begun := false
	values := make([]any, len(columns))
	for stmt.Step() {
		if !begun {
			if err := to.begin(columns); err != nil {
				return err
			}
			begun = true
		}
		for i := range values {
			switch stmt.ColumnType(i) {
			case sqlite3.INTEGER:
				values[i] = stmt.ColumnInt64(i)
			case sqlite3.FLOAT:
				values[i] = stmt.ColumnFloat(i)
			case sqlite3.TEXT:
				values[i] = stmt.ColumnText(i)
			case sqlite3.BLOB:
				values[i] = stmt.ColumnBlob(i, nil)
			default:
				values[i] = nil
			}
		}
		if err := to.row(values); err != nil {
			return err
		}
	}
	if err := stmt.Err(); err != nil {
		return err
	}
	if !begun {
		if err := to.begin(columns); err != nil {
			return err
		}
	}
	return to.end()
}

// formatValue formats a value as text. NULL is null.
func formatValue(v any, null string) string {
	switch v := v.(type) {
	case nil:
		return null
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		return "x'" + hex.EncodeToString(v) + "'"
	}
	return fmt.Sprint(v)
}

// tableRows aligns columns. It holds tableHold rows to find out their width, and
// keeps to it from then on.
type tableRows struct {
	w       io.Writer
	columns []string
	held    [][]string
	widths  []int
	numbers []bool // columns that have only numbers, which are aligned to the right
}

const tableHold = 1000

func (t *tableRows) begin(columns []string) error {
	*t = tableRows{w: t.w, columns: columns, numbers: make([]bool, len(columns))}
	for i := range t.numbers {
		t.numbers[i] = true
	}
	return nil
}

func (t *tableRows) row(values []any) error {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(formatValue(v, "NULL"))
		switch v.(type) {
		case int64, float64, nil:
		default:
			t.numbers[i] = t.numbers[i] && t.widths != nil // the first rows decide
		}
	}
	if t.widths != nil {
		return t.write(texts)
	}
	t.held = append(t.held, texts)
	if len(t.held) == tableHold {
		return t.release()
	}
	return nil
}

// release writes the rows that were held.
func (t *tableRows) release() error {
	t.widths = make([]int, len(t.columns))
	for _, row := range append(t.held, t.columns) {
		for i, text := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(text))
		}
	}
	lines := make([]string, len(t.columns))
	for i, width := range t.widths {
		lines[i] = strings.Repeat("-", width)
	}
	for _, row := range append([][]string{t.columns, lines}, t.held...) {
		if err := t.write(row); err != nil {
			return err
		}
	}
	t.held = nil
	return nil
}

func (t *tableRows) write(row []string) error {
	var b strings.Builder
	for i, text := range row {
		pad := strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(text)))
		switch {
		case t.numbers[i]:
			b.WriteString(pad + text)
		case i == len(row)-1:
			b.WriteString(text)
		default:
			b.WriteString(text + pad)
		}
		if i < len(row)-1 {
			b.WriteString("  ")
		}
	}
	_, err := fmt.Fprintln(t.w, b.String())
	return err
}

func (t *tableRows) end() error {
	if t.widths == nil {
		return t.release()
	}
	return nil
}

// csvRows writes CSV as RFC 4180 has it. NULL is empty.
type csvRows struct {
	w   *csv.Writer
	out io.Writer // that w writes to
}

func (c *csvRows) begin(columns []string) error { return c.line(columns) }

func (c *csvRows) row(values []any) error {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = formatValue(v, "")
	}
	return c.line(texts)
}

// line writes a line. A single empty field has quotes, since readers of CSV skip blank
// lines, and the row would be missing.
func (c *csvRows) line(texts []string) error {
	if len(texts) != 1 || texts[0] != "" {
		return c.w.Write(texts)
	}
	if err := c.end(); err != nil {
		return err
	}
	_, err := io.WriteString(c.out, "\"\"\n")
	return err
}

func (c *csvRows) end() error {
	c.w.Flush()
	return c.w.Error()
}

// jsonRows writes one array for each statement, of an object for each row. A blob
// is base64.
type jsonRows struct {
	w       io.Writer
	columns []string
	rows    int
}

func (j *jsonRows) begin(columns []string) error {
	j.columns, j.rows = columns, 0
	_, err := io.WriteString(j.w, "[")
	return err
}

func (j *jsonRows) row(values []any) error {
	var b strings.Builder
	if j.rows > 0 {
		b.WriteString(",")
	}
	j.rows++
	b.WriteString("\n  {")
	if err := jsonFields(&b, j.columns, values); err != nil {
		return err
	}
	b.WriteString("}")
	_, err := io.WriteString(j.w, b.String())
	return err
}

// jsonFields writes the fields of a JSON object.
func jsonFields(b *strings.Builder, columns []string, values []any) error {
	fields, err := rowjson.AppendFields(nil, columns, values)
	b.Write(fields)
	return err
}

func (j *jsonRows) end() error {
	end := "]\n"
	if j.rows > 0 {
		end = "\n]\n"
	}
	_, err := io.WriteString(j.w, end)
	return err
}

// markdownRows writes a table of Markdown.
type markdownRows struct{ w io.Writer }

func (m *markdownRows) begin(columns []string) error {
	if err := m.line(columns); err != nil {
		return err
	}
	_, err := fmt.Fprintln(m.w, "|"+strings.Repeat("---|", len(columns)))
	return err
}

func (m *markdownRows) row(values []any) error {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = formatValue(v, "NULL")
	}
	return m.line(texts)
}

func (m *markdownRows) line(texts []string) error {
	escaped := make([]string, len(texts))
	for i, text := range texts {
		escaped[i] = strings.NewReplacer("|", `\|`, "\n", "<br>", "\r", "").Replace(text)
	}
	_, err := fmt.Fprintln(m.w, "| "+strings.Join(escaped, " | ")+" |")
	return err
}

func (m *markdownRows) end() error { return nil }
