package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	_ "github.com/mattn/go-sqlite3"
)

// system is a way to access a database.
type system struct {
	name string
	open func(d *dataset, o openOptions) (*session, error)

	write func(o writeOptions) (*session, error) // opens a database in write mode

	// restore restores a database to a file. It is nil for plain SQLite.
	restore func(ctx context.Context, client *decorate.Trace, path string) error
}

const (
	ours     = "ours"
	upstream = "upstream"
	plain    = "plain"
)

type openOptions struct {
	latency   decorate.Latency
	cacheSize int64 // 0: default of the system
	conns     int   // 0: one connection
	record    bool  // record the pages that SQLite reads
	hydrate   bool
	pagesOnly bool                     // with a local file for the pages that queries fetch; only for our VFS
	client    litestream.ReplicaClient // replaces the client of the folder if it is not nil; only for our VFS
}

// session is an open database. Its caches are empty at first.
type session struct {
	db    *sql.DB
	trace *decorate.Trace // nil for plain SQLite
	rec   *recorder       // nil if pages are not recorded
	end   func() error

	// hydration returns the progress of hydration in percent and whether it is
	// complete. It is nil without hydration.
	hydration func(context.Context, *session) (progress float64, done bool, err error)

	// sync uploads all commits. It is nil if the database is read-only or is
	// plain SQLite's.
	sync func(context.Context) error
	vfs  *litestream.VFS // nil if the database is not ours
}

// quiet is the logger of all VFSs. It discards everything.
var quiet = slog.New(slog.DiscardHandler)

func (s *session) close() error {
	return errors.Join(s.db.Close(), s.end())
}

// counts waits for the requests in flight and returns the requests and bytes
// since the last call.
func (s *session) counts(ctx context.Context) (requests int, bytes int64, err error) {
	if s.trace == nil {
		return 0, 0, nil
	}
	defer s.trace.Reset()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c := s.trace.Counts()
		if c.Open == 0 || time.Now().After(deadline) {
			return c.Lists + c.Reads + c.Writes + c.Deletes, c.BytesRead + c.BytesWritten, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// soFar returns what counts would return, but it neither waits nor resets the
// counts.
func (s *session) soFar() sample {
	if s.trace == nil {
		return sample{}
	}
	c := s.trace.Counts()
	return sample{requests: c.Lists + c.Reads, bytes: c.BytesRead}
}

// decorated returns the traced client that both VFSs use.
func decorated(d *dataset, l decorate.Latency) *decorate.Trace {
	return decorate.NewTrace(decorate.NewLatency(file.NewReplicaClient(d.replica), l))
}

// openDB returns a handle. The first use opens the connections, so that the
// measurement includes it.
func openDB(dsn string, conns int) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(max(conns, 1))
	db.SetMaxIdleConns(max(conns, 1))
	return db, nil
}

func oursSystem(bind binding) *system {
	write := func(o writeOptions) (*session, error) { return write(bind, o) }
	return &system{name: ours, write: write, restore: restoreOurs, open: func(d *dataset, o openOptions) (*session, error) {
		s := &session{trace: decorated(d, o.latency)}
		if o.client != nil {
			s.trace = decorate.NewTrace(o.client)
		}
		if o.record {
			s.rec = newRecorder(d.pageSize)
		}
		// Polls would be counted among the requests of the measured work.
		opts := &litestream.Options{PollInterval: -1, CacheSize: o.cacheSize, HydrationEnabled: o.hydrate, Logger: quiet}
		if o.pagesOnly {
			opts.HydrationEnabled, opts.HydrationMode = true, litestream.HydratePages
		}
		v := litestream.NewVFS(s.trace, opts)
		if o.hydrate {
			s.hydration = func(ctx context.Context, s *session) (progress float64, done bool, err error) {
				err = s.db.QueryRowContext(ctx, "PRAGMA litestream_hydration_progress").Scan(&progress)
				if err != nil || progress < 100 {
					return progress, false, err
				}
				var status string
				err = s.db.QueryRowContext(ctx, "PRAGMA litestream_hydration_status").Scan(&status)
				return progress, status == string(litestream.HydrationComplete), err
			}
		}
		s.end = func() error { return v.Close(context.Background()) }
		s.vfs = v
		name, err := bind(v, s.rec)
		if err == nil {
			s.db, err = openDB("file:bench.db?mode=ro&vfs="+name, o.conns)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open with ours: %w", err), s.end())
		}
		return s, nil
	}}
}

func plainSystem() *system {
	return &system{name: plain, write: writePlain, open: func(d *dataset, o openOptions) (*session, error) {
		db, err := openDB("file:"+d.plain, o.conns)
		if err != nil {
			return nil, fmt.Errorf("open with plain sqlite: %w", err)
		}
		return &session{db: db, end: func() error { return nil }}, nil
	}}
}
