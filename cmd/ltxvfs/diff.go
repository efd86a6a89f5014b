package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqltokens"
	"github.com/ltxvfs/litestream/maintain"
)

// diffFlags are the flags of diff.
type diffFlags struct {
	from, to    string
	count, undo bool
}

// diff is the command that prints what has changed between two states.
func (a *app) diff() *cobra.Command {
	var flags diffFlags
	cmd := &cobra.Command{
		Use: "diff URL [TABLE...]", Short: "Show the rows that differ between two states", Args: between(1, 1000),
		Long: `diff shows what has changed between two states of a replica: tables created,
dropped and altered, and rows inserted (+), deleted (-) and updated (~). It reads
only the pages that differ, and those above them. A row is told from others by its
rowid, or by the primary key of a table WITHOUT ROWID.

With --undo it prints SQL that brings back the rows of the state before. Run it on
a copy first: triggers run, and indexes and triggers of tables that were dropped do
not come back. Run it with sqlite3 -bail: without -bail, sqlite3 goes on after an error,
and commits half of it. Rows with a column that their table has no more are an error.`,
		Example: `  ltxvfs diff s3://bucket/app.db --from '1 hour ago'
  ltxvfs diff s3://bucket/app.db users --from 000000000000003f --to 0000000000000045 --json
  ltxvfs diff s3://bucket/app.db --from '10 minutes ago' --count
  ltxvfs diff s3://bucket/app.db users --from yesterday --undo | sqlite3 -bail app.db`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runDiff(cmd.Context(), args, flags) },
	}
	cmd.Flags().StringVar(&flags.from, "from", "", "transaction or time of the `state` before")
	cmd.Flags().StringVar(&flags.to, "to", "", "transaction or time of the `state` after, the newest by default")
	cmd.Flags().BoolVar(&flags.count, "count", false, "print the number of changes of each table only")
	cmd.Flags().BoolVar(&flags.undo, "undo", false, "print SQL that brings back the rows of the state before")
	return cmd
}

