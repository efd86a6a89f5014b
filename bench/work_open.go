package main

import (
	"context"
	"fmt"
)

func openName(d fmt.Stringer, files int) string {
	return fmt.Sprintf("%s: open to first row, %d L0 files", d, files)
}

// openWorkload opens the block map and reads a row.
func openWorkload(files int) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		d, err := e.dataset(ctx, blocksSource(e.blockRows), files, e.frames)
		if err != nil {
			return err
		}
		return openRun(ctx, e, d)
	}
}

func openRun(ctx context.Context, e *env, d *dataset) error {
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		return e.session(ctx, sys, d, openOptions{latency: e.shape()}, func(s *session) error {
			got, err := s.timed(ctx, func() error { return s.firstRow(ctx, d) })
			e.results.add(openName(d, d.files), sys.name, got)
			return err
		})
	})
}

// firstRow reads any row.
func (s *session) firstRow(ctx context.Context, d *dataset) error {
	_, err := answer(ctx, s.db, d.first)
	return err
}
