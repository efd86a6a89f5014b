package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/superfly/ltx"
	_ "modernc.org/sqlite" // the driver sqlite, which upstream uses
)

// upstreamPrimary is a database that upstream Litestream replicates. It syncs,
// compacts and deletes only when the test calls for it.
type upstreamPrimary struct {
	store   *upstreamlib.Store
	levels  upstreamlib.CompactionLevels
	db      *upstreamlib.DB
	app     *sql.DB // connections of the application
	history []point
	close   func() // closes it before the test ends
}

// point is the state of the database after a transaction.
type point struct {
	txid  ltx.TXID
	state string
}

func newUpstreamPrimary(t *testing.T, client upstreamlib.ReplicaClient) *upstreamPrimary {
	t.Helper()
	return newUpstreamPrimaryAt(t, client, filepath.Join(t.TempDir(), "app.db"))
}

// newUpstreamPrimaryAt replicates a database that may exist already.
func newUpstreamPrimaryAt(t *testing.T, client upstreamlib.ReplicaClient, path string) *upstreamPrimary {
	t.Helper()
	db := upstreamlib.NewDB(path)
	db.MonitorInterval = 0 // off, like the other two monitors
	db.Replica = upstreamlib.NewReplicaWithClient(db, client)
	db.Replica.MonitorEnabled = false
	p := &upstreamPrimary{db: db, levels: upstreamlib.CompactionLevels{{Level: 0}, {Level: 1, Interval: time.Millisecond}}}
	p.store = upstreamlib.NewStore([]*upstreamlib.DB{db}, p.levels)
	p.store.CompactionMonitorEnabled = false
	p.store.L0RetentionCheckInterval = 0
	db.SetLogger(testLogger(t)) // NewStore has set its own logger
	if err := p.store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.close = sync.OnceFunc(func() {
		if err := errors.Join(p.app.Close(), p.store.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	p.app = openSQLite(t, db.Path())
	t.Cleanup(p.close)
	return p
}

// openSQLite opens a local database. It is closed when the test ends. It uses
// upstream's SQLite, because two SQLite libraries in one process would drop
// each other's file locks.
func openSQLite(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// commit executes statements and syncs. Several statements run in one
// transaction.
func (p *upstreamPrimary) commit(t *testing.T, statements ...string) {
	t.Helper()
	if err := execAll(t.Context(), p.app, statements); err != nil {
		t.Fatal(err)
	}
	result, err := p.store.SyncDB(t.Context(), p.db.Path(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Changed || result.ReplicatedTXID != result.TXID {
		t.Fatalf("sync after %q: %+v", statements, result)
	}
	p.history = append(p.history, point{ltx.TXID(result.TXID), p.state(t)})
}

func execAll(ctx context.Context, db *sql.DB, statements []string) error {
	if len(statements) == 1 { // VACUUM cannot run in a transaction
		_, err := db.ExecContext(ctx, statements[0])
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// last returns the newest point of the history.
func (p *upstreamPrimary) last() point { return p.history[len(p.history)-1] }

func (p *upstreamPrimary) state(t *testing.T) string {
	t.Helper()
	return databaseState(t, p.app)
}

// compact writes the next file of a level.
func (p *upstreamPrimary) compact(t *testing.T, level int) {
	t.Helper()
	l := p.store.SnapshotLevel()
	if level != l.Level {
		l = p.levels[level]
	}
	info, err := p.store.CompactDB(t.Context(), p.db, l)
	if err != nil {
		t.Fatalf("compact to level %d: %v", level, err)
	}
	if want := p.last().txid; info.MaxTXID != want {
		t.Fatalf("level %d ends at transaction %s, want %s", level, info.MaxTXID, want)
	}
}

func (p *upstreamPrimary) checkpoint(t *testing.T) {
	t.Helper()
	if err := p.db.Checkpoint(t.Context(), upstreamlib.CheckpointModeTruncate); err != nil {
		t.Fatal(err)
	}
}

// deleteCompacted deletes the files of level 0 whose transactions are in a file
// of level 1.
func (p *upstreamPrimary) deleteCompacted(t *testing.T) {
	t.Helper()
	p.store.SetL0Retention(time.Nanosecond)
	if err := p.db.EnforceL0RetentionByTime(t.Context()); err != nil {
		t.Fatal(err)
	}
}
