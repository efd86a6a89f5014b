package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

func scanName(d fmt.Stringer) string  { return fmt.Sprintf("%s: full scan, cold", d) }
func tableName(d fmt.Stringer) string { return fmt.Sprintf("%s: table scan, cold", d) }

func countName(d fmt.Stringer) string { return fmt.Sprintf("%s: count(*), cold", d) }

func speedFigure(scan string) string { return scan + ", speed once open" }
func shareFigure(scan string) string { return scan + ", share of the download's speed" }

// processorFigure names the processor time of something: of all threads, in user
// mode and in the kernel.
func processorFigure(of string) string { return of + ", processor time" }

func downloadFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: download in %d streams, speed", d, downloadStreams)
}

// probeShare is the share of a scan that runs first, to find out whether the
// whole scan would take too long.
const probeShare = 0.02

// tableWorkload scans the table. It skips the pages of indexes between the
// pages of the table.
func tableWorkload(ctx context.Context, e *env, d *dataset) error {
	return e.scan(ctx, d, tableName(d), d.table, nil)
}

// scanWorkload reads all tables and indexes.
func scanWorkload(ctx context.Context, e *env, d *dataset) error {
	done, err := e.speed(ctx, d, scanName(d))
	if err != nil {
		return err
	}
	return e.scan(ctx, d, scanName(d), d.scans, done)
}

// countWorkload reads pages as fast as SQLite can process them. It excludes
// upstream, because no part of the work could run instead of all of it.
func countWorkload(ctx context.Context, e *env, d *dataset) error {
	done, err := e.speed(ctx, d, countName(d))
	if err != nil {
		return err
	}
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		if sys.name == upstream {
			return nil
		}
		got, err := e.scanOnce(ctx, d, sys, d.counts, 0, done)
		if err == nil {
			e.results.add(countName(d), sys.name, got)
		}
		return err
	})
}

// speed downloads the snapshot and returns a function that compares the speed
// of a scan with it. The speed of a scan is the LTX bytes of the used pages per
// second.
func (e *env) speed(ctx context.Context, d *dataset, scan string) (scanDone, error) {
	if err := d.loadFrameSizes(); err != nil {
		return nil, err
	}
	for range e.runs {
		speed, processor, err := e.download(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("download: %w", err)
		}
		e.results.addFigure(downloadFigure(d), "MB/s", ours, speed)
		e.results.addFigure(processorFigure(downloadFigure(d)), "ms", ours, milliseconds(processor))
	}
	download := e.results.value(downloadFigure(d), ours)
	return func(sys *system, s *session, took, processor time.Duration) {
		e.results.addFigure(processorFigure(scan), "ms", sys.name, milliseconds(processor))
		if s.rec == nil {
			return
		}
		speed := float64(d.ltxBytes(s.rec.take())) / took.Seconds() / 1e6
		e.results.addFigure(speedFigure(scan), "MB/s", sys.name, speed)
		e.results.addFigure(shareFigure(scan), "%", sys.name, speed/download*100)
	}, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// scanDone receives the duration of a whole scan after the open, and the
// processor time that it took.
type scanDone func(sys *system, s *session, took, processor time.Duration)

// scan opens the database and runs queries that read everything. If that would
// take too long, it reads only a part.
func (e *env) scan(ctx context.Context, d *dataset, name string, queries []string, done scanDone) error {
	share := make(map[string]float64)
	for _, sys := range e.systems {
		got, err := e.scanOnce(ctx, d, sys, queries, probeShare, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", sys.name, err)
		}
		if got.whole().time > e.patience {
			share[sys.name] = probeShare
		}
	}
	return e.repeat(ctx, func(ctx context.Context, sys *system) error {
		got, err := e.scanOnce(ctx, d, sys, queries, share[sys.name], done)
		if err == nil {
			e.results.add(name, sys.name, got)
		}
		return err
	})
}

// scanOnce scans a share of all rows; 0 means all rows.
func (e *env) scanOnce(ctx context.Context, d *dataset, sys *system, queries []string, share float64, done scanDone) (got sample, err error) {
	rows := -1
	if share > 0 {
		rows = int(float64(d.rows) * share)
	}
	err = e.session(ctx, sys, d, openOptions{latency: e.shape(), record: done != nil}, func(s *session) error {
		var took, processor time.Duration
		var open sample
		start := time.Now()
		got, err = s.timed(ctx, func() error {
			if err := s.firstRow(ctx, d); err != nil {
				return err
			}
			opened := time.Now()
			open = s.soFar()
			open.time = opened.Sub(start)
			before := processorSoFar()
			defer func() { took, processor = time.Since(opened), processorSoFar()-before }()
			for _, query := range queries {
				sum, err := answer(ctx, s.db, query, rows)
				if err == nil {
					err = e.check(fmt.Sprintf("%s %d %s", d, rows, query), sum)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		got.share, got.once = share, &open
		if err == nil && done != nil && share == 0 {
			done(sys, s, took, processor)
		}
		return err
	})
	return got, err
}

const downloadStreams = 8

// download reads the snapshot in ranges, one per stream, which is the fastest
// way, and returns the speed in MB/s and the processor time.
func (e *env) download(ctx context.Context, d *dataset) (speed float64, processor time.Duration, err error) {
	client := decorated(d, e.shape())
	info := d.snapshot
	start, before := time.Now(), processorSoFar()
	g, ctx := errgroup.WithContext(ctx)
	for i := range int64(downloadStreams) {
		from, to := i*info.Size/downloadStreams, (i+1)*info.Size/downloadStreams
		g.Go(func() error {
			body, err := client.OpenLTXFile(ctx, info.Level, info.MinTXID, info.MaxTXID, from, to-from)
			if err != nil {
				return err
			}
			defer body.Close()
			n, err := io.Copy(io.Discard, body)
			if err == nil && n != to-from {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, 0, err
	}
	return float64(info.Size) / time.Since(start).Seconds() / 1e6, processorSoFar() - before, nil
}
