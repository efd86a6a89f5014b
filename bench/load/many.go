//go:build linux

package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
)

// runMany opens many small databases in this process, from stores in memory and from
// an S3 server.
func runMany(ctx context.Context, c *config) (all []*report, err error) {
	seed, err := newSmall(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	for _, n := range c.counts {
		m := &many{config: c, small: seed, n: n}
		memories := make([]*memory.ReplicaClient, n)
		for i := range memories {
			memories[i] = memory.NewReplicaClient()
		}
		m.client = func(i int) litestream.ReplicaClient { return memories[i] }
		r, err := m.run(ctx, fmt.Sprintf("many: %d databases, stores in memory", n))
		all = append(all, r)
		if err != nil {
			return all, err
		}
		r, err = m.runServer(ctx)
		all = append(all, r)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// small is a replica of one small database: a snapshot, and a later transaction.
type small struct{ snapshot, news []byte }

// newSmall makes the replica with write mode.
func newSmall(ctx context.Context, c *config) (s *small, err error) {
	dir, remove, err := c.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	plain, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "plain.db"))
	if err != nil {
		return nil, err
	}
	defer closeInto(plain, &err)
	for _, statement := range []string{
		"CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, body TEXT)",
		"WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c WHERE id < 200) INSERT INTO t SELECT id, id, hex(randomblob(100)) FROM c",
	} {
		if _, err := plain.ExecContext(ctx, statement); err != nil {
			return nil, err
		}
	}
	client := memory.NewReplicaClient()
	if err := importFile(ctx, client, filepath.Join(dir, "plain.db")); err != nil {
		return nil, err
	}
	writer, closeAll, err := open(client, "small", &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, CompactionDisabled: true})
	if err != nil {
		return nil, err
	}
	_, err = writer.ExecContext(ctx, "UPDATE t SET n = 1001 WHERE id = 1; PRAGMA litestream_sync")
	if err = errors.Join(err, closeAll()); err != nil {
		return nil, err
	}
	s = new(small)
	if s.snapshot, err = body(ctx, client, litestream.SnapshotLevel, 1, 1); err == nil {
		s.news, err = body(ctx, client, 0, 2, 2)
	}
	return s, err
}

func body(ctx context.Context, client litestream.ReplicaClient, level int, minTXID, maxTXID ltx.TXID) ([]byte, error) {
	r, err := client.OpenLTXFile(ctx, level, minTXID, maxTXID, 0, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// importFile makes the replica of a database file.
func importFile(ctx context.Context, client litestream.ReplicaClient, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	src, err := maintain.NewFileSource(f, info.Size())
	if err != nil {
		return err
	}
	_, err = maintain.Import(ctx, client, src, maintain.ImportOptions{})
	return err
}

// many is a number of databases in this process.
type many struct {
	*config
	*small
	n      int
	client func(i int) litestream.ReplicaClient
	url    func(i int) string // nil if the databases have no URLs

	vfs *litestream.VFS
	dbs []*sql.DB
}

// runServer is run with databases on an S3 server.
func (m *many) runServer(ctx context.Context) (r *report, err error) {
	s, err := startStore(m.latency)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	m.client = func(i int) litestream.ReplicaClient { return s.client(bucketOf(i)) }
	m.url = func(i int) string { return s.url(bucketOf(i)) }
	// Clients that are made from URLs have them from the environment.
	for name, value := range credentials {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return m.run(ctx, fmt.Sprintf("many: %d databases, S3 server, %s a request", m.n, m.latency))
}

func bucketOf(i int) string { return fmt.Sprintf("db-%05d", i) }

// parallel is how many databases are opened or used at a time.
const parallel = 32

// each calls fn for each database, and returns the times that the calls took.
func (m *many) each(ctx context.Context, fn func(ctx context.Context, i int) error) (*histogram, error) {
	var times timings
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range m.n {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			start := time.Now()
			err := fn(ctx, i)
			times.since(start)
			if err != nil {
				return fmt.Errorf("database %d: %w", i, err)
			}
			return nil
		})
	}
	err := group.Wait()
	return times.take(), err
}

// put writes a file to each replica. Its clients are not those of the databases.
func (m *many) put(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, file []byte) error {
	_, err := m.each(ctx, func(ctx context.Context, i int) error {
		client := m.client(i)
		_, err := client.WriteLTXFile(ctx, level, minTXID, maxTXID, bytes.NewReader(file))
		if c, ok := client.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		return err
	})
	return err
}

// query checks a value in a database.
func (m *many) query(ctx context.Context, i, want int) error {
	var n int
	if err := m.dbs[i].QueryRowContext(ctx, "SELECT n FROM t WHERE id = 1").Scan(&n); err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("the value is %d, want %d", n, want)
	}
	return nil
}

// perDatabase adds what each database takes.
func (m *many) perDatabase(r *report, when string, before, now sample) {
	n := float64(m.n)
	r.bytes("memory per database, "+when, float64(now.Memory-before.Memory)/n)
	r.bytes("Go heap per database, "+when, float64(now.Heap-before.Heap)/n)
	r.add("goroutines per database, "+when, float64(now.Goroutines-before.Goroutines)/n, "")
	r.add("descriptors per database, "+when, float64(now.Descriptors-before.Descriptors)/n, "")
}

