package main

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"

	"golang.org/x/sync/errgroup"
)

func connsName(d fmt.Stringer, conns, lookups int) string {
	return fmt.Sprintf("%s: %d connections at once, opened, %d lookups in all", d, conns, lookups)
}

// connsWorkload opens many connections concurrently and looks up rows on each.
func connsWorkload(ctx context.Context, e *env, d *dataset) error {
	look := d.lookup(byPrimaryKey)
	keys, err := d.keys(ctx, look.key, e.lookups, 4)
	if err != nil {
		return err
	}
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		return e.session(ctx, sys, d, openOptions{latency: e.shape(), conns: e.conns}, func(s *session) error {
			sums := make([]uint64, e.conns)
			got, err := s.timed(ctx, func() error {
				g, ctx := errgroup.WithContext(ctx)
				for i := range e.conns {
					g.Go(func() (err error) {
						sums[i], err = connLookups(ctx, s.db, look.query, keys[i*len(keys)/e.conns:(i+1)*len(keys)/e.conns])
						return err
					})
				}
				return g.Wait()
			})
			if err != nil {
				return err
			}
			e.results.add(connsName(d, e.conns, len(keys)), sys.name, got)
			for i, sum := range sums {
				if err := e.check(fmt.Sprintf("%s connection %d", d, i), sum); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func connLookups(ctx context.Context, db *sql.DB, query string, keys []any) (uint64, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	sum := fnv.New64a()
	for _, key := range keys {
		rows, err := conn.QueryContext(ctx, query, key)
		if err != nil {
			return 0, err
		}
		if err := readRows(rows, sum); err != nil {
			return 0, err
		}
	}
	return sum.Sum64(), nil
}
