// Command hydrate queries a replica while it is copied to a local file, and
// shows how long queries take before, during and after the copy.
//
//	go run ./examples/hydrate [-latency d] [-file path] [replica]
//
// The replica is a URL or a folder. Without one, the program creates a replica
// of 25 MB and reads it as slowly as from an object store.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/s3"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "hydrate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("hydrate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	latency := flags.Duration("latency", 20*time.Millisecond, "`time` that is added to each request")
	path := flags.String("file", "", "local `file`, which stays (default: a temporary one)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hydrate-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	client, err := newClient(ctx, flags.Arg(0), dir)
	if err != nil {
		return err
	}
	client = decorate.NewLatency(client, decorate.Latency{PerRequest: *latency, BytesPerSecond: 20e6})

	bar := progressbar.NewOptions(100, progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription("hydration"),
		progressbar.OptionSetWidth(40), progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionClearOnFinish())
	done := make(chan litestream.HydrationProgress, 1)
	vfs := litestream.NewVFS(client, &litestream.Options{
		WaitForReplica:   -1, // a misspelt path is an error at once
		HydrationEnabled: true,
		HydrationPath:    *path,
		Logger:           slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		OnHydrationProgress: func(p litestream.HydrationProgress) {
			_ = bar.Set(int(p.Progress)) // an error of drawing is ignored
			if p.Status == litestream.HydrationComplete || p.Status == litestream.HydrationFailed {
				select {
				case done <- p:
				default:
				}
			}
		},
	})
	name := fmt.Sprintf("hydrate-%p", vfs)
	if err := registerVFS(name, vfs); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vfs.Close(ctx)) }()

	start := time.Now()
	db, err := sql.Open("sqlite3", "file:replica.db?mode=ro&vfs="+name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	table, rows, err := largestTable(ctx, db)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "open:       first rows %v after the start\n", time.Since(start).Round(time.Millisecond))

	var meanwhile []time.Duration
	for {
		select {
		case p := <-done:
			_ = bar.Finish()
			if p.Error != "" {
				return errors.New(p.Error)
			}
			fmt.Fprintf(stdout, "meanwhile:  %s\n", times(meanwhile))
			fmt.Fprintf(stdout, "hydrated:   %d pages, %d KB read, %v after the start\n",
				p.TotalPages, p.Bytes/1000, time.Since(start).Round(time.Millisecond))
			return after(ctx, db, table, rows, stdout)
		default:
			d, err := timeQuery(ctx, db, table, rows, len(meanwhile))
			if err != nil {
				return err
			}
			meanwhile = append(meanwhile, d)
		}
	}
}

// after runs the same number of queries again, now on the local file.
func after(ctx context.Context, db *sql.DB, table string, rows int, stdout io.Writer) error {
	var all []time.Duration
	for i := range 100 {
		d, err := timeQuery(ctx, db, table, rows, i)
		if err != nil {
			return err
		}
		all = append(all, d)
	}
	fmt.Fprintf(stdout, "afterwards: %s\n", times(all))
	return nil
}

// timeQuery reads a row that SQLite does not have in its own cache.
func timeQuery(ctx context.Context, db *sql.DB, table string, rows, i int) (time.Duration, error) {
	if _, err := db.ExecContext(ctx, "PRAGMA shrink_memory"); err != nil {
		return 0, err
	}
	start := time.Now()
	var n int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+table+" WHERE rowid = ?", 1+i*7919%max(rows, 1)).Scan(&n)
	return time.Since(start), err
}

func times(all []time.Duration) string {
	if len(all) == 0 {
		return "no query"
	}
	slices.Sort(all)
	return fmt.Sprintf("%d queries, median %v, longest %v", len(all),
		all[len(all)/2].Round(time.Microsecond), all[len(all)-1].Round(time.Microsecond))
}

// largestTable returns the table with the greatest rowid, and that rowid.
func largestTable(ctx context.Context, db *sql.DB) (table string, most int, err error) {
	rows, err := db.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE TABLE%' AND sql NOT LIKE '%WITHOUT ROWID%'")
	if err != nil {
		return "", 0, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", 0, err
		}
		names = append(names, `"`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return "", 0, err
	}
	most = -1
	for _, name := range names {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM "+name).Scan(&n); err != nil {
			return "", 0, err
		}
		if n > most {
			table, most = name, n
		}
	}
	if most < 0 {
		return "", 0, errors.New("the database has no table")
	}
	return table, most, nil
}

// newClient creates a client. dir is the folder of the replica if the program
// creates one.
func newClient(ctx context.Context, replica, dir string) (litestream.ReplicaClient, error) {
	switch {
	case replica == "":
		return makeReplica(ctx, dir)
	case strings.Contains(replica, ":"):
		return litestream.NewReplicaClientFromURL(replica)
	default:
		return file.NewReplicaClient(replica), nil
	}
}
