//go:build linux

package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// meter counts what a database asks of a store.
type meter struct {
	trace *decorate.Trace
	*report
}

// newMeter returns a meter, and the client that it watches.
func newMeter(r *report, client litestream.ReplicaClient, latency time.Duration) *meter {
	return &meter{decorate.NewTrace(decorate.NewLatency(client, decorate.Latency{PerRequest: latency})), r}
}

// step runs a part of a scenario, and adds its time, the memory that it takes at
// most, and the requests that it makes.
func (m *meter) step(name string, run func() error) error {
	before, err := settled()
	if err != nil {
		return err
	}
	m.trace.Reset()
	stop := peaks()
	start := time.Now()
	err = run()
	took := time.Since(start)
	most, watched := stop()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if watched != nil {
		return watched
	}
	m.time(name, took)
	counts := m.trace.Counts()
	m.add(name+": requests", float64(counts.Lists+counts.Reads+counts.Writes+counts.Deletes), "")
	m.report.bytes(name+": read from storage", float64(counts.BytesRead))
	m.report.bytes(name+": memory above that before", float64(max(0, most.Memory-before.Memory)))
	return nil
}

// lookups runs a query for each key, and adds the times.
func lookups(ctx context.Context, r *report, name string, db *sql.DB, query string, keys []int64, check func(key, got int64) error) error {
	stmt, err := db.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	h := new(histogram)
	for _, key := range keys {
		start := time.Now()
		var got int64
		if err := stmt.QueryRowContext(ctx, key).Scan(&got); err != nil {
			return fmt.Errorf("%s: key %d: %w", name, key, err)
		}
		h.add(time.Since(start))
		if err := check(key, got); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r.latencies(name, h)
	return nil
}
