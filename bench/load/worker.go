//go:build linux

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/s3" // the scheme s3
)

// workerRole is the role of a process of the scenario mixed.
type workerRole struct {
	Name, URL     string
	Writes        bool // four of its connections write
	Travels       bool // its connections read the past at times
	HydrationPath string
	BufferPath    string
	Length, Think time.Duration
	Seed          uint64
}

// workerEnd is what a process has to say at its end.
type workerEnd struct {
	Reads, Writes, Syncs histogram
	Samples              []sample // one for each second
	Seq                  int64    // the newest acknowledged transfer
}

// worker is a process of the scenario mixed.
type worker struct {
	*workerRole
	db                   *sql.DB
	reads, writes, syncs timings
}

// writers is how many connections of the process that writes do so.
const writers = 4

func (r *workerRole) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the process that started this one ends
		cancel()
	}()
	opts := &litestream.Options{
		HydrationEnabled: r.HydrationPath != "", HydrationPath: r.HydrationPath,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if r.Writes {
		opts.WriteEnabled, opts.WriteBufferPath = true, r.BufferPath
		// So short that all of it happens many times within ten minutes.
		opts.CompactionLevels = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}
		opts.L0Retention = 20 * time.Second
		opts.SnapshotInterval, opts.SnapshotRetention = time.Minute, 2*time.Minute
	}
	db, err := litestream.Open(r.URL, opts)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(connections + 1) // one syncs
	db.SetMaxIdleConns(connections + 1)
	w := &worker{workerRole: r, db: db}
	end, err := w.work(ctx)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(end)
}

// work runs the connections, and takes a sample each second.
func (w *worker) work(ctx context.Context) (end *workerEnd, err error) {
	end = new(workerEnd)
	timed, cancel := context.WithTimeout(ctx, w.Length)
	defer cancel()
	group, timed := errgroup.WithContext(timed)
	for i := range connections {
		group.Go(func() error {
			conn, err := w.db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			c := &user{worker: w, conn: conn, rng: rand.New(rand.NewPCG(w.Seed, uint64(i)))}
			if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 60000"); err != nil {
				return err
			}
			return c.use(timed, w.Writes && i < writers)
		})
	}
	if w.Writes {
		group.Go(func() error { return w.sync(timed) })
	}
	group.Go(func() error {
		for pause(timed, time.Second) {
			s, err := take()
			if err != nil {
				return err
			}
			end.Samples = append(end.Samples, s)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return end, err
	}
	if err := ctx.Err(); err != nil {
		return end, err
	}
	end.Reads, end.Writes, end.Syncs = *w.reads.take(), *w.writes.take(), *w.syncs.take()
	return end, w.db.QueryRowContext(ctx, "SELECT seq FROM newest").Scan(&end.Seq)
}

// sync syncs each second.
func (w *worker) sync(ctx context.Context) error {
	for pause(ctx, time.Second) {
		start := time.Now()
		if _, err := w.db.ExecContext(context.WithoutCancel(ctx), "PRAGMA litestream_sync"); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		w.syncs.since(start)
	}
	return nil
}

// user uses a connection.
type user struct {
	*worker
	conn *sql.Conn
	rng  *rand.Rand
	last int64 // newest transfer that the connection has seen
}

// use runs transactions until ctx ends, and finishes the last one.
func (u *user) use(ctx context.Context, writes bool) error {
	for n := 1; pause(ctx, time.Duration(u.rng.Int64N(2*int64(u.Think)+1))); n++ {
		run, times, what := u.read, &u.reads, "read"
		switch {
		case writes && n%2 == 0:
			run, times, what = u.write, &u.writes, "write"
		case u.Travels && n%20 == 0:
			run, what = u.travel, "travel"
		}
		start := time.Now()
		if err := run(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s: %s: %w", u.Name, what, err)
		}
		times.since(start)
	}
	return nil
}

// read checks the balances of two groups, and the ledger.
func (u *user) read(ctx context.Context) (err error) {
	seq, err := u.look(ctx)
	if err == nil && seq < u.last {
		err = fmt.Errorf("the newest transfer is %d, and was %d before", seq, u.last)
	}
	u.last = seq
	return err
}

// look reads in one transaction, and returns the newest transfer.
func (u *user) look(ctx context.Context) (seq int64, err error) {
	tx, err := u.conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, "SELECT seq FROM newest").Scan(&seq); err != nil {
		return 0, err
	}
	for range 2 {
		var balance, n int64
		group := u.rng.IntN(groups)
		if err := tx.QueryRowContext(ctx, "SELECT sum(balance), count(*) FROM accounts WHERE grp = ?", group).Scan(&balance, &n); err != nil {
			return 0, err
		}
		if n != perGroup || balance != perGroup*firstBalance {
			return 0, fmt.Errorf("group %d has %d accounts with %d together", group, n, balance)
		}
	}
	var first, last, n, again sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT min(seq), max(seq), count(*), (SELECT seq FROM newest) FROM ledger").Scan(&first, &last, &n, &again); err != nil {
		return 0, err
	}
	if again.Int64 != seq || n.Int64 != min(seq, ledgerLength) || n.Int64 > 0 && (last.Int64 != seq || last.Int64-first.Int64+1 != n.Int64) {
		return 0, fmt.Errorf("the newest transfer is %d and then %d, the ledger has %d from %d to %d", seq, again.Int64, n.Int64, first.Int64, last.Int64)
	}
	return seq, nil
}

// travel reads the database as it was some seconds ago.
func (u *user) travel(ctx context.Context) error {
	ago := fmt.Sprintf("PRAGMA litestream_time = '%d seconds ago'", 1+u.rng.IntN(10))
	if _, err := u.conn.ExecContext(ctx, ago); err != nil {
		if errors.Is(err, litestream.ErrTxNotAvailable) {
			return nil // it is younger than that
		}
		return err
	}
	seq, err := u.look(ctx)
	if _, back := u.conn.ExecContext(ctx, "PRAGMA litestream_time = latest"); err == nil {
		err = back
	}
	if err != nil {
		return err
	}
	now, err := u.look(ctx)
	if err == nil && now < seq {
		err = fmt.Errorf("the newest transfer is %d, and was %d some seconds before", now, seq)
	}
	return err
}

// write moves an amount within a group.
func (u *user) write(ctx context.Context) error {
	if _, err := u.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := u.transfer(ctx); err != nil {
		_, rolledBack := u.conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(err, rolledBack)
	}
	return nil
}

func (u *user) transfer(ctx context.Context) error {
	var seq int64
	if err := u.conn.QueryRowContext(ctx, "UPDATE newest SET seq = seq + 1 RETURNING seq").Scan(&seq); err != nil {
		return err
	}
	group, amount := u.rng.IntN(groups), 1+u.rng.IntN(50)
	source, target := group+groups*u.rng.IntN(perGroup), group+groups*u.rng.IntN(perGroup)
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{"UPDATE accounts SET balance = balance - ? WHERE id = ?", []any{amount, source}},
		{"UPDATE accounts SET balance = balance + ? WHERE id = ?", []any{amount, target}},
		{"INSERT INTO ledger VALUES (?, ?, ?, ?)", []any{seq, source, target, amount}},
		{"DELETE FROM ledger WHERE seq <= ?", []any{seq - ledgerLength}},
		{"COMMIT", nil},
	} {
		if _, err := u.conn.ExecContext(ctx, s.sql, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.sql, err)
		}
	}
	return nil
}
