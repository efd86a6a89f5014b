package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// tailReader applies what Tail returns to a plain database, a transaction at a time,
// as a program would that keeps a copy. It can be killed at any event.
type tailReader struct {
	t     testing.TB
	p     *ltxtest.Primary
	db    *sql.DB                 // the copy
	after litestream.HistoryPoint // the last commit that it has applied
	held  []litestream.Change     // since then
	stop  context.CancelFunc      // of the tail that runs
	next  func() (litestream.TailEvent, error, bool)
	ended func()

	merged, restarts int // commits of several transactions, restarts
}

func newTailReader(t testing.TB, p *ltxtest.Primary) *tailReader {
	t.Helper()
	db, err := sql.Open(sqlitetest.Driver, "file:"+plainFile(t, p.Image(p.TXID())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF"); err != nil {
		t.Fatal(err)
	}
	return &tailReader{t: t, p: p, db: db, after: litestream.HistoryPoint{TXID: p.TXID(), Time: p.Time(p.TXID())}}
}

// start begins a tail after the last commit, in a process that knows nothing.
func (r *tailReader) start(client litestream.ReplicaClient, opts litestream.Options) {
	r.t.Helper()
	r.held = nil
	opts.PollInterval = time.Millisecond
	_, vfs := newVFSOnly(r.t, client, &opts)
	ctx, cancel := context.WithCancel(r.t.Context())
	next, ended := iter.Pull2(vfs.Tail(ctx, "app.db", r.after))
	r.stop, r.next, r.ended = cancel, next, ended
	if e := r.event(); e.Kind != litestream.TailBegin || e.Last != r.after.TXID {
		r.t.Fatalf("it begins with %+v, after %s", e, r.after.TXID)
	}
}

// kill ends the tail, wherever it is.
func (r *tailReader) kill() {
	r.stop()
	r.ended()
}

// event returns the next event.
func (r *tailReader) event() litestream.TailEvent {
	r.t.Helper()
	e, err, ok := r.next()
	if err != nil || !ok {
		r.t.Fatalf("after %s: %v", r.after.TXID, err)
	}
	return e
}

// step handles an event.
func (r *tailReader) step() {
	r.t.Helper()
	e := r.event()
	if e.First != r.after.TXID+1 || e.Last < e.First || !e.Time.Equal(r.p.Time(e.Last)) {
		r.t.Fatalf("after %s: %s of %s to %s at %s", r.after.TXID, e.Kind, e.First, e.Last, e.Time)
	}
	switch e.Kind {
	case litestream.TailChange:
		r.held = append(r.held, e.Change)
	case litestream.TailRestart:
		r.held = nil
		r.restarts++
	case litestream.TailCommit:
		for _, c := range r.held {
			r.apply(c)
		}
		r.held, r.after = nil, litestream.HistoryPoint{TXID: e.Last, Time: e.Time}
		if e.First < e.Last {
			r.merged++
		}
		if got, want := rowsIn(r.t, r.db), rowsOf(r.t, r.p.Image(e.Last)); !maps.Equal(got, want) {
			r.t.Fatalf("after %s to %s: %d rows, and they are not the %d of the primary", e.First, e.Last, len(got), len(want))
		}
	default:
		r.t.Fatalf("event %+v", e)
	}
}

// apply changes a row of the copy. Old values have to be what it has.
func (r *tailReader) apply(c litestream.Change) {
	r.t.Helper()
	key, values := c.Columns[0], c.New
	if c.New == nil {
		values = c.Old
	}
	var err error
	var result sql.Result
	if c.Old != nil {
		result, err = r.db.Exec(fmt.Sprintf("DELETE FROM %s WHERE %s = ? AND %s IS ?", c.Table, key, c.OldColumns[len(c.OldColumns)-1]), values[0], c.Old[len(c.Old)-1])
		if n, _ := result.RowsAffected(); err == nil && n != 1 {
			err = fmt.Errorf("%d rows are as the row before", n)
		}
	}
	if c.New != nil && err == nil {
		_, err = r.db.Exec(fmt.Sprintf("INSERT INTO %s VALUES (?%s)", c.Table, strings.Repeat(", ?", len(c.New)-1)), c.New...)
	}
	if err != nil {
		r.t.Fatalf("%s of %s in table %s: %v", c.Kind, values[0], c.Table, err)
	}
}

// newTailed returns a primary with the tables of rowsOf.
func newTailed(t testing.TB, client ltxtest.Store, opts ltxtest.Options) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, client, opts)
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, b BLOB); CREATE TABLE w (k TEXT PRIMARY KEY, v INT) WITHOUT ROWID")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200) INSERT INTO t SELECT i, i, randomblob(100) FROM c")
	return p
}

