package pages

import (
	"slices"
	"sync"
	"sync/atomic"
)

// flight is the fetch of a page, which several readers can wait for. The
// flight of a page that was prefetched stays in the table after it has landed,
// until a reader asks for the page or the scan that it is for gives it up.
type flight struct {
	// Guarded by flights.mu.
	done    chan struct{} // made by the first reader that waits
	phase   flightPhase
	claim   claim
	request *request // that fetches the page for a prefetch; nil before it is added
	gaveUp  bool     // a scan has given it up before it landed
	barred  bool     // its page must not enter the cache, which was replaced since

	origin    origin    // set before the flight is registered
	admission admission // changed only by land, under flights.mu

	// Valid after it has landed.
	page []byte
	err  error

	// memory is that of page if the reader that takes the page out of the table may
	// give it back; nil otherwise. Guarded by flights.mu.
	memory *[]byte
}

// share notes that a goroutine has a reference to the page, or will have, while
// the flight stays in the table. The caller holds flights.mu.
func (f *flight) share() { f.memory = nil }

// flightPhase tells whether a flight has its page.
type flightPhase uint8

const (
	inFlight flightPhase = iota
	landed               // page or err is set
)

func (p flightPhase) String() string { return [...]string{"in flight", "landed"}[p] }

// claim tells which reader needs the page of a flight.
type claim uint8

const (
	// claimed means that a reader has asked for the page, or that no scan is
	// ahead to give it up.
	claimed claim = iota

	// missed means that a reader has missed the page and is about to wait for
	// it. The first reader that gets the page counts a miss.
	missed

	// unclaimed means that the page was prefetched and no reader has asked for
	// it yet. Such pages count against the limit of pages that are prefetched.
	unclaimed
)

func (c claim) String() string { return [...]string{"claimed", "missed", "unclaimed"}[c] }

// origin tells why a flight was begun.
type origin uint8

const (
	// byReader is the fetch of a reader. It tries as hard as a read does.
	byReader origin = iota

	// byPrefetch is a fetch ahead of use. It makes one attempt, so its failure
	// says little: a reader that needs the page fetches it again.
	byPrefetch

	// fromCache is no fetch: it holds a page of the cache that could be evicted
	// before its turn in a scan comes.
	fromCache
)

func (o origin) String() string { return [...]string{"by a reader", "by prefetch", "from cache"}[o] }

// admission tells how the page of a flight enters the cache.
type admission uint8

const (
	admitNew  admission = iota // unless it is there
	admitNot                   // a scan that would fill the cache bypasses it
	admitKept                  // an interior page of a b-tree, which scans must not displace
)

func (a admission) String() string { return [...]string{"new", "not", "kept"}[a] }

// flights is the table of fetches: at most one of a page is under way. It
// hands the pages on to the cache. It is safe for concurrent use.
//
// Lock order: flights.mu, then the lock of the cache.
type flights struct {
	cache  *atomic.Pointer[pageCache]
	counts *Counters

	mu struct {
		sync.Mutex                 // makes sure that a page has at most one flight
		of         map[Key]*flight // in flight, or landed and unclaimed
		unclaimed  int             // number of flights in of that are unclaimed
	}
}

func newFlights(cache *atomic.Pointer[pageCache], counts *Counters) *flights {
	t := &flights{cache: cache, counts: counts}
	t.mu.of = make(map[Key]*flight)
	return t
}

// takeLanded takes a page of an origin that has landed before a reader asked for it,
// nil if there is none. If there is no other reference to the page, memory is what
// it lies in.
func (t *flights) takeLanded(key Key, origin origin) (page []byte, memory *[]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.mu.of[key]
	if f == nil || f.phase != landed || f.origin != origin {
		return nil, nil
	}
	t.counts.prefetchHits.Add(1)
	t.settle(key, f)
	return f.page, f.memory
}

// peek returns a page that was prefetched, without counting as a use of it.
func (t *flights) peek(key Key) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.mu.of[key]; f != nil && f.phase == landed && f.err == nil {
		f.share()
		return f.page
	}
	return nil
}

// joined is a flight as it is found by a reader that needs the page.
type joined struct {
	*flight
	begun   bool            // the reader has to fetch the page and land the flight
	done    <-chan struct{} // closed when it lands; nil if it was begun or has landed
	request *request        // that fetches the page for a prefetch, if it was added
}

// join returns the flight of a page, which it begins if there is none. The page may be
// in the cache meanwhile. Then there is no flight, as if it had landed.
func (t *flights) join(key Key) joined {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.mu.of[key]
	switch {
	case f == nil && t.isCached(key):
		return joined{} // it has landed since the reader looked
	case f == nil:
		f = &flight{origin: byReader, claim: claimed}
		t.mu.of[key] = f
		return joined{flight: f, begun: true}
	case f.phase == landed:
		return joined{flight: f}
	case f.done == nil:
		f.done = make(chan struct{})
	}
	return joined{flight: f, done: f.done, request: f.request}
}

