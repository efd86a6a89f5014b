package pages

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/remote"
)

// Flight is the fetch of a page, which several readers can wait for. The
// flight of a page that was prefetched stays in the table after it has landed,
// until a reader asks for the page or the scan that it is for gives it up.
type Flight struct {
	done   chan struct{}  // made by the first reader that waits; guarded by flights.mu
	phase  flightPhase    // guarded by flights.mu
	claim  claim          // guarded by flights.mu
	ticket *remote.Ticket // of its request, while that queues; guarded by flights.mu

	origin    origin    // set before the flight is registered
	admission admission // changed by land only

	// Valid after it has landed.
	page []byte
	err  error
}

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
	cache  *atomic.Pointer[Cache]
	counts *Counters

	Mu struct {
		sync.Mutex                 // duty: at most one flight of a page
		Of         map[Key]*Flight // in flight, or landed and unclaimed
		Unclaimed  int             // flights in of that are unclaimed
	}
}

func newFlights(cache *atomic.Pointer[Cache], counts *Counters) *flights {
	t := &flights{cache: cache, counts: counts}
	t.Mu.Of = make(map[Key]*Flight)
	return t
}

// takeLanded takes a page that was prefetched, nil if it was not.
func (t *flights) takeLanded(key Key) []byte {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	f := t.Mu.Of[key]
	if f == nil || f.phase != landed {
		return nil
	}
	t.counts.prefetchHits.Add(1)
	t.settle(key, f)
	return f.page
}

// peek returns a page that was prefetched, without counting as a use of it.
func (t *flights) peek(key Key) []byte {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	if f := t.Mu.Of[key]; f != nil && f.phase == landed && f.err == nil {
		return f.page
	}
	return nil
}

// joined is a flight as a reader finds it that needs the page.
type joined struct {
	*Flight
	begun  bool            // the reader has to fetch the page and land the flight
	done   <-chan struct{} // closed when it lands; nil if it was begun or has landed
	ticket *remote.Ticket  // of its request, if that queues
}

// join returns the flight of a page, which it begins if there is none.
func (t *flights) join(key Key) joined {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	f := t.Mu.Of[key]
	switch {
	case f == nil:
		f = &Flight{origin: byReader, claim: claimed}
		t.Mu.Of[key] = f
		return joined{Flight: f, begun: true}
	case f.phase == landed:
		return joined{Flight: f}
	case f.done == nil:
		f.done = make(chan struct{})
	}
	return joined{Flight: f, done: f.done, ticket: f.ticket}
}

// landing is the end of a flight.
type landing struct {
	key      Key
	f        *Flight
	page     []byte
	err      error
	interior bool // the page is an interior page of a b-tree
}

// land ends flights. It takes many at once, so that the goroutines that decode
// pages and those that use them do not contend for the lock.
func (t *flights) land(all []landing) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	for _, l := range all {
		f := l.f
		f.page, f.err, f.phase = l.page, l.err, landed
		if l.interior {
			f.admission = admitKept
		}
		if f.done != nil {
			close(f.done)
		}
		if f.origin == byPrefetch && f.err == nil {
			t.counts.prefetched.Add(1)
		}
		if f.claim != unclaimed || l.interior || f.err != nil {
			t.settle(l.key, f)
		}
	}
}

// register adds a flight. It does not if there is one of that page already, or
// if the flight is unclaimed and there are limit such flights.
func (t *flights) register(key Key, f *Flight, limit int) (added, full bool) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	if t.Mu.Of[key] != nil {
		return false, false
	}
	if f.claim == unclaimed {
		if t.Mu.Unclaimed >= limit {
			return false, true
		}
		t.Mu.Unclaimed++
	}
	t.Mu.Of[key] = f
	return true, false
}

// has reports whether a page is in flight, or was prefetched.
func (t *flights) has(key Key) bool {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	return t.Mu.Of[key] != nil
}

// Use claims a page that a reader has found in the cache, and that may be
// prefetched as well.
func (t *flights) Use(key Key) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	switch f := t.Mu.Of[key]; {
	case f == nil:
	case f.phase == landed:
		t.settle(key, f)
	default: // no reader will ask for it again
		t.unclaim(f)
	}
}

// room returns how many more pages may be prefetched, if the limit is as given.
func (t *flights) room(limit int) int {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	return max(0, limit-t.Mu.Unclaimed)
}

// take counts the use of a page by a reader that has waited for it.
func (t *flights) take(key Key, f *Flight) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	switch f.claim {
	case missed:
		f.claim = claimed
		t.counts.misses.Add(1)
	case unclaimed:
		t.counts.prefetchHits.Add(1)
		if t.Mu.Of[key] == f {
			t.settle(key, f)
		}
	default:
		t.counts.hits.Add(1)
	}
}

// settle takes a flight that has landed out of the table, and hands its page
// on to the cache. Called under mu.
func (t *flights) settle(key Key, f *Flight) {
	delete(t.Mu.Of, key)
	t.unclaim(f)
	if f.err != nil {
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

// unclaim makes a flight count as prefetched no more. Called under mu.
func (t *flights) unclaim(f *Flight) {
	if f.claim == unclaimed {
		f.claim = claimed
		t.Mu.Unclaimed--
	}
}

// giveUp gives up pages that were prefetched. Their flights hand them on to
// the cache, now or when they land.
func (t *flights) giveUp(keys ...Key) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	for _, key := range keys {
		f := t.Mu.Of[key]
		if f == nil || f.claim != unclaimed {
			continue
		}
		if f.origin == byPrefetch {
			t.counts.unused.Add(1)
		}
		if f.phase == landed {
			t.settle(key, f)
		} else {
			t.unclaim(f)
		}
	}
}

// clear forgets every flight.
func (t *flights) clear() {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	clear(t.Mu.Of)
	t.Mu.Unclaimed = 0
}

// setTicket notes the ticket of the request that fetches some pages. It
// reports whether a reader waits for one of them already.
func (t *flights) setTicket(wants []Want, ticket *remote.Ticket) (awaited bool) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	for _, w := range wants {
		w.F.ticket = ticket
		awaited = awaited || w.F.done != nil
	}
	return awaited
}

// isAwaited reports whether a reader waits for one of the pages.
func (t *flights) isAwaited(wants []Want) bool {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	return slices.ContainsFunc(wants, func(w Want) bool { return w.F.done != nil })
}
