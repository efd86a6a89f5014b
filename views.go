package litestream

import "sync/atomic"

// views holds the states of a database that connections can pin. Each view is
// immutable. The newest views are published here through atomic pointers.
type views struct {
	// current is the newest state of the replica. A goroutine that publishes
	// another one replaces it by compare-and-swap; if that fails, it starts
	// again from the view that was published meanwhile.
	current atomic.Pointer[view]

	// local is the newest state with the commits that are not on the replica
	// yet. It is nil if there are no such commits. It is stored under the lock of
	// the queue of commits.
	local atomic.Pointer[view]

	counter    atomic.Uint32 // change counter of the newest state; ascends
	oldCounter atomic.Uint32 // change counter of the last state that was not the newest; descends

	// arriving counts the views that are published while the pages that came
	// with their files are still being added to the cache.
	arriving atomic.Int32
}

// epoch returns the epoch of the current view.
func (s *views) epoch() uint32 { return s.current.Load().epoch }

// newest returns the view that a new transaction reads.
func (s *views) newest() *view {
	if v := s.local.Load(); v != nil {
		return v
	}
	return s.current.Load()
}

// newState gives v a state of its own with a new change counter. v becomes the
// newest view.
func (s *views) newState(v *view) *view {
	v.state = new(viewState)
	v.state.counter.Store(s.counter.Add(1))
	return v
}

// newOldState gives v a state of its own that is not the newest. SQLite
// increments the counter of the newest state when it commits, so another state
// must not have one of the next counters.
func (s *views) newOldState(v *view) *view {
	v.state = new(viewState)
	v.state.counter.Store(s.oldCounter.Add(^uint32(0)))
	return v
}

// farCounter is the distance from which on a counter will not be assigned soon.
const farCounter = 1 << 16

// skipCounter makes sure that no new state gets counter n, if n is one of the
// next counters.
func (s *views) skipCounter(n uint32) {
	for {
		last := s.counter.Load()
		if n-last-1 >= farCounter || s.counter.CompareAndSwap(last, n) {
			return
		}
	}
}

// countCommit gives v, the view after a commit, a state of its own; before is
// the view before the commit. number is the change counter that SQLite has
// written. If v gets that counter, the connection that committed keeps its page
// cache. If readAgain is true, v gets another counter, so that the connection
// reads page 1 again. The caller holds the lock that guards local.
func (s *views) countCommit(before, v *view, number uint32, readAgain bool) {
	if readAgain {
		s.skipCounter(number)
	}
	switch {
	case s.counter.CompareAndSwap(number-1, number):
		v.state = new(viewState)
		v.state.counter.Store(number)
	case number == before.state.counter.Load():
		// With locking_mode=EXCLUSIVE, SQLite does not increment the counter
		// again. Another connection must not mistake pages of the previous
		// state for pages of this one, so the previous state gets another
		// counter.
		s.newState(v)
		before.state.counter.Store(s.oldCounter.Add(^uint32(0)))
		before.state.pageOne.Store(nil)
	default:
		s.newState(v)
	}
}
