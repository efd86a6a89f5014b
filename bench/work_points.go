package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ltxvfs/litestream/decorate"
)

func pointsName(pages int) string {
	return fmt.Sprintf("warm point query, %d pages", pages)
}

// pointKeys is small. The workload measures the access to a cached page, not
// how many pages fit into a cache.
const pointKeys = 64

// pointsWorkload looks up a few rows repeatedly, each in a transaction of its
// own, without latency.
func pointsWorkload(pages int) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) (err error) {
		d, err := e.dataset(ctx, pointsSource(pages), 0, e.frames)
		if err != nil {
			return err
		}
		if pages != e.indexPages {
			defer func() { err = errors.Join(err, e.drop(d)) }()
		}
		keys := make([]int, pointKeys)
		rng := rand.New(rand.NewPCG(d.seed, 5))
		for i := range keys {
			keys[i] = 1 + rng.IntN(d.rows)
		}
		// Opening takes long, so all systems stay open and take turns.
		stmts := make(map[string]*sql.Stmt)
		for _, sys := range e.systems {
			s, err := sys.open(d, openOptions{latency: decorate.Latency{}})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			stmt, err := s.db.PrepareContext(ctx, d.lookup(byPrimaryKey).query)
			if err != nil {
				return fmt.Errorf("%s: %w", sys.name, err)
			}
			defer stmt.Close()
			stmts[sys.name] = stmt
			if _, err := pointRound(ctx, stmt, keys); err != nil { // fetches the pages
				return fmt.Errorf("%s: %w", sys.name, err)
			}
		}
		for range e.runs {
			for _, sys := range e.systems {
				var sum time.Duration
				n := 0
				for ; n == 0 || sum < e.pointTime; n++ {
					took, err := pointRound(ctx, stmts[sys.name], keys)
					if err != nil {
						return fmt.Errorf("%s: %w", sys.name, err)
					}
					sum += took
				}
				e.results.add(pointsName(pages), sys.name, sample{time: sum / time.Duration(n*len(keys))})
			}
		}
		return nil
	}
}

func pointRound(ctx context.Context, stmt *sql.Stmt, keys []int) (time.Duration, error) {
	start := time.Now()
	for _, key := range keys {
		var got int
		if err := stmt.QueryRowContext(ctx, key).Scan(&got); err != nil {
			return 0, err
		}
		if got != key {
			return 0, fmt.Errorf("row %d has id %d", key, got)
		}
	}
	return time.Since(start), nil
}
