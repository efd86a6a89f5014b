package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/extension"
	"github.com/ltxvfs/litestream/internal/sqltokens"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/ncruces"
)

// queryFlags are the flags of query.
type queryFlags struct {
	at     string
	format string
	params []string
}

// query is the command that runs SQL.
func (a *app) query() *cobra.Command {
	var flags queryFlags
	cmd := &cobra.Command{
		Use: "query URL SQL", Short: "Run SQL on a replica in place", Args: between(2, 2),
		Long: `query runs SQL on a replica where it is, and reads only the pages that it needs.
SQL of - is read from standard input. Statements that change the database are
refused. Options of the library are taken from the environment, as the loadable
extension does. What it costs in requests and bytes is printed to standard error.

The value of a parameter is a number if it has the form in which SQLite writes one,
such as 42 and 2.5, and a text otherwise: 007, +49 and 1.50 are texts. A column of
numbers finds those too, and CAST(:name AS REAL) makes a number of one elsewhere.`,
		Example: `  ltxvfs query s3://bucket/app.db 'SELECT * FROM users LIMIT 10'
  ltxvfs query s3://bucket/app.db 'SELECT * FROM users WHERE id = :id' -p id=42 -o csv
  ltxvfs query s3://bucket/app.db 'SELECT max(rating) FROM reviews' --at yesterday`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runQuery(cmd.Context(), args, cmd.InOrStdin(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.at, "at", "", "transaction or time of the `state`, the newest by default")
	a.outputFlag(cmd, &flags.format)
	cmd.Flags().StringArrayVarP(&flags.params, "param", "p", nil, "`name=value` of a parameter of the SQL, or the value of the next one without a name")
	return cmd
}

// outputFlag gives a command the flag for the format of rows.
func (a *app) outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "table", "`format` of rows: table, csv, json or markdown")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "csv", "json", "markdown"}, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) runQuery(ctx context.Context, args []string, in io.Reader, flags queryFlags) error {
	replicaURL, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	if _, err := maintain.ParseMoment(flags.at, time.Now()); err != nil {
		return usagef("--at: %w", err)
	}
	if a.json {
		flags.format = "json"
	}
	rows, err := newRows(flags.format, a.out)
	if err != nil {
		return err
	}
	text := args[1]
	if text == "-" {
		b, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		text = string(b)
	}
	start := time.Now()
	db, err := a.openDatabase(ctx, replicaURL, flags.at)
	if err != nil {
		return err
	}
	err = runSQL(db.Conn, text, flags.params, rows)
	all := db.cost()
	if err = errors.Join(err, db.close()); err != nil {
		return err
	}
	if !a.quiet {
		a.printCost(all, time.Since(start), db)
	}
	return nil
}

// cost is what statements have cost.
type cost struct{ requests, bytes int64 }

// cost returns what a connection has cost so far.
func (db *database) cost() (c cost) {
	for _, s := range db.vfs.Stats() {
		c.requests += s.Lists + s.Reads
		c.bytes += s.ReadBytes
	}
	return c
}

// printCost prints what statements have cost, and the state that they have read.
func (a *app) printCost(c cost, took time.Duration, db *database) {
	fmt.Fprintf(a.errors, "%s, %s in %s, at %s of %s\n", count(c.requests, "request"), formatBytes(c.bytes), took.Round(time.Millisecond), db.txid, db.time)
}

// database is a connection to a replica.
type database struct {
	*sqlite3.Conn
	vfs        *litestream.VFS
	txid, time string // of the state
}

// vfsName is the name of the VFS of the program.
const vfsName = "ltxvfs"

// vfsOptions returns the options of a VFS that reads, from the environment.
func (a *app) vfsOptions() (*litestream.Options, error) {
	log, err := a.logger()
	if err != nil {
		return nil, err
	}
	opts := &litestream.Options{Logger: log}
	params, err := a.options()
	if err != nil {
		return nil, usageError{err}
	}
	for name, value := range params {
		if err := opts.Set(name, value); err != nil {
			return nil, usageError{err}
		}
	}
	opts.WriteEnabled = false
	return opts, nil
}

// newVFS returns a VFS that reads, with the options of the environment, for replicas.
func (a *app) newVFS(replicaURLs ...string) (*litestream.VFS, error) {
	opts, err := a.vfsOptions()
	if err != nil {
		return nil, err
	}
	for _, url := range replicaURLs {
		if _, err := litestream.NewReplicaClientFromURL(url); err != nil {
			return nil, usageError{err}
		}
	}
	return litestream.NewVFS(nil, opts), nil
}

// openDatabase opens a replica at a state, with the options of the environment.
func (a *app) openDatabase(ctx context.Context, replicaURL, at string) (db *database, err error) {
	vfs, err := a.newVFS(replicaURL)
	if err != nil {
		return nil, err
	}
	db = &database{vfs: vfs}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
			db = nil
		}
	}()
	if err := ncruces.RegisterVFS(vfsName, db.vfs); err != nil {
		return db, err
	}
	// By Go first, so that the error is whole and the context ends the wait.
	if _, err := db.vfs.StatsOf(ctx, replicaURL); err != nil {
		return db, err
	}
	name := "file:" + escapeURI(shown(replicaURL)) + "?mode=ro&vfs=" + vfsName + "&replica_url=" + url.QueryEscape(replicaURL)
	if db.Conn, err = sqlite3.OpenContext(ctx, name); err != nil {
		return db, err
	}
	db.SetInterrupt(ctx)
	if err := db.travel(at); err != nil {
		return db, err
	}
	return db, db.where()
}

