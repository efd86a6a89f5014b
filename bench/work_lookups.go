package main

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
)

func lookupName(d fmt.Stringer, n int, by, how string) string {
	return fmt.Sprintf("%s: %d lookups by %s, %s", d, n, by, how)
}

func lookupFigure(d fmt.Stringer, by, what string) string {
	return fmt.Sprintf("%s: lookups by %s, %s", d, by, what)
}

const (
	perLookup     = "requests per lookup"
	perPage       = "requests per page"
	amplification = "amplification"
)

// lookupWorkload looks up random rows, each in a transaction of its own, and
// then the same rows again.
//
// The figures cover the second half of the first pass. Almost all interior
// pages are cached by then.
func lookupWorkload(by string) func(context.Context, *env, *dataset) error {
	return func(ctx context.Context, e *env, d *dataset) error {
		if err := d.loadFrameSizes(); err != nil {
			return err
		}
		look := d.lookup(by)
		keys, err := d.keys(ctx, look.key, e.lookups, 2)
		if err != nil {
			return err
		}
		return e.repeat(ctx, func(ctx context.Context, sys *system) error {
			return e.session(ctx, sys, d, openOptions{latency: e.shape(), record: true}, func(s *session) error {
				return e.lookupRun(ctx, d, look, keys, sys.name, s)
			})
		})
	}
}

func (e *env) lookupRun(ctx context.Context, d *dataset, look lookup, keys []any, system string, s *session) error {
	if err := s.firstRow(ctx, d); err != nil {
		return err
	}
	stmt, err := s.db.PrepareContext(ctx, look.query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	if _, _, err := s.counts(ctx); err != nil { // exclude the requests of the open, which has a workload of its own
		return err
	}
	var cold sample
	half := len(keys) / 2
	for _, part := range [][]any{keys[:half], keys[half:]} {
		if s.rec != nil {
			s.rec.take()
		}
		got, err := s.timed(ctx, func() error { return e.lookUp(ctx, d, look, stmt, part) })
		if err != nil {
			return err
		}
		cold.time += got.time
		cold.requests += got.requests
		cold.bytes += got.bytes
		if s.rec != nil && &part[0] == &keys[half] {
			pages := s.rec.take()
			used := d.ltxBytes(pages)
			e.results.addFigure(lookupFigure(d, look.name, perLookup), "", system, float64(got.requests)/float64(len(part)))
			e.results.addFigure(lookupFigure(d, look.name, perPage), "", system, float64(got.requests)/float64(max(len(pages), 1)))
			e.results.addFigure(lookupFigure(d, look.name, amplification), "", system, float64(got.bytes)/float64(max(used, 1)))
		}
	}
	e.results.add(lookupName(d, len(keys), look.name, "cold"), system, cold)
	warm, err := s.timed(ctx, func() error { return e.lookUp(ctx, d, look, stmt, keys) })
	if err != nil {
		return err
	}
	e.results.add(lookupName(d, len(keys), look.name, "warm"), system, warm)
	return nil
}

// lookUp runs a lookup for each key and checks the answers.
func (e *env) lookUp(ctx context.Context, d *dataset, look lookup, stmt *sql.Stmt, keys []any) error {
	sum := fnv.New64a()
	for _, key := range keys {
		rows, err := stmt.QueryContext(ctx, key)
		if err != nil {
			return err
		}
		if err := readRows(rows, sum); err != nil {
			return err
		}
	}
	return e.check(fmt.Sprintf("%s %s %v %d", d, look.query, keys[0], len(keys)), sum.Sum64())
}
