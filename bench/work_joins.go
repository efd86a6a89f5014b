package main

import (
	"context"
	"fmt"

	"github.com/ltxvfs/litestream/internal/network"
)

func joinName(d fmt.Stringer, query string) string { return fmt.Sprintf("%s: %s, cold", d, query) }

// joinsWorkload runs each query of package network on a database that was just
// opened.
func joinsWorkload(ctx context.Context, e *env, d *dataset) error {
	for _, q := range network.Queries(d.rows) {
		err := e.repeat(ctx, func(ctx context.Context, sys *system) error {
			return e.session(ctx, sys, d, openOptions{latency: e.shape()}, func(s *session) error {
				if err := s.firstRow(ctx, d); err != nil {
					return err
				}
				if _, _, err := s.counts(ctx); err != nil {
					return err
				}
				got, err := s.timed(ctx, func() error {
					sum, err := answer(ctx, s.db, q.SQL)
					if err != nil {
						return err
					}
					return e.check(fmt.Sprintf("%s %s", d, q.Name), sum)
				})
				e.results.add(joinName(d, q.Name), sys.name, got)
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	return nil
}