// landing is the end of a flight.
type landing struct {
	key      Key
	f        *flight
	page     []byte
	err      error
	memory   *[]byte // of the page, if it may be given back
	interior bool    // the page is an interior page of a b-tree
}

// land ends flights. It takes many at once, so that the goroutines that decode
// pages and those that use them do not contend for the lock.
func (t *flights) land(all []landing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range all {
		f := l.f
		f.page, f.err, f.phase = l.page, l.err, landed
		if l.interior {
			f.admission = admitKept
		}
		if f.done == nil {
			f.memory = l.memory // else the goroutines that wait have the page, too
		}
		if f.done != nil {
			close(f.done)
		}
		if f.origin == byPrefetch && f.err == nil {
			t.counts.prefetched.Add(1)
			if f.gaveUp && f.done == nil {
				t.counts.unused.Add(1)
			}
		}
		if f.claim != unclaimed || l.interior || f.err != nil {
			t.settle(l.key, f)
		}
	}
}

// isCached reports whether a page that has no flight is in the cache. It may have
// landed after the caller had looked there. The caller holds mu.
func (t *flights) isCached(key Key) bool {
	_, ok := t.cache.Load().peek(key)
	return ok
}

// register adds a flight unless there is one of that page already, or it has to be
// fetched and is in the cache meanwhile, or the reverse, or the flight is unclaimed and there are
// limit such flights.
func (t *flights) register(key Key, f *flight, limit int) (added, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A page of the cache that is not there any more may be of the cache before.
	if t.mu.of[key] != nil || t.isCached(key) == (f.phase == inFlight) {
		return false, false
	}
	if f.claim == unclaimed {
		if t.mu.unclaimed >= limit {
			return false, true
		}
		t.mu.unclaimed++
	}
	t.mu.of[key] = f
	return true, false
}

// has reports whether a page is in flight, or was prefetched.
func (t *flights) has(key Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.of[key] != nil
}

// use claims a page that a reader has found in the cache and that may be
// prefetched as well.
func (t *flights) use(key Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch f := t.mu.of[key]; {
	case f == nil:
	case f.phase == landed:
		t.settle(key, f)
	default: // no reader will ask for it again
		t.unclaim(f)
	}
}

// room returns how many more pages may be prefetched, if the limit is as given.
func (t *flights) room(limit int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, limit-t.mu.unclaimed)
}

// take counts the use of a page by a reader that has waited for it.
func (t *flights) take(key Key, f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch f.claim {
	case missed:
		f.claim = claimed
		t.counts.misses.Add(1)
	case unclaimed:
		t.counts.prefetchHits.Add(1)
		if t.mu.of[key] == f {
			t.settle(key, f)
		}
	default:
		t.counts.hits.Add(1)
	}
}

// settle takes a flight that has landed out of the table, and hands its page
// on to the cache. The caller holds mu.
func (t *flights) settle(key Key, f *flight) {
	if t.mu.of[key] == f { // else reset has taken it out
		delete(t.mu.of, key)
	}
	t.unclaim(f)
	if f.err != nil || f.barred {
		return
	}
	switch f.admission {
	case admitNot:
	case admitKept:
		t.cache.Load().keep(key, f.page)
	default:
		t.cache.Load().addNew(key, f.page)
	}
}

// unclaim ends the count of a flight against the limit of prefetched pages. The
// caller holds mu.
func (t *flights) unclaim(f *flight) {
	if f.claim == unclaimed {
		f.claim = claimed
		t.mu.unclaimed--
	}
}

// giveUp gives up pages that were prefetched. Their flights hand them on to
// the cache, now or when they land.
func (t *flights) giveUp(keys ...Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		f := t.mu.of[key]
		if f == nil || f.claim != unclaimed {
			continue
		}
		if f.phase == inFlight { // and may still fail, or be read
			f.gaveUp = true
			t.unclaim(f)
			continue
		}
		if f.origin == byPrefetch {
			t.counts.unused.Add(1)
		}
		t.settle(key, f)
	}
}

// reset replaces the cache. Pages that were fetched or begun to be fetched before do
// not enter the new one, and only the readers that wait for them already get them.
func (t *flights) reset(cache *pageCache) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cache.Store(cache)
	for _, f := range t.mu.of {
		f.barred = true
		switch {
		case f.claim != unclaimed:
		case f.phase == inFlight:
			f.gaveUp = true
		case f.origin == byPrefetch:
			t.counts.unused.Add(1)
		}
		t.unclaim(f)
	}
	clear(t.mu.of)
}

// clear forgets every flight.
func (t *flights) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.mu.of)
	t.mu.unclaimed = 0
}

// setRequest notes the request that fetches some pages. It reports whether a
// reader waits for one of them already.
func (t *flights) setRequest(wants []want, r *request) (awaited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range wants {
		w.flight.request = r
		awaited = awaited || w.flight.done != nil
	}
	return awaited
}

// isAwaited reports whether a reader waits for one of the pages.
func (t *flights) isAwaited(wants []want) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(wants, func(w want) bool { return w.flight.done != nil })
}
