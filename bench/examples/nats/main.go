// Command nats reads a replica in NATS. This library has no client for NATS, so
// the command uses upstream Litestream's client without an adapter. The server,
// the primary that writes the replica, and the reader all run in this process.
//
// That client downloads an object from its beginning whatever part is
// requested, and it lists the whole bucket, so it suits only small databases.
//
//	go run ./examples/nats
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/benbjohnson/litestream/nats"
	_ "github.com/mattn/go-sqlite3" // the driver sqlite3
	"github.com/psanford/sqlite3vfs"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

const bucket = "backups"

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ending := context.WithoutCancel(ctx)
	// Upstream logs everything it does.
	slog.SetLogLoggerLevel(slog.LevelWarn)

	dir, err := os.MkdirTemp("", "litestream-nats-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := startServer(filepath.Join(dir, "nats"))
	if err != nil {
		return err
	}
	defer stopServer(server)
	if err := createBucket(ctx, server.ClientURL(), bucket); err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}

	writer := newClient(server.ClientURL())
	defer func() { err = errors.Join(err, writer.Close()) }()
	p, err := openPrimary(ctx, filepath.Join(dir, "app.db"), writer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(ending)) }()
	if _, err := p.commit(ctx, "CREATE TABLE soups (name TEXT, stars INT)"); err != nil {
		return err
	}
	before, err := p.commit(ctx, "INSERT INTO soups VALUES ('borscht', 5), ('pho', 5), ('cold', 1)")
	if err != nil {
		return err
	}

	reader := newClient(server.ClientURL())
	defer func() { err = errors.Join(err, reader.Close()) }()
	// Upstream's client has all the methods of our interface.
	vfs := litestream.NewVFS(reader, &litestream.Options{PollInterval: 50 * time.Millisecond})
	if err := sqlite3vfs.RegisterVFS("nats", vfs); err != nil {
		return fmt.Errorf("register vfs: %w", err)
	}
	defer func() { err = errors.Join(err, vfs.Close(ending)) }()
	db, err := sql.Open("sqlite3", "file:app.db?vfs=nats")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx) // time travel is per connection
	if err != nil {
		return fmt.Errorf("open replica: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	if err := printSoups(ctx, stdout, conn, "opened"); err != nil {
		return err
	}
	after, err := p.commit(ctx, "DELETE FROM soups WHERE stars < 3")
	if err != nil {
		return err
	}
	if err := follow(ctx, conn, ltx.TXID(after)); err != nil {
		return err
	}
	if err := printSoups(ctx, stdout, conn, "followed"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA litestream_txid = '%s'", ltx.TXID(before))); err != nil {
		return fmt.Errorf("travel: %w", err)
	}
	return printSoups(ctx, stdout, conn, "travelled back")
}

func newClient(url string) *nats.ReplicaClient {
	client := nats.NewReplicaClient()
	client.URL, client.BucketName, client.Path = url, bucket, "app.db"
	return client
}

// follow waits until a connection sees a transaction.
func follow(ctx context.Context, conn *sql.Conn, txid ltx.TXID) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA litestream_txid").Scan(&got); err != nil {
			return err
		}
		if got >= txid.String() {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for transaction %s, at %s: %w", txid, got, ctx.Err())
		}
	}
}

func printSoups(ctx context.Context, w io.Writer, conn *sql.Conn, when string) error {
	var soups string
	const query = "SELECT group_concat(name, ', ') FROM (SELECT name FROM soups ORDER BY name)"
	if err := conn.QueryRowContext(ctx, query).Scan(&soups); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", when, soups)
	return err
}
