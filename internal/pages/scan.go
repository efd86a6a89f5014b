package pages

import (
	"slices"
	"sync/atomic"
)

// scan is a run of reads that seems to follow a pattern. It belongs to the
// predictor of one connection.
type scan struct {
	pattern   pattern
	nest      *nest       // the pattern, if it is one; nil otherwise
	limit     int         // most pages ahead of the reader
	window    int         // pages ahead of the reader, for now
	pending   []uint32    // prefetched or in flight, and not read yet; in order
	newest    int         // number of pages at the end of pending that came with the newest batch
	backlog   []uint32    // predicted, not fetched yet
	needs     []uint32    // pages that the pattern needed last to go on
	requested int         // number of pages at the start of needs that were fetched
	read      int         // pages that the reader has come to
	cacheable int         // number of pages that may enter the cache
	ended     atomic.Bool // fetches that have not begun are not needed
}

// bypassesCache reports whether the reader has come so far that further pages
// would only displace each other in the cache. Nested loops come to a page again.
func (s *scan) bypassesCache() bool { return s.nest == nil && s.read > s.cacheable }

const (
	// A scan begins with firstWindow pages ahead of the reader. The window grows
	// windowGrowth times whenever the reader comes to the newest batch, and
	// longScanGrowth times once it has read longScan pages.
	firstWindow    = 8
	windowGrowth   = 4
	longScan       = 64
	longScanGrowth = 16

	// maxSkip is how many predicted pages a reader may leave out and still
	// follow the scan: SQLite does not ask for pages that it has.
	maxSkip = 32

	// maxNeeds is how many needed pages a scan remembers. It is more than one call
	// of a pattern asks for.
	maxNeeds = 1 << 13
)

// follow reports whether a page is among the next pages of the scan. It
// returns the pages that the reader left out before it.
func (s *scan) follow(pgno uint32) (skipped []uint32, ok bool) {
	if s.nest != nil {
		return s.followNest(pgno)
	}
	i := slices.Index(s.pending[:min(len(s.pending), maxSkip)], pgno)
	if i < 0 {
		return nil, false
	}
	skipped, s.pending = s.pending[:i], s.pending[i+1:]
	s.read++
	if len(s.pending) < s.newest {
		s.grow()
		s.newest = 0
	}
	return skipped, true
}

// followNest is follow for the pages of nested loops, which come in the order of
// the rows of the outermost one only.
func (s *scan) followNest(pgno uint32) (skipped []uint32, ok bool) {
	i := slices.Index(s.pending, pgno)
	if i < 0 {
		return nil, false
	}
	s.pending = slices.Delete(s.pending, i, i+1)
	s.read++
	return s.passed(pgno), true
}

// passed notes that the reader has come to a page of nested loops. It returns
// the pages that were fetched for rows before.
func (s *scan) passed(pgno uint32) (stale []uint32) {
	if !s.nest.read(pgno) {
		return nil
	}
	if s.nest.reader > s.nest.mark {
		s.grow()
	}
	s.pending = slices.DeleteFunc(s.pending, func(pgno uint32) bool {
		if s.nest.isPassed(pgno) {
			stale = append(stale, pgno)
			return true
		}
		return false
	})
	return stale
}

// take takes the next page of the pattern, or of nested loops any page that
// they can come to next, off the backlog. It reports whether it was there.
func (s *scan) take(pgno uint32) bool {
	if s.nest == nil {
		s.fill(1)
		if len(s.backlog) == 0 || s.backlog[0] != pgno {
			return false
		}
		s.backlog = s.backlog[1:]
		s.grow()
		return true
	}
	s.fill(max(1, s.limit-len(s.pending)))
	i := slices.Index(s.backlog, pgno)
	if i < 0 {
		return false
	}
	s.backlog = slices.Delete(s.backlog, i, i+1)
	s.read++
	return true
}

// grow widens the window.
func (s *scan) grow() {
	if s.nest != nil {
		s.nest.grow()
		return
	}
	if s.read >= longScan {
		s.window *= longScanGrowth
	} else {
		s.window *= windowGrowth
	}
	s.window = min(s.window, s.limit)
}

// room is how many pages more may be fetched ahead of the reader.
func (s *scan) room() int {
	if s.nest != nil {
		return s.limit - len(s.pending)
	}
	return s.window - len(s.pending)
}

// isDue reports whether so many pages are missing in the window that more are
// to be fetched.
func (s *scan) isDue() bool {
	if s.nest != nil {
		return s.nest.isDue() && s.room() >= s.limit/4
	}
	return s.room() >= s.step()
}

// step is the number of pages that must be missing in the window before more are
// fetched.
func (s *scan) step() int { return min(max(1, s.window/4), topUp) }

// fill extends the backlog to n pages, or to as many as the pattern has.
func (s *scan) fill(n int) {
	if n > len(s.backlog) {
		pgnos, needs := s.pattern.next(n - len(s.backlog))
		s.backlog = append(s.backlog, pgnos...)
		for _, pgno := range needs {
			if !slices.Contains(s.needs, pgno) {
				s.needs = append(s.needs, pgno)
			}
		}
	}
}

// batch returns the pages to fetch next: those that the pattern needs, then up
// to n of the backlog. First is the index of the latter.
func (s *scan) batch(urgent uint32, n int) (pgnos []uint32, first int) {
	s.fill(n)
	if urgent != 0 {
		pgnos = append(pgnos, urgent)
	}
	pgnos = append(pgnos, s.needs[s.requested:]...)
	s.requested = len(s.needs)
	return append(pgnos, s.backlog[:min(n, len(s.backlog))]...), len(pgnos)
}

// trimNeeds forgets the pages that the pattern needed long ago, and returns them.
func (s *scan) trimNeeds() (old []uint32) {
	n := min(len(s.needs)-maxNeeds/2, s.requested)
	if len(s.needs) <= maxNeeds || n <= 0 {
		return nil
	}
	old = slices.Clone(s.needs[:n])
	s.needs = slices.Delete(s.needs, 0, n)
	s.requested -= n
	return old
}

// fetched notes that the first n pages of the backlog are being fetched.
func (s *scan) fetched(n int) {
	if n > 0 {
		s.pending = append(s.pending, s.backlog[:n]...)
		s.backlog = s.backlog[n:]
		s.newest = n
	}
}