// where finds out which state the connection reads.
func (db *database) where() error {
	for pragma, value := range map[string]*string{"litestream_txid": &db.txid, "litestream_time": &db.time} {
		rows, err := texts(db.Conn, "PRAGMA "+pragma)
		if err != nil || len(rows) == 0 {
			return fmt.Errorf("PRAGMA %s: %w", pragma, err)
		}
		*value = rows[0]
	}
	return nil
}

// travel makes a connection read a state.
func (db *database) travel(at string) error {
	at = strings.TrimSpace(at)
	if at == "" {
		return nil
	}
	pragma := "litestream_time"
	if m, err := maintain.ParseMoment(at, time.Now()); err == nil && m.TXID != 0 {
		pragma = "litestream_txid"
	}
	_, err := texts(db.Conn, "PRAGMA "+pragma+" = "+sqlite3.Quote(at))
	return err
}

// close closes the connection and the VFS.
func (db *database) close() (err error) {
	if db.Conn != nil {
		err = db.Conn.Close()
	}
	return errors.Join(err, db.vfs.Close(context.Background())) // within CloseTimeout
}

// options returns the options of the library that are set in the environment.
func (a *app) options() (map[string]string, error) {
	env := extension.Environment{}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "LITESTREAM_") {
			env[name] = value
		}
	}
	params, err := env.Params(nil)
	if err != nil {
		return nil, err
	}
	if _, said := params["wait_for_replica"]; !said {
		params["wait_for_replica"] = "0" // a person who has mistyped a URL does not wait
	}
	return params, nil
}

// integrity returns the rows of PRAGMA integrity_check of a replica's newest state.
func (a *app) integrity(ctx context.Context, replicaURL string) (rows []string, err error) {
	db, err := a.openDatabase(ctx, replicaURL, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	return texts(db.Conn, "PRAGMA integrity_check")
}

// texts returns the first column of the rows of a statement.
func texts(conn *sqlite3.Conn, sql string) (rows []string, err error) {
	stmt, _, err := conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	for stmt.Step() {
		rows = append(rows, stmt.ColumnText(0))
	}
	return rows, stmt.Err()
}

// runSQL runs statements, of which there has to be one, and which have to use all
// parameters.
func runSQL(conn *sqlite3.Conn, sql string, params []string, rows rowWriter) error {
	ran, rest, err := runStatements(conn, sql, params, rows)
	switch {
	case err != nil:
		return err
	case !ran:
		return usagef("there is no SQL")
	case len(rest) > 0:
		return usagef("-p %s: the SQL has no such parameter", rest[0])
	}
	return nil
}

// runStatements runs statements, and passes on the rows of each that has columns. It
// reports whether there were any, and returns the parameters that they have no place
// for.
func runStatements(conn *sqlite3.Conn, sql string, params []string, rows rowWriter) (ran bool, rest []string, err error) {
	// Prepare does not say what follows an empty statement.
	for sql = sqltokens.TrimEmpty(sql); sql != ""; sql = sqltokens.TrimEmpty(sql) {
		stmt, tail, err := conn.Prepare(sql)
		if err != nil || stmt == nil {
			return ran, params, err
		}
		sql, ran = tail, true
		if params, err = bind(stmt, params); err == nil {
			err = writeRows(stmt, rows)
		}
		if err = errors.Join(err, stmt.Close()); err != nil {
			return ran, params, err
		}
	}
	return ran, params, nil
}

// bind binds the parameters of a statement, and returns those that it has no place
// for. Names may be used by several statements, of which the first takes them.
func bind(stmt *sqlite3.Stmt, params []string) (rest []string, err error) {
	next := 1
	for _, p := range params {
		index, value := 0, p
		if name, v, ok := strings.Cut(p, "="); ok {
			for _, prefix := range []string{":", "@", "$"} {
				if i := stmt.BindIndex(prefix + strings.TrimLeft(name, ":@$")); i > 0 && index == 0 {
					index, value = i, v
				}
			}
		}
		for ; index == 0 && next <= stmt.BindCount(); next++ {
			if stmt.BindName(next) == "" {
				index = next
			}
		}
		if index == 0 {
			rest = append(rest, p)
			continue
		}
		if err := bindText(stmt, index, value); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// bindText binds a number if a text is one in the form in which SQLite writes it, and a
// text otherwise. SQLite makes the same text of such a number where a column has texts,
// and a number of any text that is one where a column has numbers. So 007 finds the text
// 007, and the number 7 as well.
func bindText(stmt *sqlite3.Stmt, index int, value string) error {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && strconv.FormatInt(n, 10) == value {
		return stmt.BindInt64(index, n)
	}
	if f, err := strconv.ParseFloat(value, 64); err == nil && textOf(f) == value {
		return stmt.BindFloat(index, f)
	}
	return stmt.BindText(index, value)
}

// textOf formats a number as SQLite does when it makes a text of it. Some that need an
// exponent have another form.
func textOf(f float64) string {
	text := strconv.FormatFloat(f, 'g', 15, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// escapeURI escapes a file name for a URI of SQLite's.
func escapeURI(name string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(name)
}