func (a *app) runDiff(ctx context.Context, args []string, flags diffFlags) (err error) {
	replicaURL, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	switch {
	case flags.from == "":
		return usagef("--from is missing, the transaction or time of the state before")
	case flags.count && flags.undo:
		return usagef("--count and --undo exclude each other")
	case a.json && flags.undo:
		return usagef("--json and --undo exclude each other: --undo prints SQL")
	}
	for name, text := range map[string]string{"--from": flags.from, "--to": flags.to} {
		if _, err := maintain.ParseMoment(text, time.Now()); err != nil {
			return usagef("%s: %w", name, err)
		}
	}
	start := time.Now()
	db, err := a.openDatabase(ctx, replicaURL, flags.from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	from := db.txid
	if err := db.backToNow(); err != nil {
		return err
	}
	if err := db.travel(flags.to); err != nil {
		return err
	}
	if err := db.where(); err != nil {
		return err
	}
	d, err := newDifference(ctx, db.vfs, replicaURL, from, db.txid, args[1:])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.out)
	switch {
	case flags.undo:
		err = d.undo(out, db.columnsOf)
	case flags.count:
		err = d.count(out, a.json)
	case a.json:
		err = d.each(func(c litestream.Change) error { return writeChangeJSON(out, c) })
	default:
		err = d.each(func(c litestream.Change) error { return writeChange(out, c) })
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if !a.quiet {
		a.printCost(db.cost(), time.Since(start), db)
	}
	return nil
}

// backToNow makes a connection read the newest state.
func (db *database) backToNow() error {
	_, err := texts(db.Conn, "PRAGMA litestream_time = latest")
	return err
}

// difference is what differs between two states of a replica.
type difference struct {
	ctx      context.Context
	vfs      *litestream.VFS
	url      string
	from, to ltx.TXID
	tables   []string
}

func newDifference(ctx context.Context, vfs *litestream.VFS, replicaURL, from, to string, tables []string) (*difference, error) {
	d := &difference{ctx: ctx, vfs: vfs, url: replicaURL, tables: tables}
	var err error
	if d.from, err = ltx.ParseTXID(from); err == nil {
		d.to, err = ltx.ParseTXID(to)
	}
	return d, err
}

// each calls fn with each change.
func (d *difference) each(fn func(litestream.Change) error) error {
	return d.changes(d.from, d.to, fn)
}

func (d *difference) changes(from, to ltx.TXID, fn func(litestream.Change) error) error {
	for c, err := range d.vfs.Changes(d.ctx, d.url, from, to, d.tables...) {
		if err == nil {
			err = fn(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// count prints the number of changes of each table.
func (d *difference) count(out io.Writer, asJSON bool) error {
	counts, err := d.vfs.CountChanges(d.ctx, d.url, d.from, d.to, d.tables...)
	if err != nil {
		return err
	}
	format := "table"
	if asJSON {
		format = "json"
	}
	rows, err := newRows(format, out)
	if err != nil {
		return err
	}
	if err := rows.begin([]string{"table", "inserted", "deleted", "updated", "definition"}); err != nil {
		return err
	}
	for _, c := range counts {
		if err := rows.row([]any{c.Table, c.Inserted, c.Deleted, c.Updated, c.Definition}); err != nil {
			return err
		}
	}
	return rows.end()
}

// writeChange prints a change for people.
func writeChange(out io.Writer, c litestream.Change) (err error) {
	row := ""
	if c.HasRowid {
		row = fmt.Sprintf(" %d", c.Rowid)
	}
	switch c.Kind {
	case litestream.TableCreated:
		_, err = fmt.Fprintf(out, "+ table %s: %s\n", c.Table, oneLine(c.SQL))
	case litestream.TableDropped:
		_, err = fmt.Fprintf(out, "- table %s: %s\n", c.Table, oneLine(c.OldSQL))
	case litestream.TableAltered:
		_, err = fmt.Fprintf(out, "~ table %s: %s -> %s\n", c.Table, oneLine(c.OldSQL), oneLine(c.SQL))
	case litestream.RowInserted:
		_, err = fmt.Fprintf(out, "+ %s%s: %s\n", c.Table, row, fieldsOf(c.Columns, c.New, nil))
	case litestream.RowDeleted:
		_, err = fmt.Fprintf(out, "- %s%s: %s\n", c.Table, row, fieldsOf(c.OldColumns, c.Old, nil))
	case litestream.RowUpdated:
		_, err = fmt.Fprintf(out, "~ %s%s: %s\n", c.Table, row, fieldsOf(c.Columns, c.New, &c))
	}
	return err
}

// oneLine returns a text with single spaces.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// fieldsOf formats the values of a row. Of an update, it formats the key and the
// values that have changed.
func fieldsOf(columns []string, values []any, update *litestream.Change) string {
	var all []string
	for i, name := range columns {
		text := name + "=" + shortValue(values[i])
		if update != nil {
			before, known := valueBefore(update, name)
			switch {
			case known && isSameValue(before, values[i]):
				if !slices.Contains(update.Key, i) {
					continue
				}
			case known:
				text = name + ": " + shortValue(before) + " -> " + shortValue(values[i])
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// valueBefore returns the value that a column had before an update, false if there
// was no such column.
func valueBefore(c *litestream.Change, name string) (any, bool) {
	i := slices.IndexFunc(c.OldColumns, func(s string) bool { return sqltokens.EqualFold(s, name) })
	if i < 0 {
		return nil, false
	}
	return c.Old[i], true
}

// maxShown is how many characters of a value are printed for people.
const maxShown = 100

// shortValue formats a value as SQL with a symbol in the place of each NUL, and cuts it
// off if it is long.
func shortValue(v any) string {
	if s, ok := v.(string); ok {
		v = strings.ReplaceAll(s, "\x00", "␀")
	}
	text := literalOf(v)
	if r := []rune(text); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return text
}

// isSameValue reports whether two values are of one type and equal.
func isSameValue(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	return a == b
}

// writeChangeJSON prints a change as an object on a line.
func writeChangeJSON(out io.Writer, c litestream.Change) error {
	return writeObject(out, func(b *strings.Builder) error { return changeFields(b, c) })
}

// writeObject prints an object on a line. The function writes its fields.
func writeObject(out io.Writer, fields func(*strings.Builder) error) error {
	var b strings.Builder
	b.WriteString("{")
	if err := fields(&b); err != nil {
		return err
	}
	b.WriteString("}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// changeFields writes the fields of a JSON object with a change.
func changeFields(b *strings.Builder, c litestream.Change) error {
	head := []string{"kind", "table"}
	values := []any{string(c.Kind), c.Table}
	if c.HasRowid {
		head, values = append(head, "rowid"), append(values, c.Rowid)
	}
	if c.OldSQL != "" {
		head, values = append(head, "old_sql"), append(values, c.OldSQL)
	}
	if c.SQL != "" {
		head, values = append(head, "sql"), append(values, c.SQL)
	}
	if err := jsonFields(b, head, values); err != nil {
		return err
	}
	for _, side := range []struct {
		name    string
		columns []string
		values  []any
	}{{"old", c.OldColumns, c.Old}, {"new", c.Columns, c.New}} {
		if side.values == nil {
			continue
		}
		b.WriteString(`, "` + side.name + `": {`)
		if err := jsonFields(b, side.columns, side.values); err != nil {
			return err
		}
		b.WriteString("}")
	}
	return nil
}
