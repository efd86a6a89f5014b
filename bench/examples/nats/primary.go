package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	upstream "github.com/benbjohnson/litestream"
	_ "modernc.org/sqlite" // the driver sqlite, which upstream uses
)

// primary is a database that upstream Litestream replicates.
type primary struct {
	store *upstream.Store
	path  string
	app   *sql.DB
}

func openPrimary(ctx context.Context, path string, client upstream.ReplicaClient) (*primary, error) {
	db := upstream.NewDB(path)
	db.Replica = upstream.NewReplicaWithClient(db, client)
	levels := upstream.CompactionLevels{{Level: 0}, {Level: 1, Interval: 10 * time.Second}}
	store := upstream.NewStore([]*upstream.DB{db}, levels)
	if err := store.Open(ctx); err != nil {
		return nil, fmt.Errorf("open litestream: %w", err)
	}
	app, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
	if err != nil {
		return nil, errors.Join(err, store.Close(context.WithoutCancel(ctx)))
	}
	return &primary{store: store, path: path, app: app}, nil
}

// commit executes a statement and waits until it is on the replica. It returns
// the transaction's number on the replica.
func (p *primary) commit(ctx context.Context, statement string) (uint64, error) {
	if _, err := p.app.ExecContext(ctx, statement); err != nil {
		return 0, err
	}
	result, err := p.store.SyncDB(ctx, p.path, true)
	return result.ReplicatedTXID, err
}

func (p *primary) close(ctx context.Context) error {
	return errors.Join(p.app.Close(), p.store.Close(ctx))
}
