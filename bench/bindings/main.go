// Command bindings compares the bindings of SQLite: how fast each reads and writes
// through the library, beside plain SQLite of the same driver. Built with cgo it
// measures mattn/go-sqlite3, and without it ncruces/go-sqlite3:
//
//	go run ./bindings
//	CGO_ENABLED=0 go run ./bindings
//
// The replica is a folder, and requests take no time, so that what is measured is the
// way between SQLite and the engine.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

// binding is a way from database/sql to a database.
type binding struct {
	name string

	// register makes a VFS known by a name. It is nil for plain SQLite.
	register func(name string, vfs *litestream.VFS) error
}

// measure is one kind of work. It returns the time of one operation.
type measure struct {
	name string
	unit time.Duration
	run  func(ctx context.Context, db *sql.DB) (time.Duration, error)
}

const rows = 20_000

var measures = []measure{
	{"warm point query", time.Microsecond, points},
	{"1000 lookups in one transaction", time.Millisecond, lookups},
	{"scan of 20,000 rows", time.Millisecond, scan},
	{"one-row commit, synchronous=OFF", time.Microsecond, commits},
}

func main() {
	runs := flag.Int("runs", 5, "runs of each measurement, of which the median counts")
	flag.Parse()
	if err := run(context.Background(), *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bindings:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int) (err error) {
	dir, err := os.MkdirTemp("", "litestream-bindings-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all := bindings()
	dbs := make([]*sql.DB, len(all))
	for i, b := range all {
		var end func() error
		if dbs[i], end, err = open(ctx, b, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("bindings-%d", i)); err != nil {
			return fmt.Errorf("open with %s: %w", b.name, err)
		}
		defer func() {
			if eerr := end(); err == nil {
				err = eerr
			}
		}()
	}
	fmt.Print("| |")
	for _, b := range all {
		fmt.Printf(" %s |", b.name)
	}
	fmt.Print("\n|---|")
	for range all {
		fmt.Print("--:|")
	}
	fmt.Println()
	for _, m := range measures {
		times := make([][]time.Duration, len(all))
		for range runs {
			for i, db := range dbs { // in turn, so that a busy moment does not hit one of them
				d, err := m.run(ctx, db)
				if err != nil {
					return fmt.Errorf("%s with %s: %w", m.name, all[i].name, err)
				}
				times[i] = append(times[i], d)
			}
		}
		fmt.Printf("| %s |", m.name)
		for i := range all {
			slices.Sort(times[i])
			fmt.Printf(" %.3g %s |", float64(times[i][runs/2])/float64(m.unit), unit(m.unit))
		}
		fmt.Println()
	}
	return nil
}

func unit(d time.Duration) string {
	if d == time.Microsecond {
		return "µs"
	}
	return "ms"
}

// open makes a database in a folder, and returns it with one connection.
func open(ctx context.Context, b binding, dir, name string) (db *sql.DB, end func() error, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	dsn := "file:" + filepath.ToSlash(filepath.Join(dir, "app.db"))
	end = func() error { return nil }
	if b.register != nil {
		vfs := litestream.NewVFS(file.NewReplicaClient(filepath.Join(dir, "replica")), &litestream.Options{
			WriteEnabled: true, PollInterval: -1, Logger: slog.New(slog.DiscardHandler),
		})
		if err := b.register(name, vfs); err != nil {
			return nil, nil, err
		}
		dsn += "?vfs=" + name
		end = func() error { return vfs.Close(context.Background()) }
	}
	if db, err = sql.Open("sqlite3", dsn); err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	rng := rand.New(rand.NewPCG(1, 2))
	blob := make([]byte, 200)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err = tx.ExecContext(ctx, "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, n INTEGER)"); err != nil {
		return nil, nil, err
	}
	for id := range rows {
		for i := range blob {
			blob[i] = byte(rng.Uint32())
		}
		if _, err = tx.ExecContext(ctx, "INSERT INTO t VALUES (?, ?, 0)", id+1, blob); err != nil {
			return nil, nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, nil, err
	}
	if b.register != nil { // pages are read from the cache, and not from the write buffer
		if _, err := db.ExecContext(ctx, "PRAGMA litestream_sync"); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range measures[:3] {
		if _, err := m.run(ctx, db); err != nil {
			return nil, nil, err
		}
	}
	closeVFS := end
	return db, func() error { return errors.Join(db.Close(), closeVFS()) }, nil
}

func points(ctx context.Context, db *sql.DB) (time.Duration, error) {
	const n = 5000
	stmt, err := db.PrepareContext(ctx, "SELECT length(b) FROM t WHERE id = ?")
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	start := time.Now()
	for range n {
		if err := stmt.QueryRowContext(ctx, rng.IntN(rows)+1).Scan(new(int)); err != nil {
			return 0, err
		}
	}
	return time.Since(start) / n, nil
}

func lookups(ctx context.Context, db *sql.DB) (time.Duration, error) {
	rng := rand.New(rand.NewPCG(5, 6))
	start := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	for range 1000 {
		if err := tx.QueryRowContext(ctx, "SELECT length(b) FROM t WHERE id = ?", rng.IntN(rows)+1).Scan(new(int)); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func scan(ctx context.Context, db *sql.DB) (time.Duration, error) {
	start := time.Now()
	var n int
	err := db.QueryRowContext(ctx, "SELECT sum(length(b)) FROM t").Scan(&n)
	if err == nil && n != rows*200 {
		err = fmt.Errorf("%d bytes", n)
	}
	return time.Since(start), err
}

func commits(ctx context.Context, db *sql.DB) (time.Duration, error) {
	const n = 500
	if _, err := db.ExecContext(ctx, "PRAGMA synchronous = OFF"); err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(7, 8))
	start := time.Now()
	for range n {
		if _, err := db.ExecContext(ctx, "UPDATE t SET n = n + 1 WHERE id = ?", rng.IntN(rows)+1); err != nil {
			return 0, err
		}
	}
	return time.Since(start) / n, nil
}
