package pages

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/remote"
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

// What was fetched before the cache was replaced does not enter the next one, whether it
// has landed or is in flight: it may be of a file that is not trusted any more.
func TestSource_ResetDropsFlights(t *testing.T) {
	s := NewSource(&remote.Store{}, nil, Options{CacheSize: 1 << 20}, 4096)
	page := make([]byte, 4096)
	key := func(pgno uint32) Key { return Key{Version: 1, Pgno: pgno} }
	register := func(pgno uint32, f *flight) *flight {
		t.Helper()
		if added, _ := s.flights.register(key(pgno), f, 10); !added {
			t.Fatalf("page %d has a flight", pgno)
		}
		return f
	}
	prefetch := func(pgno uint32) *flight { return register(pgno, &flight{origin: byPrefetch, claim: unclaimed}) }
	here := prefetch(1)
	s.flights.land([]landing{{key: key(1), f: here, page: page}})
	s.cache.Load().add(key(2), page)
	register(2, &flight{origin: fromCache, claim: unclaimed, phase: landed, page: page})
	coming, interior, awaited := prefetch(3), prefetch(4), prefetch(5)
	waits := s.flights.join(key(5))

	s.Reset(4096)
	if n := s.flights.room(10); n != 10 || s.peek(key(1)) != nil || s.peek(key(2)) != nil {
		t.Errorf("there is room for %d of 10 pages", n)
	}
	again := s.flights.join(key(3))
	if !again.begun || s.flights.has(key(4)) {
		t.Fatal("a reader waits for a page of before")
	}
	s.flights.giveUp(key(1), key(2), key(4))
	s.flights.land([]landing{
		{key: key(3), f: coming, page: page},
		{key: key(4), f: interior, page: page, interior: true},
		{key: key(5), f: awaited, page: page},
	})
	select {
	case <-waits.done:
	default:
		t.Error("a reader waits on for a page that has come")
	}
	for pgno := uint32(1); pgno <= 5; pgno++ {
		if s.peek(key(pgno)) != nil {
			t.Errorf("page %d is in the new cache", pgno)
		}
	}
	if !s.flights.has(key(3)) {
		t.Error("the flight of a page that was begun again has ended")
	}
	s.flights.land([]landing{{key: key(3), f: again.flight, page: page}})
	if s.peek(key(3)) == nil {
		t.Error("the page that was fetched again is not in the cache")
	}
	// A prefetch had looked into the old cache before.
	if added, _ := s.flights.register(key(2), &flight{origin: fromCache, claim: unclaimed, phase: landed, page: page}, 10); added {
		t.Error("a page of the old cache is held for a scan")
	}
	if c := s.Counts(); c.Prefetched != 4 || c.Unused != 3 {
		t.Errorf("%d pages were prefetched, %d of them not used", c.Prefetched, c.Unused)
	}
}
