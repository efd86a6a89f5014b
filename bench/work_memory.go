package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"
)

func indexFigure(pages int) string {
	return fmt.Sprintf("heap of the index, %d pages in one snapshot", pages)
}

func connFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: heap of each further connection", d)
}

const cacheUnit = "% of CacheSize"

func cacheFigure(d *dataset) string {
	return fmt.Sprintf("%s: heap of a full cache, pages of %d bytes", d, d.pageSize)
}

// heap returns the bytes of live Go objects. It does not include SQLite's own
// memory.
func heap() float64 {
	// Collect several times: a pool keeps its content for one collection, and
	// whatever was just closed may still be finishing.
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// remote calls fn for each system except plain SQLite, which uses no Go heap.
func (e *env) remote(fn func(*system) error) error {
	for _, sys := range e.systems {
		if sys.name == plain {
			continue
		}
		if err := fn(sys); err != nil {
			return fmt.Errorf("%s: %w", sys.name, err)
		}
	}
	return nil
}

// indexMemory measures the memory of an open database without a cache.
func indexMemory(ctx context.Context, e *env) (err error) {
	d, err := e.dataset(ctx, pointsSource(e.indexPages), 0, e.frames)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.drop(d)) }()
	return e.remote(func(sys *system) error {
		before := heap()
		return e.session(ctx, sys, d, openOptions{cacheSize: -1}, func(s *session) error {
			if err := s.firstRow(ctx, d); err != nil {
				return err
			}
			if s.vfs != nil {
				if _, err := s.restOfIndex(ctx, 0); err != nil {
					return err
				}
			}
			s.trace.Reset()
			e.results.addFigure(indexFigure(e.indexPages), "bytes a page", sys.name, (heap()-before)/float64(d.pages))
			return nil
		})
	})
}

// connMemory measures the memory of each connection after the first.
func connMemory(ctx context.Context, e *env, d *dataset) error {
	const more = 16
	return e.remote(func(sys *system) error {
		return e.session(ctx, sys, d, openOptions{conns: 1 + more}, func(s *session) error {
			var conns []*sql.Conn
			defer func() {
				for _, c := range conns {
					c.Close()
				}
			}()
			var first float64
			for i := range 1 + more {
				conn, err := s.db.Conn(ctx)
				if err != nil {
					return err
				}
				conns = append(conns, conn)
				rows, err := conn.QueryContext(ctx, d.first)
				if err != nil {
					return err
				}
				if err := rows.Close(); err != nil {
					return err
				}
				s.trace.Reset()
				if i == 0 {
					first = heap()
				}
			}
			e.results.addFigure(connFigure(d), "KiB", sys.name, (heap()-first)/more/1024)
			return nil
		})
	})
}

// cacheMemory measures the memory of a full cache. It runs the same work with
// and without a cache.
func cacheMemory(size int64) func(context.Context, *env, *dataset) error {
	return func(ctx context.Context, e *env, d *dataset) error {
		// These keys fill the cache several times, whatever it keeps of a scan.
		keys, err := d.keys(ctx, d.lookup(byPrimaryKey).key, 4*int(size)/d.pageSize, 6)
		if err != nil {
			return err
		}
		return e.remote(func(sys *system) error {
			without, err := e.weighCache(ctx, d, sys, -1, keys)
			if err != nil {
				return err
			}
			full, err := e.weighCache(ctx, d, sys, size, keys)
			if err != nil {
				return err
			}
			e.results.addFigure(cacheFigure(d), cacheUnit, sys.name, (full-without)/float64(size)*100)
			return nil
		})
	}
}

// weighCache scans everything, looks up keys, and returns the size of the heap
// after that.
func (e *env) weighCache(ctx context.Context, d *dataset, sys *system, size int64, keys []any) (got float64, err error) {
	look := d.lookup(byPrimaryKey)
	before := heap()
	err = e.session(ctx, sys, d, openOptions{cacheSize: size}, func(s *session) error {
		for _, query := range d.scans {
			if _, err := answer(ctx, s.db, query, -1); err != nil {
				return err
			}
			s.trace.Reset()
		}
		stmt, err := s.db.PrepareContext(ctx, look.query)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for range 2 {
			if err := e.lookUp(ctx, d, look, stmt, keys); err != nil {
				return err
			}
			s.trace.Reset()
		}
		got = heap() - before
		return nil
	})
	return got, err
}
