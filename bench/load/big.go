//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/maintain"
)

const (
	bigRow      = 400       // bytes of a row, about
	mostMemory  = 256 << 20 // that reading, hydration and a restore take beyond what the process has
	fewLookups  = 1000
	bigDatabase = "big"
)

// runBig reads, hydrates and restores a large database.
func runBig(ctx context.Context, c *config) (all []*report, err error) {
	dir, remove, err := c.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	b := &big{config: c, dir: dir, client: file.NewReplicaClient(filepath.Join(dir, "replica"))}
	if err := b.fill(ctx); err != nil {
		return nil, fmt.Errorf("make the replica: %w", err)
	}
	b.report = &report{Title: fmt.Sprintf("big: a database of %s, %s a request", shown(float64(b.size)/(1<<20), "MiB"), c.latency)}
	for _, part := range []func(context.Context) error{b.read, b.hydrate, b.restore} {
		if err == nil {
			err = part(ctx)
		}
	}
	return []*report{b.report}, err
}

type big struct {
	*config
	*report
	dir    string
	client *file.ReplicaClient
	rows   int64
	size   int64 // of the database, in bytes
}

// fill makes the database, and a replica of it. Half of each row compresses well.
func (b *big) fill(ctx context.Context) (err error) {
	path := filepath.Join(b.dir, "plain.db")
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=OFF&_synchronous=OFF")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	b.rows = int64(b.gigabytes * 1e9 / bigRow)
	b.logf("make a database of %.3g GB", b.gigabytes)
	for _, statement := range []string{
		"CREATE TABLE events (id INTEGER PRIMARY KEY, n INTEGER, body TEXT)",
		fmt.Sprintf("WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c WHERE id < %d)"+
			" INSERT INTO events SELECT id, id * 7919 %% 1000003, hex(randomblob(100)) || printf('%%0180d', id) FROM c", b.rows),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b.size = info.Size()
	b.logf("import it")
	return errors.Join(importFile(ctx, b.client, path), os.Remove(path))
}

// keys returns random rows, the same for the same seed.
func (b *big) keys(seed uint64) (keys []int64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for range fewLookups {
		keys = append(keys, 1+rng.Int64N(b.rows))
	}
	return keys
}

func (b *big) lookUp(ctx context.Context, db *sql.DB, name string, seed uint64) error {
	return lookups(ctx, b.report, fmt.Sprintf("%d lookups, %s", fewLookups, name), db, "SELECT n FROM events WHERE id = ?", b.keys(seed), func(key, got int64) error {
		if want := key * 7919 % 1000003; got != want {
			return fmt.Errorf("row %d has %d, want %d", key, got, want)
		}
		return nil
	})
}

// scan reads all rows.
func (b *big) scan(ctx context.Context, db *sql.DB) error {
	var n, length int64
	if err := db.QueryRowContext(ctx, "SELECT count(*), sum(length(body)) FROM events").Scan(&n, &length); err != nil {
		return err
	}
	if n != b.rows || length != b.rows*380 {
		return fmt.Errorf("%d rows with %d bytes, want %d with %d", n, length, b.rows, b.rows*380)
	}
	return nil
}

// step is a step of a meter whose memory is bounded.
func (b *big) step(m *meter, name string, run func() error) error {
	if err := m.step(name, run); err != nil {
		return err
	}
	last := len(b.Figures) - 1 // the memory
	f := b.Figures[last]
	b.Figures = b.Figures[:last]
	b.atMost(f.Name, f.Value, mostMemory/(1<<20), f.Unit)
	return nil
}

// rate adds how fast a step that began at start went through the database.
func (b *big) rate(name string, start time.Time) {
	b.add(name, float64(b.size)/1e6/time.Since(start).Seconds(), "MB/s")
}

func (b *big) read(ctx context.Context) (err error) {
	b.logf("read it")
	m := newMeter(b.report, b.client, b.latency)
	db, closeAll, err := open(m.trace, bigDatabase, &litestream.Options{PollInterval: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	db.SetMaxOpenConns(1)
	if err := b.step(m, "open to the first row", func() error {
		var n int64
		return db.QueryRowContext(ctx, "SELECT n FROM events LIMIT 1").Scan(&n)
	}); err != nil {
		return err
	}
	if err := b.lookUp(ctx, db, "in place", 1); err != nil {
		return err
	}
	start := time.Now()
	if err := b.step(m, "scan in place", func() error { return b.scan(ctx, db) }); err != nil {
		return err
	}
	b.rate("scan in place: rate", start)
	return nil
}

func (b *big) hydrate(ctx context.Context) (err error) {
	b.logf("hydrate it")
	m := newMeter(b.report, b.client, b.latency)
	vfs := litestream.NewVFS(m.trace, &litestream.Options{PollInterval: -1, HydrationEnabled: true, HydrationPath: filepath.Join(b.dir, "copy.db"), Logger: slog.New(slog.DiscardHandler)})
	name, err := register(vfs)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", "file:"+bigDatabase+"?vfs="+name)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, db.Close(), vfs.Close(context.WithoutCancel(ctx)))
		for _, suffix := range []string{"", "-hydration", "-shared"} {
			err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, "copy.db"+suffix)))
		}
	}()
	db.SetMaxOpenConns(1)
	start := time.Now()
	if err := b.step(m, "hydration", func() error {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT n FROM events LIMIT 1").Scan(&n); err != nil {
			return err
		}
		for {
			switch h := vfs.Stats()[0].Hydration; h.Status {
			case litestream.HydrationComplete:
				return nil
			case litestream.HydrationFailed:
				return fmt.Errorf("hydration has failed: %+v", h)
			}
			if !pause(ctx, 10*time.Millisecond) {
				return ctx.Err()
			}
		}
	}); err != nil {
		return err
	}
	b.rate("hydration: rate", start)
	if err := b.lookUp(ctx, db, "hydrated", 2); err != nil {
		return err
	}
	start = time.Now()
	if err := b.step(m, "scan, hydrated", func() error { return b.scan(ctx, db) }); err != nil {
		return err
	}
	b.rate("scan, hydrated: rate", start)
	return nil
}

func (b *big) restore(ctx context.Context) error {
	b.logf("restore it")
	m := newMeter(b.report, b.client, b.latency)
	path := filepath.Join(b.dir, "restored.db")
	start := time.Now()
	if err := b.step(m, "restore", func() error {
		_, err := maintain.Restore(ctx, m.trace, path, maintain.RestoreOptions{})
		return err
	}); err != nil {
		return err
	}
	b.rate("restore: rate", start)
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		return err
	}
	return errors.Join(b.scan(ctx, db), db.Close(), os.Remove(path))
}
