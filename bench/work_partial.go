package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// partialShare is the share of a table's rows after which a program stops.
const partialShare = 0.02

const (
	byLimit = "LIMIT" // the statement says after how many rows it ends
	byClose = "close" // the program closes the rows, of a statement that would go on
)

func partialName(d fmt.Stringer, by string) string {
	return fmt.Sprintf("%s: the first %g%% of a table, by %s", d, partialShare*100, by)
}

func partialFigure(d fmt.Stringer, by string) string {
	return partialName(d, by) + ", bytes read of those needed"
}

// partialWorkload reads the first rows of a table, right after the first row of
// another statement.
func partialWorkload(ctx context.Context, e *env, d *dataset) error {
	if err := d.loadFrameSizes(); err != nil {
		return err
	}
	n := int(float64(d.rows) * partialShare)
	for _, by := range []string{byLimit, byClose} {
		if err := e.repeat(ctx, func(ctx context.Context, sys *system) error {
			return e.session(ctx, sys, d, openOptions{latency: e.shape(), record: true}, func(s *session) error {
				if err := s.firstRow(ctx, d); err != nil {
					return err
				}
				if _, _, err := s.counts(ctx); err != nil {
					return err
				}
				if s.rec != nil {
					s.rec.take()
				}
				got, err := s.timed(ctx, func() error { return firstRows(ctx, s.db, d.rowsQuery, n, by) })
				if err != nil {
					return err
				}
				e.results.add(partialName(d, by), sys.name, got)
				if s.rec != nil {
					e.results.addFigure(partialFigure(d, by), "x", sys.name, float64(got.bytes)/float64(d.ltxBytes(s.rec.take())))
				}
				return nil
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// firstRows reads the first n rows of a query.
func firstRows(ctx context.Context, db *sql.DB, query string, n int, by string) (err error) {
	if by == byLimit {
		query = fmt.Sprintf("%s LIMIT %d", query, n)
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for range n {
		if !rows.Next() {
			return errors.Join(fmt.Errorf("%s: fewer than %d rows", query, n), rows.Err())
		}
	}
	return rows.Err()
}
