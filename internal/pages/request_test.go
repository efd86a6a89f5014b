package pages

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// Requests get memory in their order, also where a later one would need less. Those of
// the foreground take none.
func TestRequestQueue(t *testing.T) {
	q := &requestQueue{store: new(remote.Store), most: 10}
	var all []*request
	want := func(when, ready string, held int64) {
		t.Helper()
		got := ""
		for _, r := range all {
			select {
			case <-r.ready:
				got += "+"
			default:
				got += "-"
			}
		}
		if got != ready || q.mu.held != held {
			t.Errorf("%s: ready are %s with %d bytes, want %s with %d", when, got, q.mu.held, ready, held)
		}
	}
	add := func(class remote.Class, size int64) { all = append(all, q.add(class, size)) }
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	add(remote.Speculative, 6)
	add(remote.Speculative, 6)
	add(remote.Speculative, 3)
	add(remote.Foreground, 50)
	add(remote.Speculative, 99) // takes all that there is
	add(remote.Speculative, 1)
	want("at first", "+--+--", 6)
	all[0].release()
	want("the first has ended", "++++--", 9)
	all[3].release()
	all[1].release()
	want("two more have ended", "++++--", 3)
	if err := all[4].await(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the context of a request that waits is done: %v", err)
	}
	want("one has left", "++++-+", 4)
	all[4].promote()
	want("a reader waits for one that has left", "++++-+", 4)
	add(remote.Speculative, 8)
	add(remote.Speculative, 2)
	want("two are added", "++++-+--", 4)
	all[6].promote()
	want("a reader waits for one of them", "++++-+++", 6)
	if err := all[6].await(ended); err != nil {
		t.Errorf("the context of a request that is ready is done: %v", err)
	}
	for _, i := range []int{2, 5, 6, 7} {
		all[i].release()
	}
	want("all have ended", "++++-+++", 0)
	if n := len(q.mu.waiting); n != 0 {
		t.Errorf("%d requests wait", n)
	}

	q, all = &requestQueue{store: new(remote.Store), most: -1}, nil
	add(remote.Speculative, 1<<40)
	want("without a bound", "+", 0)
}

// TestReadAhead_MemoryBeforePlace has one request of read-ahead take all memory and wait
// for a place, and another one wait for memory. A reader gets a page of the second one at
// once, by the place that is left for readers.
func TestReadAhead_MemoryBeforePlace(t *testing.T) {
	inBed(t, Options{PrefetchSize: 12 * bedPageSize}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		l := remote.NewLimiter(2) // one place is for read-ahead
		b.store.Limit = l
		held := l.Enqueue(remote.Speculative) // of another database
		b.prefetcher.Prefetch(v, pgnoRange(10, 20), 0, nil)
		b.prefetcher.Prefetch(v, pgnoRange(1010, 1020), 0, nil)
		synctest.Wait()
		if running, waiting := l.Load(); running != 1 || waiting != 1 {
			t.Errorf("%d requests have a place and %d wait for one, want 1 and 1", running, waiting)
		}
		start := time.Now()
		page, err := b.source.Page(t.Context(), v, 1015)
		if d := time.Since(start); err != nil || d > 0 || !bytes.Equal(page, oddPage(1015, 1)) {
			t.Errorf("page 1015 after %v: %v", d, err)
		}
		l.Done(held)
		synctest.Wait()
		wantNothingPrefetched(t, b)
		wantOdd(t, b, v, 1, 0, append(pgnoRange(10, 20), pgnoRange(1010, 1020)...)...)
	})
}

// TestReadAhead_LittleMemory has memory for one request at a time. The requests are made
// in the order of the pages.
func TestReadAhead_LittleMemory(t *testing.T) {
	inBed(t, Options{PrefetchSize: bedPageSize}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		var mu sync.Mutex
		var offsets []int64 // of the requests; guarded by mu
		client.open = func(_ view.Key, off int64) error {
			if running, waiting := b.store.Limit.Load(); running != 1 || waiting != 0 {
				t.Errorf("%d requests have a place and %d wait for one, want 1 and 0", running, waiting)
			}
			mu.Lock()
			offsets = append(offsets, off)
			mu.Unlock()
			time.Sleep(time.Second)
			return nil
		}
		pgnos := []uint32{10, 310, 610, 910, 1210, 1510, 1810, 2110, 2410, 2710} // far from each other
		b.prefetcher.Prefetch(v, pgnos, 0, nil)
		time.Sleep(time.Minute)
		mu.Lock()
		got := slices.Clone(offsets)
		mu.Unlock()
		if len(got) != len(pgnos) || !slices.IsSorted(got) {
			t.Errorf("requests at %v", got)
		}
		wantNothingPrefetched(t, b)
		wantOdd(t, b, v, 1, 0, pgnos...)
	})
}

// TestReadAhead_EndsWithoutMemory has a request wait for memory until its time is over,
// the database is closed, or its scan ends. It is not made, and leaves nothing behind.
func TestReadAhead_EndsWithoutMemory(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes time.Duration // the request that has the memory
		end   func(b *bed, v *view.View, s *scan)
	}{
		{"time is over", 2 * bedReadTimeout, func(*bed, *view.View, *scan) {}},
		{"closed", 2 * bedReadTimeout, func(b *bed, _ *view.View, _ *scan) { b.close() }},
		{"scan ends", bedReadTimeout / 2, func(b *bed, v *view.View, s *scan) {
			s.ended.Store(true)
			giveUp(b, v, 10, 60, 1010, 1060)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBed(t, Options{PrefetchSize: 12 * bedPageSize}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
				client.open = func(view.Key, int64) error { time.Sleep(tc.takes); return nil }
				s := &scan{pace: new(window)}
				b.prefetcher.Prefetch(v, []uint32{10, 60}, 0, s) // and the gap between them
				b.prefetcher.Prefetch(v, []uint32{1010, 1060}, 0, s)
				synctest.Wait()
				if running, waiting := b.store.Limit.Load(); running != 1 || waiting != 0 {
					t.Errorf("%d requests have a place and %d wait for one, want 1 and 0", running, waiting)
				}
				tc.end(b, v, s)
				time.Sleep(time.Hour)
				if n := client.opens.Load(); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
				giveUp(b, v, 10, 60, 1010, 1060)
				wantNothingPrefetched(t, b)
			})
		})
	}
}
