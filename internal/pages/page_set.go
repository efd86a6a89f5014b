package pages

// pageSet is a set of page numbers, which takes little room if they lie together. The
// zero value is empty.
type pageSet struct {
	chunks map[uint32]*[pageChunk / 64]uint64
	n      int
}

const pageChunk = 4096

func (s *pageSet) has(pgno uint32) bool {
	c := s.chunks[pgno/pageChunk]
	return c != nil && c[pgno%pageChunk/64]&(1<<(pgno%64)) != 0
}

func (s *pageSet) add(pgno uint32) {
	if s.has(pgno) {
		return
	}
	if s.chunks == nil {
		s.chunks = make(map[uint32]*[pageChunk / 64]uint64)
	}
	c := s.chunks[pgno/pageChunk]
	if c == nil {
		c = new([pageChunk / 64]uint64)
		s.chunks[pgno/pageChunk] = c
	}
	c[pgno%pageChunk/64] |= 1 << (pgno % 64)
	s.n++
}

func (s *pageSet) remove(pgno uint32) {
	if s.has(pgno) {
		s.chunks[pgno/pageChunk][pgno%pageChunk/64] &^= 1 << (pgno % 64)
		s.n--
	}
}
