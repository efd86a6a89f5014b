package pages

// recentSet holds the pages that were added last, in two generations: when the
// younger one is full, it takes the place of the older one. The zero value is
// empty.
type recentSet struct{ young, old map[uint32]struct{} }

// recentSetSize is the size of a generation. Two of them are a little more than
// the cache that SQLite has if nothing else is set, 2 MB.
const recentSetSize = 400

func (s *recentSet) add(pgno uint32) {
	if _, ok := s.young[pgno]; ok {
		return
	}
	if s.young == nil || len(s.young) >= recentSetSize {
		s.young, s.old = make(map[uint32]struct{}), s.young
	}
	s.young[pgno] = struct{}{}
}

func (s *recentSet) isEmpty() bool { return s.young == nil }

func (s *recentSet) has(pgno uint32) bool {
	if _, ok := s.young[pgno]; ok {
		return true
	}
	_, ok := s.old[pgno]
	return ok
}
