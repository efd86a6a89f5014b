//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/memory"
)

// runL0 opens, follows and compacts a replica with thousands of files of level 0.
func runL0(ctx context.Context, c *config) (all []*report, err error) {
	r := &report{Title: fmt.Sprintf("l0: %d files of level 0, %s a request", c.files, c.latency)}
	client := memory.NewReplicaClient()
	l := &levelZero{config: c, report: r, client: client}
	if err := l.fill(ctx); err != nil {
		return nil, fmt.Errorf("make the replica: %w", err)
	}
	err = l.read(ctx)
	if err == nil {
		err = l.compact(ctx)
	}
	return []*report{r}, err
}

type levelZero struct {
	*config
	*report
	client *memory.ReplicaClient

	writer *sql.DB
	value  int64 // of the row that each transaction changes
}

// fill makes the replica. Each transaction changes one row of many.
func (l *levelZero) fill(ctx context.Context) error {
	return l.write(ctx, func() error {
		for _, statement := range []string{
			"CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, body TEXT)",
			"WITH RECURSIVE c(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM c WHERE id < 9999) INSERT INTO t SELECT id, 0, hex(randomblob(200)) FROM c",
			"CREATE TABLE newest (n INTEGER)", "INSERT INTO newest VALUES (0)", "PRAGMA litestream_sync",
		} {
			if _, err := l.writer.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return l.commit(ctx, l.files)
	})
}

// write opens the replica in write mode, without compaction.
func (l *levelZero) write(ctx context.Context, fn func() error) (err error) {
	db, closeAll, err := open(l.client, "l0", &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, CompactionDisabled: true, PollInterval: -1})
	if err != nil {
		return err
	}
	l.writer = db
	return errors.Join(fn(), closeAll())
}

// commit makes transactions, each of which becomes a file.
func (l *levelZero) commit(ctx context.Context, n int) error {
	for range n {
		l.value++
		for _, statement := range []string{
			fmt.Sprintf("BEGIN; UPDATE t SET n = %d WHERE id = %d; UPDATE newest SET n = %[1]d; COMMIT", l.value, l.value*7919%10000),
			"PRAGMA litestream_sync",
		} {
			if _, err := l.writer.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	return nil
}

// read opens the replica, and follows it.
func (l *levelZero) read(ctx context.Context) (err error) {
	m := newMeter(l.report, l.client, l.latency)
	const interval = 200 * time.Millisecond
	db, closeAll, err := open(m.trace, "l0", &litestream.Options{PollInterval: interval, PollIdleAfter: time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	if err := m.step("open to the first row", func() error { return l.await(ctx, db) }); err != nil {
		return err
	}
	return l.write(ctx, func() error {
		for _, n := range []int{1, max(1, l.files/10)} {
			if !pause(ctx, 2*time.Second) { // polling sleeps then
				return ctx.Err()
			}
			if err := l.commit(ctx, n); err != nil {
				return err
			}
			if err := m.step(fmt.Sprintf("wake up to the newest of %d new files, polls each %s", n, interval), func() error { return l.await(ctx, db) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// await waits until a reader shows the newest transaction.
func (l *levelZero) await(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(5 * time.Minute); ; {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT n FROM newest").Scan(&n); err != nil {
			return err
		}
		if n == l.value {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the newest transaction is %d, and %d does not show", n, l.value)
		}
		if !pause(ctx, time.Millisecond) {
			return ctx.Err()
		}
	}
}

// compact opens the replica in write mode, and waits until compaction has merged the
// files and deleted most of them.
func (l *levelZero) compact(ctx context.Context) (err error) {
	m := newMeter(l.report, l.client, l.latency)
	db, closeAll, err := open(m.trace, "l0", &litestream.Options{
		WriteEnabled: true, WriteSyncInterval: 100 * time.Millisecond,
		CompactionLevels: []time.Duration{time.Second, time.Minute}, L0Retention: time.Second,
	})
	if err != nil {
		return err
	}
	err = m.step("compaction, until less than 100 files of level 0 are left", func() error {
		for deadline := time.Now().Add(10 * time.Minute); ; {
			l.value++
			if _, err := db.ExecContext(ctx, "UPDATE newest SET n = ?", l.value); err != nil {
				return err
			}
			left, err := l.countFiles(ctx)
			if err != nil || left < 100 {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d files are left", left)
			}
			if !pause(ctx, 100*time.Millisecond) {
				return ctx.Err()
			}
		}
	})
	if err := errors.Join(err, closeAll()); err != nil {
		return err
	}
	reader, closeReader, err := open(l.client, "l0", &litestream.Options{PollInterval: -1})
	if err != nil {
		return err
	}
	return errors.Join(l.await(ctx, reader), closeReader())
}

// countFiles returns the number of files of level 0.
func (l *levelZero) countFiles(ctx context.Context) (int, error) {
	itr, err := l.client.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		return 0, err
	}
	files, err := ltx.SliceFileIterator(itr)
	return len(files), err
}
