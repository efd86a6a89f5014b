package pages

import (
	"errors"
	"sync/atomic"
	"testing"
)

// A page can land, and go on to the cache, after a reader or a prefetch has looked for
// it there and before it looks for its flight. It is not fetched once more then.
func TestFlights_LandsBetweenLooks(t *testing.T) {
	var cache atomic.Pointer[pageCache]
	cache.Store(newCache(1<<20, 4096))
	flights := newFlights(&cache, new(Counters))
	key := Key{Version: 1, Pgno: 2}
	f := &flight{origin: byPrefetch}
	if added, full := flights.register(key, f, 1); !added || full {
		t.Fatalf("register = %v, %v, want true, false", added, full)
	}
	if _, ok := cache.Load().peek(key); ok {
		t.Fatal("a page in flight is in the cache")
	}
	flights.land([]landing{{key: key, f: f, page: make([]byte, 4096)}})

	if added, _ := flights.register(key, &flight{origin: byPrefetch}, 1); added {
		t.Error("another prefetch fetches the page once more")
	}
	if f := flights.join(key); f.begun {
		t.Error("a reader fetches the page once more")
	}
	cached := &flight{origin: fromCache, claim: unclaimed, phase: landed}
	if added, _ := flights.register(key, cached, 1); !added {
		t.Error("a page of the cache is not held for a scan")
	}
}

// A page that is given up while it is in flight counts as unused once it has come, but
// not if it does not come, or if a reader waits for it by then.
func TestFlights_GaveUp(t *testing.T) {
	for _, tc := range []struct {
		name               string
		err                error // of the fetch
		awaited            bool  // a reader waits
		prefetched, unused int64
	}{
		{"comes", nil, false, 1, 1},
		{"fails", errors.New("no answer"), false, 0, 0},
		{"is read", nil, true, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var cache atomic.Pointer[pageCache]
			cache.Store(newCache(1<<20, 4096))
			flights := newFlights(&cache, new(Counters))
			key := Key{Version: 1, Pgno: 2}
			f := &flight{origin: byPrefetch, claim: unclaimed}
			flights.register(key, f, 1)
			flights.giveUp(key)
			if n := flights.room(1); n != 1 {
				t.Errorf("there is room for %d pages, want 1", n)
			}
			if c := flights.counts.Counts(); c.Unused != 0 {
				t.Errorf("before it has landed, %d pages are unused", c.Unused)
			}
			if tc.awaited && flights.join(key).begun {
				t.Error("a reader fetches the page once more")
			}
			flights.land([]landing{{key: key, f: f, page: make([]byte, 4096), err: tc.err}})
			if c := flights.counts.Counts(); c.Prefetched != tc.prefetched || c.Unused != tc.unused {
				t.Errorf("%d pages prefetched, %d of them unused, want %d and %d", c.Prefetched, c.Unused, tc.prefetched, tc.unused)
			}
		})
	}
}
