// Command query runs a query on a Litestream replica in place.
//
//	go run ./examples/query [-db name] [-time t] [replica [sql]]
//
// The replica is a URL or a folder. Without one, the program uses the example
// in this repository. Without SQL, it counts the rows of every table.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/s3" // replicas with s3 URLs
)

const defaultReplica = "testdata/replicas/sandwiches"

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "query:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: query [-db name] [-time t] [replica url or folder [sql]]")
		flags.PrintDefaults()
	}
	name := flags.String("db", "replica.db", "`name` of the database, for SQLite and the log")
	at := flags.String("time", "", "show the database as it was at a `time`, such as 2026-03-14T11:59:49Z or '5 minutes ago'")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 2 {
		return fmt.Errorf("%d arguments, want a replica and a query: quote the query", flags.NArg())
	}
	replica, query := flags.Arg(0), flags.Arg(1)
	if replica == "" {
		replica = defaultReplica
	}

	client, err := newClient(replica)
	if err != nil {
		return err
	}
	vfs := litestream.NewVFS(client)
	vfs.PollInterval = -1   // a single query does not need polling
	vfs.WaitForReplica = -1 // a misspelt path is an error at once
	vfs.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := registerVFS("litestream", vfs); err != nil {
		return fmt.Errorf("register vfs: %w", err)
	}
	defer func() { err = errors.Join(err, vfs.Close(ctx)) }()

	db, err := sql.Open(driverName, "file:"+url.PathEscape(*name)+"?vfs=litestream")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// Time travel is per connection, so all statements use the same one.
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", replica, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if *at != "" {
		if _, err := conn.ExecContext(ctx, "SELECT litestream_set_time(?)", *at); err != nil {
			return fmt.Errorf("go to %s: %w", *at, err)
		}
	}
	// In a transaction, every statement reads the same state.
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if query == "" {
		err = printOverview(ctx, stdout, tx)
	} else {
		err = printQuery(ctx, stdout, tx, query)
	}
	if err != nil {
		return err
	}
	return printCost(ctx, stdout, tx, vfs)
}

// newClient treats every argument that does not look like a URL as the folder
// of a replica.
func newClient(replica string) (litestream.ReplicaClient, error) {
	if strings.Contains(replica, "://") || strings.HasPrefix(replica, "file:") {
		return litestream.NewReplicaClientFromURL(replica)
	}
	if _, err := os.Stat(replica); err != nil {
		return nil, fmt.Errorf("no replica: %w", err)
	}
	return file.NewReplicaClient(replica), nil
}

// printOverview prints the tables and their numbers of rows.
func printOverview(ctx context.Context, w io.Writer, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT name FROM pragma_table_list
		WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	t := newTable(w, "table", "rows")
	for _, name := range tables {
		var n int64
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+quoted).Scan(&n); err != nil {
			return fmt.Errorf("count rows of %s: %w", name, err)
		}
		t.row(name, n)
	}
	return t.Flush()
}

// printQuery prints the rows of a query.
func printQuery(ctx context.Context, w io.Writer, tx *sql.Tx, query string) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	t := newTable(w, columns...)
	values, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		t.row(values...)
	}
	// Rows before an error are valid, so print them.
	return errors.Join(rows.Err(), t.Flush())
}

// printCost prints the state that a transaction reads and the requests to the
// store so far.
func printCost(ctx context.Context, w io.Writer, tx *sql.Tx, vfs *litestream.VFS) error {
	var txid, at string
	if err := tx.QueryRowContext(ctx, "SELECT litestream_txid(), litestream_time()").Scan(&txid, &at); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nas of transaction %s, %s\n", txid, at)
	for _, s := range vfs.Stats() { // only one database is open
		_, err := fmt.Fprintf(w, "%d listings, %d reads, %.1f KiB read; the database has %.1f KiB\n",
			s.Lists, s.Reads, kib(s.ReadBytes), kib(int64(s.Pages)*int64(s.PageSize)))
		if err != nil {
			return err
		}
	}
	return nil
}

func kib(n int64) float64 { return float64(n) / 1024 }
