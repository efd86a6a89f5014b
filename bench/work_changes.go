package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// changedRows is how many rows the transaction changes whose changes are read.
const changedRows = 100

// largeChanged is the name of the large dataset with changed rows.
const largeChanged = "large events with changes"

// changedSource is eventsSource with a transaction that changes rows anywhere in the
// table, and in one of its indexes.
func changedSource(name string, rows int) *source {
	src := eventsSource(name, rows)
	src.change = func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error {
		for range changedRows {
			if _, err := tx.ExecContext(ctx, "UPDATE events SET user = user + 1, body = body || '.' WHERE id = ?", 1+rng.IntN(rows)); err != nil {
				return err
			}
		}
		return nil
	}
	return src
}

func (e *env) changed(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, changedSource("events with changes", e.eventRows), 1, e.frames)
}

func (e *env) largeChanged(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, changedSource(largeChanged, e.largeRows), 1, e.frames)
}

func changesName(d fmt.Stringer) string {
	return fmt.Sprintf("%s: what has changed in %d rows", d, changedRows)
}

func changesShareFigure(d fmt.Stringer) string {
	return changesName(d) + ", bytes read of the snapshot's"
}
func changesTripsFigure(d fmt.Stringer) string { return changesName(d) + ", round trips" }

// changesWorkload reads what a transaction has changed, on an open database of which
// nothing else was read. Neither upstream nor SQLite tells that.
func changesWorkload(ctx context.Context, e *env, d *dataset) error {
	for range e.runs {
		got, err := changesOnce(ctx, d, e.shape())
		if err != nil {
			return err
		}
		e.results.add(changesName(d), ours, got)
		e.results.addFigure(changesShareFigure(d), "%", ours, float64(got.bytes)/float64(d.snapshot.Size)*100)
		const trip = 100 * time.Millisecond // so long that nothing else takes time
		if got, err = changesOnce(ctx, d, decorate.Latency{PerRequest: trip}); err != nil {
			return err
		}
		e.results.addFigure(changesTripsFigure(d), "", ours, float64(got.time)/float64(trip))
	}
	return nil
}

func changesOnce(ctx context.Context, d *dataset, latency decorate.Latency) (got sample, err error) {
	const name = "changes.db"
	s := &session{trace: decorated(d, latency)}
	vfs := litestream.NewVFS(s.trace, &litestream.Options{PollInterval: -1, Logger: quiet})
	defer func() { err = errors.Join(err, vfs.Close(ctx)) }()
	if _, err := vfs.StatsOf(ctx, name); err != nil { // it stays open
		return got, err
	}
	if _, _, err := s.counts(ctx); err != nil {
		return got, err
	}
	return s.timed(ctx, func() error {
		n := 0
		for c, err := range vfs.Changes(ctx, name, d.snapshot.MaxTXID, 0) {
			if err != nil {
				return err
			}
			if c.Kind != litestream.RowUpdated {
				return fmt.Errorf("row %d: %s", c.Rowid, c.Kind)
			}
			n++
		}
		if n < changedRows/2 || n > changedRows {
			return fmt.Errorf("%d rows have changed", n)
		}
		return nil
	})
}
