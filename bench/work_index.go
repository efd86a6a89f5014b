package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

func openIndexName(pages int) string {
	return fmt.Sprintf("page index of %d pages: open to first row", pages)
}

func afterOpenName(pages int) string {
	return fmt.Sprintf("page index of %d pages: a random row right after", pages)
}

func indexShareFigure(pages int) string {
	return fmt.Sprintf("page index of %d pages: reading the rest of it, share of the download's speed", pages)
}

// openIndexWorkload opens a database with many pages, reads a row, and then one
// somewhere else. For ours, it waits for the rest of the page index.
func openIndexWorkload(pages int) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		d, err := e.treeDataset(ctx, pages)
		if err != nil {
			return err
		}
		speed, _, err := e.download(ctx, d)
		if err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(d.seed, 6))
		row := 0
		return e.repeat(ctx, func(ctx context.Context, sys *system) error {
			switch sys.name {
			case plain:
				return nil // there is no restored file
			case ours:
				row = 1 + rng.IntN(d.rows)
			}
			return e.session(ctx, sys, d, openOptions{latency: e.shape()}, func(s *session) error {
				got, err := s.timed(ctx, func() error { return s.firstRow(ctx, d) })
				if err != nil {
					return err
				}
				e.results.add(openIndexName(pages), sys.name, got)
				got, err = s.timed(ctx, func() error {
					_, err := answer(ctx, s.db, d.lookup(byPrimaryKey).query, row)
					return err
				})
				if err != nil {
					return err
				}
				e.results.add(afterOpenName(pages), sys.name, got)
				if sys.name != ours {
					return nil
				}
				mbps, err := s.restOfIndex(ctx, e.latency)
				if err == nil {
					e.results.addFigure(indexShareFigure(pages), "%", sys.name, 100*mbps/speed)
				}
				return err
			})
		})
	}
}

// restOfIndex waits until nothing is unread of the page index. It returns how fast
// it came, in MB/s, from the first byte on. Reading it begins a second after the
// open.
func (s *session) restOfIndex(ctx context.Context, latency time.Duration) (float64, error) {
	time.Sleep(300 * time.Millisecond) // for pages that are prefetched
	before := s.soFar().bytes
	var start time.Time
	for last := before; ; {
		now := time.Now()
		if n := s.soFar().bytes; n != last {
			if start.IsZero() {
				start = now.Add(-latency) // of the first request
			}
			last = n
		}
		if s.vfs.Stats()[0].UnreadIndexes == 0 {
			if start.IsZero() {
				return 0, nil // it came with the open
			}
			took := max(now.Sub(start), time.Millisecond) // the time between two looks
			return float64(last-before) / took.Seconds() / 1e6, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
