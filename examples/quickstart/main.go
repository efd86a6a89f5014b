// Command quickstart creates a database on a replica, reads it through another
// VFS, travels to an earlier state, and copies it to a local file.
//
//	go run ./examples/quickstart
//
// The replica is a temporary folder. A URL such as s3://bucket/path, given to
// litestream.NewReplicaClientFromURL, would work as well.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hydrated := make(chan litestream.HydrationProgress, 1)

	// The two VFSes have clients of their own and share only the folder, as if
	// they were in two processes.
	writerVFS, err := register("writer", dir, &litestream.Options{WriteEnabled: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writerVFS.Close(ctx)) }()
	readerVFS, err := register("reader", dir, &litestream.Options{
		HydrationEnabled: true,
		OnHydrationProgress: func(p litestream.HydrationProgress) {
			if p.Status != litestream.HydrationComplete && p.Status != litestream.HydrationFailed {
				return
			}
			select {
			case hydrated <- p:
			default: // the channel has a value already
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, readerVFS.Close(ctx)) }()

	writer, err := sql.Open("sqlite3", "file:menu.db?vfs=writer")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	first, err := write(ctx, stdout, writer)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := listFiles(stdout, dir); err != nil {
		return fmt.Errorf("list the replica: %w", err)
	}

	reader, err := sql.Open("sqlite3", "file:menu.db?vfs=reader&mode=ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	if err := travel(ctx, stdout, reader, first); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return awaitHydration(ctx, stdout, reader, hydrated)
}

// register creates a VFS for the replica in a folder and registers it with
// SQLite under a name.
func register(name, dir string, opts *litestream.Options) (*litestream.VFS, error) {
	opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	vfs := litestream.NewVFS(file.NewReplicaClient(dir), opts)
	if err := registerVFS(name, vfs); err != nil {
		return nil, fmt.Errorf("register vfs: %w", err)
	}
	return vfs, nil
}

// write creates the database and changes it once. It returns the first
// transaction that was uploaded to the replica.
func write(ctx context.Context, stdout io.Writer, db *sql.DB) (first string, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback() // does nothing after Commit
	for _, statement := range []string{
		"CREATE TABLE menu (id INTEGER PRIMARY KEY, sandwich TEXT, price INTEGER)",
		"INSERT INTO menu (sandwich, price) VALUES ('cheese', 4), ('egg', 3)",
		"INSERT INTO menu (sandwich, price) VALUES ('pastrami', 8)",
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	if err := tx.Commit(); err != nil {
		return "", err
	}
	// A commit is uploaded a second later. After this statement it is on the
	// replica.
	if err := db.QueryRowContext(ctx, "PRAGMA litestream_sync").Scan(&first); err != nil {
		return "", err
	}
	fmt.Fprintf(stdout, "writer: a table with 3 rows is on the replica as transaction %s\n", first)

	if _, err := db.ExecContext(ctx, "UPDATE menu SET price = price + 1 WHERE sandwich <> 'egg'"); err != nil {
		return "", err
	}
	var second string
	if err := db.QueryRowContext(ctx, "PRAGMA litestream_sync").Scan(&second); err != nil {
		return "", err
	}
	fmt.Fprintf(stdout, "writer: new prices are on the replica as transaction %s\n\n", second)
	return first, nil
}

// listFiles prints the files that the writer has created. The folder contains
// no other files.
func listFiles(stdout io.Writer, dir string) error {
	names, err := fs.Glob(os.DirFS(dir), "ltx/0/*.ltx")
	for _, name := range names {
		fmt.Fprintf(stdout, "replica: %s\n", name)
	}
	fmt.Fprintln(stdout)
	return err
}

// travel prints the current prices and the earlier ones.
func travel(ctx context.Context, stdout io.Writer, db *sql.DB, txid string) error {
	conn, err := db.Conn(ctx) // time travel is per connection
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := printPrices(ctx, stdout, conn, "now"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA litestream_txid = '%s'", txid)); err != nil {
		return fmt.Errorf("go to transaction %s: %w", txid, err)
	}
	if err := printPrices(ctx, stdout, conn, "then"); err != nil {
		return err
	}
	// The pool may hand the connection to another caller.
	_, err = conn.ExecContext(ctx, "PRAGMA litestream_txid = latest")
	return err
}

func printPrices(ctx context.Context, stdout io.Writer, conn *sql.Conn, when string) error {
	var txid, prices string
	if err := conn.QueryRowContext(ctx, "PRAGMA litestream_txid").Scan(&txid); err != nil {
		return err
	}
	if err := conn.QueryRowContext(ctx, "SELECT group_concat(sandwich || ' ' || price, ', ' ORDER BY id) FROM menu").Scan(&prices); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "reader: %-5s transaction %s: %s\n", when+",", txid, prices)
	return err
}

// awaitHydration waits until the whole database is in a local file, and reads
// from that file.
func awaitHydration(ctx context.Context, stdout io.Writer, db *sql.DB, done <-chan litestream.HydrationProgress) error {
	select {
	case p := <-done:
		if p.Status == litestream.HydrationFailed {
			return fmt.Errorf("hydrate: %s", p.Error)
		}
		fmt.Fprintf(stdout, "\nreader: hydrated, %d of %d pages are in a local file\n", p.Pages, p.TotalPages)
	case <-ctx.Done():
		return fmt.Errorf("hydrate: %w", ctx.Err())
	}
	var sum int
	if err := db.QueryRowContext(ctx, "SELECT sum(price) FROM menu").Scan(&sum); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "reader: from there, one of each costs %d\n", sum)
	return err
}
