package pages

import (
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
