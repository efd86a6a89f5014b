package pages

import (
	"slices"
	"sync/atomic"
)

// scan is a run of reads that seems to follow a pattern. It belongs to the
// predictor of one connection.
type scan struct {
	pattern
	pace
	limit     int         // most pages ahead of the reader
	pending   []uint32    // prefetched or in flight, and not read yet; in order
	backlog   []uint32    // predicted, not fetched yet
	needs     []uint32    // pages that the pattern needed last to go on
	requested int         // number of pages at the start of needs that were fetched
	read      int         // pages that the reader has come to
	ended     atomic.Bool // fetches that have not begun are not needed

	// gapPages is the number of pages between those of the scan that went to the cache.
	gapPages atomic.Int64
}

// maxNeeds is how many needed pages a scan remembers. It is more than one call of a
// pattern asks for.
const maxNeeds = 1 << 13

// A pace decides how far a scan is ahead of its reader.
type pace interface {
	// follow takes a page that is read off the pending ones, and reports whether it is
	// among them where the reader may be. It returns the pending pages that the reader
	// has left out.
	follow(s *scan, pgno uint32) (skipped []uint32, ok bool)

	// take does the same with the backlog, for a page that was missed or, if missed is
	// false, is known.
	take(s *scan, pgno uint32, missed bool) (skipped []uint32, ok bool)

	// room returns how many pages more may be fetched.
	room(s *scan) int

	// least returns how many pages must have room for a fetch ahead of the reader.
	least(s *scan) int

	// isDue reports whether pages are to be fetched after follow.
	isDue(s *scan) bool

	// rowLimit returns what counts the rows of the leaves that the reader has come to,
	// nil if it does not matter how many they are.
	rowLimit() *rowLimit

	// gap returns the largest gap between two pages that one request reads through if
	// there are few, in bytes.
	gap() int64

	// bypassesCache reports whether the reader has come so far that further pages
	// would only displace each other in the cache.
	bypassesCache(s *scan) bool
}

// maxSkip is how many predicted pages a reader may leave out and still follow the
// scan: SQLite does not ask for pages that it has.
const maxSkip = 32

// fill extends the backlog to n pages, or to as many as the pattern has.
func (s *scan) fill(n int) {
	if n > len(s.backlog) {
		pgnos, needs := s.next(n - len(s.backlog))
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

// fetching notes that the first n pages of the backlog are being fetched.
func (s *scan) fetching(n int) {
	if n > 0 {
		s.pending = append(s.pending, s.backlog[:n]...)
		s.backlog = s.backlog[n:]
	}
}
