package main

import (
	"context"
	"fmt"
)

func rangeName(d fmt.Stringer, n int, by string) string {
	return fmt.Sprintf("%s: range of %d rows by %s, cold", d, n, by)
}

// rangeWorkload reads rows that are adjacent in an index, including columns
// that only the table contains.
func rangeWorkload(ctx context.Context, e *env, d *dataset) error {
	for _, scan := range d.ranges {
		keys, err := d.keys(ctx, scan.key, 1, 3)
		if err != nil {
			return err
		}
		if err := e.repeat(ctx, func(ctx context.Context, sys *system) error {
			return e.session(ctx, sys, d, openOptions{latency: e.shape()}, func(s *session) error {
				if err := s.firstRow(ctx, d); err != nil {
					return err
				}
				if _, _, err := s.counts(ctx); err != nil {
					return err
				}
				got, err := s.timed(ctx, func() error {
					sum, err := answer(ctx, s.db, scan.query, keys[0], e.rangeRows)
					if err != nil {
						return err
					}
					return e.check(fmt.Sprintf("%s %s", d, scan.query), sum)
				})
				e.results.add(rangeName(d, e.rangeRows, scan.name), sys.name, got)
				return err
			})
		}); err != nil {
			return err
		}
	}
	return nil
}
