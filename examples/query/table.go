package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table prints rows in aligned columns.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, columns ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	header, rule := make([]any, len(columns)), make([]any, len(columns))
	for i, c := range columns {
		header[i], rule[i] = c, strings.Repeat("-", len([]rune(c)))
	}
	t.row(header...)
	t.row(rule...)
	return t
}

// row adds a row. Flush returns write errors.
func (t table) row(values ...any) {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = cell(v)
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// cell formats a value as one cell on one line.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	default:
		return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`, "\f", `\f`).Replace(fmt.Sprint(v))
	}
}