func (m *many) run(ctx context.Context, title string) (r *report, err error) {
	r = &report{Title: title}
	m.logf("%s", title)
	if err := m.put(ctx, litestream.SnapshotLevel, 1, 1, m.snapshot); err != nil {
		return r, err
	}
	before, err := settled()
	if err != nil {
		return r, err
	}
	if err := m.open(ctx, r); err != nil {
		return r, errors.Join(err, m.close(ctx))
	}
	if err := errors.Join(m.use(ctx, r, before), m.sleep(ctx, r, before)); err != nil {
		return r, errors.Join(err, m.close(ctx))
	}
	start := time.Now()
	if err := m.close(ctx); err != nil {
		return r, err
	}
	r.time("close all", time.Since(start))
	after, err := awaitGoroutines(before.Goroutines)
	if err != nil {
		return r, err
	}
	r.atMost("goroutines left after the close", float64(after.Goroutines-before.Goroutines), 0, "")
	r.atMost("descriptors left after the close", float64(after.Descriptors-before.Descriptors), 0, "")
	r.bytes("memory left after the close", float64(after.Memory-before.Memory))
	return r, nil
}

// awaitGoroutines waits for goroutines that are about to end, and returns what is
// left.
func awaitGoroutines(most int) (s sample, err error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		if s, err = take(); err != nil || s.Goroutines <= most || time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return settled()
}

// open opens all databases, each with one connection, and reads a row.
func (m *many) open(ctx context.Context, r *report) error {
	index := make(map[string]int, m.n)
	for i := range m.n {
		index[bucketOf(i)] = i
	}
	m.vfs = litestream.NewVFS(nil, &litestream.Options{
		PollIdleAfter: m.idle, Logger: slog.New(slog.DiscardHandler),
		NewClient: func(name string) (litestream.ReplicaClient, error) { return m.client(index[filepath.Base(name)]), nil },
	})
	name, err := register(m.vfs)
	if err != nil {
		return err
	}
	m.dbs = make([]*sql.DB, m.n)
	for i := range m.dbs {
		dsn := "file:" + bucketOf(i) + "?vfs=" + name
		if m.url != nil {
			dsn += "&replica_url=" + url.QueryEscape(m.url(i))
		}
		if m.dbs[i], err = sql.Open("sqlite3", dsn); err != nil {
			return err
		}
		m.dbs[i].SetMaxOpenConns(1)
	}
	start := time.Now()
	times, err := m.each(ctx, func(ctx context.Context, i int) error { return m.query(ctx, i, 1) })
	if err != nil {
		return err
	}
	r.time("open all, "+fmt.Sprint(parallel)+" at a time", time.Since(start))
	r.latencies("open to the first row", times)
	return nil
}

// use measures the databases while they poll, and how they follow a transaction.
func (m *many) use(ctx context.Context, r *report, before sample) error {
	now, err := settled()
	if err != nil {
		return err
	}
	m.perDatabase(r, "in use", before, now)
	times, err := m.each(ctx, func(ctx context.Context, i int) error { return m.query(ctx, i, 1) })
	if err != nil {
		return err
	}
	r.latencies("a query again", times)
	polled := min(10*time.Second, m.idle/2)
	from, err := take()
	if err != nil {
		return err
	}
	time.Sleep(polled) // the time that is measured
	to, err := take()
	if err != nil {
		return err
	}
	r.add("processor time while all poll each second", 100*(to.CPU-from.CPU).Seconds()/polled.Seconds(), "% of a core")
	return m.follow(ctx, r)
}

// follow gives each database a transaction, and waits until each shows it.
func (m *many) follow(ctx context.Context, r *report) error {
	watch, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := m.put(watch, 0, 2, 2, m.news); err != nil {
		return err
	}
	written := time.Now()
	_, err := m.each(watch, func(ctx context.Context, i int) error {
		for m.query(ctx, i, 1001) != nil {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("the new transaction does not show: %w", context.Cause(ctx))
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.time("until the last database shows a transaction that all got", time.Since(written))
	return nil
}

// sleep waits until no database polls, and wakes all.
func (m *many) sleep(ctx context.Context, r *report, before sample) error {
	for deadline := time.Now().Add(m.idle + time.Minute); ; time.Sleep(100 * time.Millisecond) {
		polling := 0
		for _, s := range m.vfs.Stats() {
			if s.Poller != "asleep" {
				polling++
			}
		}
		if polling == 0 {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%d databases poll although nothing uses them", polling)
		}
	}
	now, err := settled()
	if err != nil {
		return err
	}
	m.perDatabase(r, "asleep", before, now)
	times, err := m.each(ctx, func(ctx context.Context, i int) error { return m.query(ctx, i, 1001) })
	if err != nil {
		return err
	}
	r.latencies("a query that wakes polling", times)
	return nil
}

func (m *many) close(ctx context.Context) (err error) {
	for _, db := range m.dbs {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return errors.Join(err, m.vfs.Close(ctx))
}
