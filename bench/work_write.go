package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
)

// writeOptions configures a database in write mode.
type writeOptions struct {
	dir         string                   // folder for local files
	client      litestream.ReplicaClient // client of the replica
	synchronous string
	interval    time.Duration // between uploads; 0: the default; negative: no uploads
	onCommit    bool          // COMMIT waits for the upload
	conns       int           // 0: one connection
}

// dsn returns the data source name of a database with the settings that all
// systems share.
func (o writeOptions) dsn(path string) string {
	return fmt.Sprintf("file:%s&_journal_mode=DELETE&_synchronous=%s&_txlock=immediate&_busy_timeout=60000", path, o.synchronous)
}

const writtenDB = "bench.db"

// write opens a database in our write mode.
func write(bind binding, o writeOptions) (*session, error) {
	s := &session{trace: decorate.NewTrace(o.client)}
	s.vfs = litestream.NewVFS(s.trace, &litestream.Options{
		PollInterval: -1, WriteEnabled: true, WriteSyncInterval: o.interval, SyncOnCommit: o.onCommit,
		WriteBufferPath: filepath.Join(o.dir, "buffer"), Logger: quiet,
	})
	s.sync = func(ctx context.Context) error { return s.vfs.Sync(ctx, writtenDB) }
	s.end = func() error { return s.vfs.Close(context.Background()) }
	name, err := bind(s.vfs, nil)
	if err == nil {
		s.db, err = openDB(o.dsn(writtenDB+"?vfs="+name), o.conns)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open with ours: %w", err), s.end())
	}
	return s, nil
}

// writePlain opens a local database with a rollback journal, as our VFS has.
func writePlain(o writeOptions) (*session, error) {
	db, err := openDB(o.dsn(filepath.Join(o.dir, "plain.db")+"?mode=rwc"), o.conns)
	if err != nil {
		return nil, fmt.Errorf("open with plain sqlite: %w", err)
	}
	return &session{db: db, end: func() error { return nil }}, nil
}

// writing opens a new database, or the database that the client has, calls fn,
// and closes the database.
func (e *env) writing(sys *system, o writeOptions, fn func(*session) error) (err error) {
	if o.dir, err = os.MkdirTemp(e.root, "write-"); err != nil {
		return err
	}
	if o.client == nil {
		o.client = decorate.NewLatency(memory.NewReplicaClient(), e.shape())
	}
	s, err := sys.write(o)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.close(), os.RemoveAll(o.dir))
}

// forget excludes the requests made so far from the counts.
func (s *session) forget() {
	if s.trace != nil {
		s.trace.Reset()
	}
}

const (
	createRows = "CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)"
	insertRow  = "INSERT INTO rows (body) VALUES (?)"
	selectRow  = "SELECT length(body) FROM rows WHERE id = ?"
	sumRows    = "SELECT count(*), total(id), total(length(body)) FROM rows"
	rowBytes   = 100
)

// rowBody returns the body of row i.
func rowBody(i int) string { return strings.Repeat(string(rune('a'+i%26)), rowBytes) }

// insertRows inserts rows in one transaction.
func insertRows(ctx context.Context, db *sql.DB, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	stmt, err := tx.PrepareContext(ctx, insertRow)
	for i := 0; i < n && err == nil; i++ {
		_, err = stmt.ExecContext(ctx, rowBody(i))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// checkRows compares the written rows with those of the other systems.
func (e *env) checkRows(ctx context.Context, s *session, what string) error {
	sum, err := answer(ctx, s.db, sumRows)
	if err != nil {
		return err
	}
	return e.check(what, sum)
}

// percentile returns the given percentile of the durations.
func percentile(all []time.Duration, percent int) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[max((len(all)*percent+99)/100, 1)-1]
}

func commitName(synchronous string, percent int) string {
	return fmt.Sprintf("write: one-row commits, synchronous=%s, p%d", synchronous, percent)
}

// commitsWorkload commits rows one by one while they are uploaded every second.
func commitsWorkload(synchronous string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		return e.repeat(ctx, func(ctx context.Context, sys *system) error {
			return e.writing(sys, writeOptions{synchronous: synchronous}, func(s *session) error {
				if _, err := s.db.ExecContext(ctx, createRows); err != nil {
					return err
				}
				stmt, err := s.db.PrepareContext(ctx, insertRow)
				if err != nil {
					return err
				}
				defer stmt.Close()
				took := make([]time.Duration, e.commits)
				s.forget()
				got, err := s.timed(ctx, func() error {
					for i := range took {
						start := time.Now()
						if _, err := stmt.ExecContext(ctx, rowBody(i)); err != nil {
							return err
						}
						took[i] = time.Since(start)
					}
					return nil
				})
				if err != nil {
					return err
				}
				for _, percent := range []int{50, 99} {
					got.time = percentile(took, percent)
					e.results.add(commitName(synchronous, percent), sys.name, got)
				}
				return e.checkRows(ctx, s, "one-row commits")
			})
		})
	}
}

