package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/memory"
)

func hydrateName(d fmt.Stringer) string { return fmt.Sprintf("%s: hydration, from nothing", d) }

func fetchFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: download of the same bytes in %d streams, time", d, downloadStreams)
}

func hydrateShareFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration, of the download's time", d)
}

func hydrateHalfFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration, time until half of all pages are local, of that after the first row", d)
}

func hydrateBytesFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration, bytes read of those needed", d)
}

func hydrateHeapFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration, heap above that of the open database", d)
}

func hydrateCPUFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration without latency, database bytes by processor time", d)
}

// hydrateSystemFigure names the figure of the system's part of the processor
// time: the kernel's time for writing the file, and the cost of memory that the
// machine gets from its host. The figure separates these from the time of our
// code.
func hydrateSystemFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: hydration without latency, the system's part of the processor time", d)
}

func hydratedName(d fmt.Stringer, what string) string {
	return fmt.Sprintf("%s: hydrated, %s", d, what)
}

// When lookups run: while the system still writes the hydrated file to the
// disk, and after that.
const (
	atOnce  = "at once"
	settled = "written to the disk"
)

func hydratedLookups(n int, when string) string {
	return fmt.Sprintf("%d lookups by primary key, %s", n, when)
}

// hydrateWorkload hydrates a database and then reads it.
func hydrateWorkload(ctx context.Context, e *env, d *dataset) error {
	if err := d.loadFrameSizes(); err != nil {
		return err
	}
	needed := int64(0)
	for _, size := range d.frameSize {
		needed += size
	}
	for range e.runs {
		took, err := e.fetch(ctx, d)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		e.results.addFigure(fetchFigure(d), "ms", ours, took.Seconds()*1e3)
	}
	download := e.results.value(fetchFigure(d), ours)
	look := d.lookup(byPrimaryKey)
	var keys [2][]any // keys to look up at once, and after the file is on the disk
	for i := range keys {
		var err error
		if keys[i], err = d.keys(ctx, look.key, e.lookups, uint64(5+i)); err != nil {
			return err
		}
	}
	err := e.repeat(ctx, func(ctx context.Context, sys *system) error {
		return e.session(ctx, sys, d, openOptions{latency: e.shape(), hydrate: true}, func(s *session) error {
			if s.hydration != nil {
				peak := watchHeap()
				var first, half time.Duration
				got, err := s.timed(ctx, func() (err error) { first, half, err = e.awaitHydrated(ctx, d, s); return err })
				heap := peak()
				if err != nil {
					return err
				}
				e.results.add(hydrateName(d), sys.name, got)
				e.results.addFigure(hydrateShareFigure(d), "x", sys.name, got.time.Seconds()*1e3/download)
				e.results.addFigure(hydrateBytesFigure(d), "x", sys.name, float64(got.bytes)/float64(needed))
				if sys.name == ours { // upstream serves no local page before all pages are local
					e.results.addFigure(hydrateHalfFigure(d), "%", sys.name, 100*(half-first).Seconds()/(got.time-first).Seconds())
				}
				e.results.addFigure(hydrateHeapFigure(d), "MiB", sys.name, heap/(1<<20))
			} else if err := s.firstRow(ctx, d); err != nil {
				return err
			}
			return e.readHydrated(ctx, d, sys, s, look, keys)
		})
	})
	if err != nil {
		return err
	}
	return e.hydrateCPU(ctx, d)
}

