package main

import (
	"context"
	"database/sql"
	"fmt"
)

func oneName(d fmt.Stringer, n int, by, how string) string {
	return fmt.Sprintf("%s: %d lookups by %s in one transaction, %s", d, n, by, how)
}

// variants are the ways in which ours runs lookups in one transaction. Other
// systems have the first one only.
var variants = []struct {
	how  string
	opts openOptions
}{
	{"cold", openOptions{}},
	{"cold, with a local file for pages", openOptions{pagesOnly: true}},
}

// oneTransaction looks up random rows, all in one transaction, right after the
// first row.
func oneTransaction(by string) func(context.Context, *env, *dataset) error {
	return func(ctx context.Context, e *env, d *dataset) error {
		look := d.lookup(by)
		keys, err := d.keys(ctx, look.key, e.lookups, 2)
		if err != nil {
			return err
		}
		for i, v := range variants {
			opts := v.opts
			opts.latency = e.shape()
			err := e.repeat(ctx, func(ctx context.Context, sys *system) error {
				if i > 0 && sys.name != ours {
					return nil
				}
				return e.session(ctx, sys, d, opts, func(s *session) error {
					if err := s.firstRow(ctx, d); err != nil {
						return err
					}
					if _, _, err := s.counts(ctx); err != nil {
						return err
					}
					got, err := s.timed(ctx, func() error { return e.inOne(ctx, d, look, s.db, keys) })
					e.results.add(oneName(d, len(keys), look.name, v.how), sys.name, got)
					return err
				})
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// inOne looks up rows in one transaction.
func (e *env) inOne(ctx context.Context, d *dataset, look lookup, db *sql.DB, keys []any) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // only read
	stmt, err := tx.PrepareContext(ctx, look.query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	return e.lookUp(ctx, d, look, stmt, keys)
}