func besideName(what, when string) string {
	return fmt.Sprintf("write: one-row %s, %s, p99", what, when)
}

func besideFigure(what string) string {
	return fmt.Sprintf("write: one-row %s, p99 with uploads under way, of that without", what)
}

// besideUploads commits and reads alternately on two connections. It measures
// both while slow uploads are always in flight and without uploads.
func besideUploads(ctx context.Context, e *env) error {
	const noUpload = "no uploads"
	uploads := fmt.Sprintf("uploads of %s", e.uploadLatency)
	filled := memory.NewReplicaClient()
	err := e.writing(oursSystem(e.binding), writeOptions{client: filled, synchronous: "OFF"}, func(s *session) error {
		if _, err := s.db.ExecContext(ctx, createRows); err != nil {
			return err
		}
		return insertRows(ctx, s.db, e.uploadRows)
	})
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		if sys.name == plain {
			return nil // it uploads nothing
		}
		p99 := make(map[string]time.Duration)
		for _, when := range []string{noUpload, uploads} {
			replica, err := copyReplica(ctx, filled)
			if err != nil {
				return err
			}
			slow := decorate.NewFault(decorate.NewLatency(replica, e.shape()))
			slow.Add(decorate.Rule{
				Match:  decorate.Ops(decorate.OpCreate, decorate.OpWrite),
				Before: func(decorate.Call) { time.Sleep(e.uploadLatency - e.latency) },
			})
			o := writeOptions{client: slow, synchronous: "OFF", interval: -1, conns: 2}
			if when == uploads {
				o.interval = time.Millisecond
			}
			err = e.writing(sys, o, func(s *session) error {
				commits, reads, got, err := e.commitAndRead(ctx, s)
				if err != nil {
					return err
				}
				for what, took := range map[string][]time.Duration{"commits": commits, "reads": reads} {
					p99[what+when] = percentile(took, 99)
				}
				for _, what := range []string{"commits", "reads"} {
					got.time = p99[what+when]
					e.results.add(besideName(what, when), sys.name, got)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		for _, what := range []string{"commits", "reads"} {
			e.results.addFigure(besideFigure(what), "x", sys.name, p99[what+uploads].Seconds()/p99[what+noUpload].Seconds())
		}
		return nil
	})
}

// commitAndRead commits rows on one connection and reads rows on another for
// some time.
func (e *env) commitAndRead(ctx context.Context, s *session) (commits, reads []time.Duration, got sample, err error) {
	var conns [2]*sql.Conn
	for i := range conns {
		if conns[i], err = s.db.Conn(ctx); err != nil {
			return nil, nil, got, err
		}
		defer conns[i].Close()
		var n int
		if err := conns[i].QueryRowContext(ctx, "SELECT count(body) FROM rows").Scan(&n); err != nil { // fetches the pages
			return nil, nil, got, err
		}
	}
	insert, err := conns[0].PrepareContext(ctx, insertRow)
	if err != nil {
		return nil, nil, got, err
	}
	defer insert.Close()
	look, err := conns[1].PrepareContext(ctx, selectRow)
	if err != nil {
		return nil, nil, got, err
	}
	defer look.Close()
	rng := rand.New(rand.NewPCG(3, 1))
	s.forget()
	got, err = s.timed(ctx, func() error {
		for begin := time.Now(); len(commits) < 2 || time.Since(begin) < e.uploadTime; {
			start := time.Now()
			if _, err := insert.ExecContext(ctx, rowBody(len(commits))); err != nil {
				return err
			}
			commits = append(commits, time.Since(start))
			start = time.Now()
			var n int
			if err := look.QueryRowContext(ctx, 1+rng.IntN(e.uploadRows)).Scan(&n); err != nil {
				return err
			}
			reads = append(reads, time.Since(start))
			if n != rowBytes {
				return fmt.Errorf("a row has %d bytes, want %d", n, rowBytes)
			}
		}
		return nil
	})
	return commits, reads, got, err
}

func bulkName(rows int) string {
	return fmt.Sprintf("write: %d rows in one transaction", rows)
}

// bulkWorkload inserts many rows in one transaction.
func bulkWorkload(ctx context.Context, e *env) error {
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		return e.writing(sys, writeOptions{synchronous: "FULL"}, func(s *session) error {
			if _, err := s.db.ExecContext(ctx, createRows); err != nil {
				return err
			}
			s.forget()
			got, err := s.timed(ctx, func() error { return insertRows(ctx, s.db, e.bulkRows) })
			if err != nil {
				return err
			}
			e.results.add(bulkName(e.bulkRows), sys.name, got)
			return e.checkRows(ctx, s, "rows in one transaction")
		})
	})
}