// A reader that follows a primary through compaction, retention and snapshots, and
// is killed at any time, has after each commit what the primary had.
func TestTail(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	client := memory.NewReplicaClient()
	p := newTailed(t, client, ltxtest.Options{PageSize: 1024})
	p.Snapshot()
	r := newTailReader(t, p)
	r.start(client, litestream.Options{})
	kept := p.TXID() // files up to here are not merged with later ones
	kills := 0
	for range testscale.Repeats(80) {
		for range 1 + rng.IntN(4) {
			n := rng.IntN(300)
			switch rng.IntN(7) {
			case 0, 1:
				p.Exec(fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 30) INSERT OR REPLACE INTO t SELECT %d + i, i, randomblob(%d) FROM c", n, rng.IntN(2000)))
			case 2:
				p.Exec(fmt.Sprintf("DELETE FROM t WHERE id BETWEEN %d AND %d", n, n+20))
			case 3:
				p.Exec(fmt.Sprintf("UPDATE t SET n = n + 1, b = randomblob(50) WHERE id %% 31 = %d", n%31))
			case 4:
				p.Exec(fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) INSERT OR REPLACE INTO w SELECT 'k' || (i * %d %% 500), i FROM c", n))
			case 5:
				p.Exec(fmt.Sprintf("DELETE FROM w WHERE v = %d", n%60))
			case 6:
				p.Exec("VACUUM")
			}
		}
		// What the reader has applied must stay a state that can be had.
		if at := r.after.TXID; rng.IntN(3) == 0 && p.TXID() > at+1 && at >= kept {
			if at > kept {
				p.Compact(1, kept+1, at)
			}
			p.Compact(1, at+1, p.TXID())
			p.DeleteLevelBelow(0, p.TXID()+1)
			kept = p.TXID()
			if rng.IntN(3) == 0 {
				p.Snapshot()
			}
		}
		if rng.IntN(2) == 0 {
			for range rng.IntN(60) {
				if r.after.TXID < p.TXID() {
					r.step()
				}
			}
			r.kill()
			r.start(client, litestream.Options{})
			kills++
		}
		for rng.IntN(4) > 0 && r.after.TXID < p.TXID() {
			for at := r.after.TXID; r.after.TXID == at; {
				r.step()
			}
		}
	}
	for r.after.TXID < p.TXID() {
		r.step()
	}
	r.kill()
	if kills == 0 || r.merged == 0 {
		t.Errorf("%d kills, %d merged transactions", kills, r.merged)
	}
}

// A state that is lost while its changes are read comes again, together with the one
// that is left.
func TestTail_Restart(t *testing.T) {
	client := memory.NewReplicaClient()
	p := newTailed(t, client, ltxtest.Options{})
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1200) INSERT INTO t SELECT 1000 + i, i, randomblob(3000) FROM c")
	p.Snapshot()
	r := newTailReader(t, p)
	at := p.TXID()
	p.Exec("UPDATE t SET b = randomblob(length(b)) WHERE id > 1000")
	r.start(client, litestream.Options{CacheSize: 64 << 10, ReadAheadSize: -1}) // nothing is read before it is needed
	for len(r.held) < 5 {
		r.step()
	}
	last := p.Exec("UPDATE t SET b = randomblob(length(b)), n = n + 1 WHERE id > 1000")
	p.Compact(1, at+1, last)
	p.DeleteLevelBelow(0, last+1)
	for r.after.TXID < last {
		r.step()
	}
	r.kill()
	if r.restarts != 1 || r.merged != 1 {
		t.Errorf("%d restarts, %d merged transactions", r.restarts, r.merged)
	}
}