// readHydrated looks up rows and scans everything. If upstream does not use the
// local file, it scans only a part.
func (e *env) readHydrated(ctx context.Context, d *dataset, sys *system, s *session, look lookup, keys [2][]any) error {
	stmt, err := s.db.PrepareContext(ctx, look.query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for i, when := range []string{atOnce, settled} {
		if when == settled {
			syscall.Sync() // the file of plain SQLite is on the disk, too
		}
		got, err := s.timed(ctx, func() error { return e.lookUp(ctx, d, look, stmt, keys[i]) })
		if err != nil {
			return err
		}
		e.results.add(hydratedName(d, hydratedLookups(e.lookups, when)), sys.name, got)
	}
	for _, q := range []struct {
		name    string
		queries []string
	}{{"full scan", d.scans}, {"count(*)", d.counts}} {
		got, err := s.timed(ctx, func() error {
			for _, query := range q.queries {
				sum, err := answer(ctx, s.db, query, -1)
				if err == nil {
					err = e.check(fmt.Sprintf("%s %d %s", d, -1, query), sum)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		e.results.add(hydratedName(d, q.name), sys.name, got)
	}
	return nil
}

// awaitHydrated reads a row and waits for the rest. first is the time until the
// row was read, and half the time until every second page was local.
func (e *env) awaitHydrated(ctx context.Context, d *dataset, s *session) (first, half time.Duration, err error) {
	start := time.Now()
	if err := s.firstRow(ctx, d); err != nil {
		return 0, 0, err
	}
	first = time.Since(start)
	for {
		progress, done, err := s.hydration(ctx, s)
		if half == 0 && progress >= 50 {
			half = time.Since(start)
		}
		if err != nil || done {
			return first, half, err
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// hydrateCPU hydrates from a store without latency and measures the processor
// time.
func (e *env) hydrateCPU(ctx context.Context, d *dataset) error {
	client, err := inMemory(ctx, d)
	if err != nil {
		return fmt.Errorf("copy replica: %w", err)
	}
	for range e.runs {
		err := e.session(ctx, e.systems[0], d, openOptions{hydrate: true, client: client}, func(s *session) error {
			debug.FreeOSMemory() // garbage of the copy must not be collected during the measurement
			user, system := processorTime()
			if _, _, err := e.awaitHydrated(ctx, d, s); err != nil {
				return err
			}
			userAfter, systemAfter := processorTime()
			system = systemAfter - system
			took := userAfter - user + system
			e.results.addFigure(hydrateCPUFigure(d), "MB/s", ours, float64(d.pages*d.pageSize)/1e6/took.Seconds())
			e.results.addFigure(hydrateSystemFigure(d), "%", ours, 100*system.Seconds()/took.Seconds())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// processorTime returns the processor time of the process so far, in user mode
// and in the kernel.
func processorTime() (user, system time.Duration) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for the own process
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

// processorSoFar returns the processor time of the process so far.
func processorSoFar() time.Duration {
	user, system := processorTime()
	return user + system
}

// watchHeap returns a function that returns the peak of the heap, in bytes
// above its current size. The peak includes garbage.
func watchHeap() func() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapInuse
	var stop atomic.Bool
	done := make(chan uint64)
	go func() {
		var most uint64
		for !stop.Load() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			time.Sleep(5 * time.Millisecond)
		}
		done <- most
	}()
	return func() float64 {
		stop.Store(true)
		return max(0, float64(<-done)-float64(before))
	}
}

// fetch downloads the files of a replica, the large ones in ranges, with as
// many streams as hydration uses. It does not list the files.
func (e *env) fetch(ctx context.Context, d *dataset) (time.Duration, error) {
	folder := file.NewReplicaClient(d.replica)
	files, err := list(ctx, folder)
	if err != nil {
		return 0, err
	}
	client := decorate.NewLatency(folder, e.shape())
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(downloadStreams)
	for _, info := range files {
		const most = 1 << 20
		for from := int64(0); from < info.Size; from += most {
			g.Go(func() error {
				n := min(most, info.Size-from)
				body, err := client.OpenLTXFile(ctx, info.Level, info.MinTXID, info.MaxTXID, from, n)
				if err != nil {
					return err
				}
				got, err := io.Copy(io.Discard, body)
				if err == nil && got != n {
					err = io.ErrUnexpectedEOF
				}
				return errors.Join(err, body.Close())
			})
		}
	}
	err = g.Wait()
	return time.Since(start), err
}

// list returns all files of a replica.
func list(ctx context.Context, client litestream.ReplicaClient) (files []*ltx.FileInfo, err error) {
	for level := range litestream.SnapshotLevel + 1 {
		itr, err := client.LTXFiles(ctx, level, 0, false)
		if err != nil {
			return nil, err
		}
		for itr.Next() {
			files = append(files, itr.Item())
		}
		if err := errors.Join(itr.Err(), itr.Close()); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// inMemory copies the replica of a dataset into memory.
func inMemory(ctx context.Context, d *dataset) (litestream.ReplicaClient, error) {
	return copyReplica(ctx, file.NewReplicaClient(d.replica))
}

// copyReplica copies a replica into memory.
func copyReplica(ctx context.Context, from litestream.ReplicaClient) (litestream.ReplicaClient, error) {
	to := memory.NewReplicaClient()
	files, err := list(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, info := range files {
		body, err := from.OpenLTXFile(ctx, info.Level, info.MinTXID, info.MaxTXID, 0, 0)
		if err != nil {
			return nil, err
		}
		_, err = to.WriteLTXFile(ctx, info.Level, info.MinTXID, info.MaxTXID, body)
		if err := errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
	}
	return to, nil
}