func syncName(n int) string { return fmt.Sprintf("write: %d syncs of a row each", n) }

const (
	syncCreates = "write: creates per sync"
	syncLists   = "write: lists per sync"
	syncReads   = "write: reads per sync"
)

// syncsWorkload counts the requests and bytes for the upload of a commit.
func syncsWorkload(ctx context.Context, e *env) error {
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		if sys.name == plain {
			return nil // it uploads nothing
		}
		o := writeOptions{synchronous: "OFF", interval: -1}
		if sys.name == upstream {
			o.interval = time.Millisecond // there is no other way to make it sync
		}
		return e.writing(sys, o, func(s *session) error {
			if _, err := s.db.ExecContext(ctx, createRows); err != nil {
				return err
			}
			if err := s.sync(ctx); err != nil {
				return err
			}
			s.forget()
			before := s.written()
			got, err := s.timed(ctx, func() error {
				for i := range e.syncs {
					if _, err := s.db.ExecContext(ctx, insertRow, rowBody(i)); err != nil {
						return err
					}
					if err := s.sync(ctx); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			e.results.add(syncName(e.syncs), sys.name, got)
			if s.vfs == nil {
				return nil
			}
			after := s.written()
			if n := after.Write.Syncs - before.Write.Syncs; n != int64(e.syncs) {
				return fmt.Errorf("%d syncs, want %d", n, e.syncs)
			}
			e.results.addFigure(syncCreates, "", sys.name, float64(after.Creates-before.Creates)/float64(e.syncs))
			e.results.addFigure(syncLists, "", sys.name, float64(after.Lists-before.Lists)/float64(e.syncs))
			e.results.addFigure(syncReads, "", sys.name, float64(after.Reads-before.Reads)/float64(e.syncs))
			return nil
		})
	})
}

// written returns the counters of the database if it is ours.
func (s *session) written() litestream.Stats {
	if s.vfs != nil {
		if all := s.vfs.Stats(); len(all) == 1 {
			return all[0]
		}
	}
	return litestream.Stats{}
}

func groupFigure(writers int, what string) string {
	return fmt.Sprintf("write: %d writers with SyncOnCommit, commits per %s", writers, what)
}

const (
	perSync      = "sync"
	perRoundTrip = "round trip (creates and lists)"
	perSecond    = "second"
)

// groupWorkload makes many connections wait for the upload of their commits.
func groupWorkload(ctx context.Context, e *env) error {
	e.results.note("write: upstream has nothing like SyncOnCommit, and is left out there. It does not sync its write buffer, and discards what an earlier process has left: " +
		"with synchronous=FULL it promises less than the others. It does not show a commit to other connections before it is uploaded.")
	for range e.runs {
		o := writeOptions{synchronous: "FULL", onCommit: true, conns: e.writers}
		err := e.writing(e.systems[0], o, func(s *session) error {
			if _, err := s.db.ExecContext(ctx, createRows); err != nil {
				return err
			}
			before, start := s.written(), time.Now()
			g, ctx := errgroup.WithContext(ctx)
			for range e.writers {
				g.Go(func() error { return commitEach(ctx, s.db, e.writerCommits) })
			}
			if err := g.Wait(); err != nil {
				return err
			}
			took, after := time.Since(start), s.written()
			commits := float64(after.Write.Commits - before.Write.Commits)
			if want := float64(e.writers * e.writerCommits); commits != want {
				return fmt.Errorf("%g commits, want %g", commits, want)
			}
			for _, f := range []struct {
				per string
				n   float64
			}{
				{perSync, float64(after.Write.Syncs - before.Write.Syncs)},
				{perRoundTrip, float64(after.Creates - before.Creates + after.Lists - before.Lists)},
				{perSecond, took.Seconds()},
			} {
				e.results.addFigure(groupFigure(e.writers, f.per), "", ours, commits/f.n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// commitEach commits rows one by one on a connection of its own.
func commitEach(ctx context.Context, db *sql.DB, n int) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := range n {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		if _, err := tx.ExecContext(ctx, insertRow, rowBody(i)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}
