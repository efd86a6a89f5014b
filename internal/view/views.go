package view

import "sync/atomic"

// Views holds the states of a database that connections can pin. Each view is
// immutable. The newest views are published here through atomic pointers.
type Views struct {
	// Current is the newest state of the replica. A goroutine that publishes
	// another one replaces it by compare-and-swap; if that fails, it starts
	// again from the view that was published meanwhile.
	Current atomic.Pointer[View]

	// Local is the newest state with the commits that are not on the replica
	// yet. It is nil if there are no such commits. It is stored under the lock of
	// the queue of commits.
	Local atomic.Pointer[View]

	Counter    atomic.Uint32 // change counter of the newest state; ascends
	OldCounter atomic.Uint32 // change counter of the last state that was not the newest; descends

	// Forgotten counts how often pages that connections had read turned out to be
	// wrong. SQLite may have cached such pages in each state that was made before the
	// last time.
	Forgotten atomic.Uint32

	// Arriving counts the views that are published while the pages that came
	// with their files are still being added to the cache.
	Arriving atomic.Int32
}

// Epoch returns the epoch of the current view.
func (s *Views) Epoch() uint32 { return s.Current.Load().Epoch }

// Newest returns the view that a new transaction reads.
func (s *Views) Newest() *View {
	if v := s.Local.Load(); v != nil {
		return v
	}
	return s.Current.Load()
}

// NewState gives v a state of its own with a new change counter. v becomes the
// newest view.
func (s *Views) NewState(v *View) *View {
	v.State = s.stateWith(s.Counter.Add(1))
	return v
}

// stateWith returns a state with a change counter.
func (s *Views) stateWith(counter uint32) *State {
	state := &State{forgotten: s.Forgotten.Load()}
	state.Counter.Store(counter)
	return state
}

// RenewNewest gives the view that new transactions read another state, so that SQLite
// drops the pages that it has cached. The caller holds the lock under which Local is
// stored.
func (s *Views) RenewNewest() {
	local := s.Local.Load()
	if local == nil {
		s.RenewCurrent()
		return
	}
	again := *local
	s.Local.Store(s.NewState(&again))
}

// RenewCurrent gives the current view another state.
func (s *Views) RenewCurrent() {
	for {
		cur := s.Current.Load()
		again := *cur
		if s.Current.CompareAndSwap(cur, s.NewState(&again)) {
			return
		}
	}
}

// NewOldState gives v a state of its own that is not the newest. SQLite
// increments the counter of the newest state when it commits, so another state
// must not have one of the next counters.
func (s *Views) NewOldState(v *View) *View {
	v.State = s.stateWith(s.OldCounter.Add(^uint32(0)))
	return v
}

// RenewPast returns v, a view that a connection has travelled to. If SQLite may have
// cached wrong pages in its state, it returns the view with another state. The state of
// v is not changed, because transactions may have pinned it.
func (s *Views) RenewPast(v *View) *View {
	if v.State.forgotten == s.Forgotten.Load() {
		return v
	}
	again := *v
	return s.NewOldState(&again)
}

// farCounter is the distance from which on a counter will not be assigned soon.
const farCounter = 1 << 16

// SkipCounter makes sure that no new state gets counter n, if n is one of the
// next counters.
func (s *Views) SkipCounter(n uint32) {
	for {
		last := s.Counter.Load()
		if n-last-1 >= farCounter || s.Counter.CompareAndSwap(last, n) {
			return
		}
	}
}

// CountCommit gives v, the view after a commit, a state of its own; before is
// the view before the commit, and number is the change counter that SQLite has
// written. If v gets that counter, the connection that committed keeps its page
// cache. If readAgain is true, v gets another counter, so that the connection
// reads page 1 again. The caller holds the lock under which Local is stored.
func (s *Views) CountCommit(before, v *View, number uint32, readAgain bool) {
	if readAgain {
		s.SkipCounter(number)
	}
	switch {
	case s.Counter.CompareAndSwap(number-1, number):
		v.State = s.stateWith(number)
	case number == before.State.Counter.Load():
		// With locking_mode=EXCLUSIVE, SQLite does not increment the counter
		// again. Another connection must not mistake pages of the previous
		// state for pages of this one, so the previous state gets another
		// counter.
		s.NewState(v)
		before.State.Counter.Store(s.OldCounter.Add(^uint32(0)))
		before.State.PageOne.Store(nil)
	default:
		s.NewState(v)
	}
}