// A replica that was rolled back or replaced ends a tail, and so does one that goes
// on from a state of another history, or from one that is not there any more.
func TestTail_RolledBack(t *testing.T) {
	other := func(client litestream.ReplicaClient, txid ltx.TXID) func(t *testing.T) {
		return func(t *testing.T) {
			p := newTailed(t, client, ltxtest.Options{Start: time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC)})
			for p.TXID() < txid {
				p.Exec("INSERT INTO t (n) VALUES (1)")
			}
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary)
		want   error // while it runs, nil: it goes on
		again  error // of one that goes on afterwards
	}{
		{"nothing", func(*testing.T, litestream.ReplicaClient, *ltxtest.Primary) {}, nil, nil},
		{"the newest transaction is gone", func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary) {
			p.Delete(0, p.TXID(), p.TXID())
		}, litestream.ErrRolledBack, litestream.ErrRolledBack},
		{"it was replaced, up to the same transaction", func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary) {
			p.DeleteLevelBelow(0, 99)
			other(client, p.TXID())(t)
		}, litestream.ErrRolledBack, litestream.ErrRolledBack},
		{"it was replaced, and goes on", func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary) {
			p.DeleteLevelBelow(0, 99)
			other(client, p.TXID()+3)(t)
		}, litestream.ErrRolledBack, litestream.ErrRolledBack},
		{"everything is gone", func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary) {
			p.DeleteLevelBelow(0, 99)
		}, litestream.ErrRolledBack, litestream.ErrNoDatabase},
		{"its transaction was merged with a later one, and nothing tells that it is the same", func(t *testing.T, client litestream.ReplicaClient, p *ltxtest.Primary) {
			last := p.Exec("INSERT INTO t (n) VALUES (2)")
			p.Compact(1, 1, last)
			p.DeleteLevelBelow(0, 99)
		}, litestream.ErrRolledBack, litestream.ErrTxNotAvailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := memory.NewReplicaClient()
			p := newTailed(t, client, ltxtest.Options{})
			p.Exec("INSERT INTO t (n) VALUES (7)")
			after := litestream.HistoryPoint{TXID: p.TXID(), Time: p.Time(p.TXID())}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var events []litestream.TailEvent
			tail := func(ctx context.Context) error {
				_, vfs := newVFSOnly(t, client, &litestream.Options{PollInterval: time.Millisecond, WaitForReplica: -1})
				defer vfs.Close(context.Background())
				for e, err := range vfs.Tail(ctx, "app.db", after) {
					if err != nil {
						return err
					}
					if events = append(events, e); len(events) == 1 {
						tt.damage(t, client, p)
						if tt.want == nil {
							p.Exec("INSERT INTO t (n) VALUES (8)")
						}
					}
					if e.Kind == litestream.TailCommit && e.Last == p.TXID() {
						return nil
					}
				}
				return errors.New("it ended without an error")
			}
			err := tail(ctx)
			if !errors.Is(err, tt.want) || tt.want != nil && !strings.Contains(err.Error(), "rolled back") {
				t.Errorf("while it runs: %v", err)
			}
			events = append(events[:0], litestream.TailEvent{}) // nothing happens any more
			if err := tail(ctx); !errors.Is(err, tt.again) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// Tail follows only the tables that are asked for, of which a later transaction may
// create one that was dropped, and ends with its context.
func TestTail_Tables(t *testing.T) {
	client := memory.NewReplicaClient()
	p := newTailed(t, client, ltxtest.Options{})
	_, vfs := newVFSOnly(t, client, &litestream.Options{PollInterval: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range vfs.Tail(ctx, "app.db", litestream.HistoryPoint{}, "w", "none") {
		if !errors.Is(err, litestream.ErrNoTable) {
			t.Fatalf("a table that does not exist: %v", err)
		}
	}
	var got []string
	for e, err := range vfs.Tail(ctx, "app.db", litestream.HistoryPoint{}, "W") {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Change.Kind, e.Change.Table))
		switch len(got) {
		case 1:
			p.Exec("INSERT INTO w VALUES ('a', 1); INSERT INTO t (n) VALUES (1)")
			p.Exec("INSERT INTO t (n) VALUES (2)")
			p.Exec("DROP TABLE w")
			p.Exec("INSERT INTO t (n) VALUES (3)")
			p.Exec("CREATE TABLE w (x)")
		case 10:
			cancel()
		}
	}
	want := []string{
		"begin  ", "change insert w", "commit  ", "commit  ", "change delete w", "change table_dropped w", "commit  ", "commit  ",
		"change table_created w", "commit  ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
