package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// maxScans is how many scans a connection has at a time.
	maxScans = 4

	// recentPages is how many reads a prediction looks back at. With more of
	// them, random reads would sometimes look like a scan.
	recentPages = 4

	// recentLeaves is how many leaves are searched for the overflow chains of
	// their rows: SQLite does not read a leaf again for its next row.
	recentLeaves = 8

	// maxRowPages bounds how many pages are prefetched for rows that an index
	// leads to, because each of them may take a request.
	maxRowPages = 512

	// topUp is how many pages the window of a long scan lacks when more are
	// fetched. It is what a few requests bring.
	topUp = 1024

	// maxSiblings is how many interior pages are fetched at once when a page
	// turns out to be an interior page. It covers all or most of their level.
	maxSiblings = 128
)

// Predictor predicts which pages a connection is going to read from those that
// it has read, and prefetches them. It makes no request where the reads show no
// pattern. It belongs to one connection, and is not safe for concurrent use.
type Predictor struct {
	*Prefetcher
	View   *view.View           // that all else is about
	recent [recentPages]uint32  // pages read last, a ring
	n      int                  // number of pages read
	leaves [recentLeaves]uint32 // leaves read last, a ring
	m      int                  // number of leaves read
	index  uint32               // leaf of an index read last; 0 if there is none
	Scans  []*Scan              // the one used last comes first
}

func NewPredictor(p *Prefetcher) Predictor { return Predictor{Prefetcher: p} }

// Hit is called for a page that was known when it was read. Cached tells
// whether it was in the cache, not prefetched.
func (p *Predictor) Hit(v *view.View, pgno uint32, page []byte, cached bool) {
	if !p.isEnabled() {
		return
	}
	p.At(v)
	if !p.follow(pgno, cached) && btree.IsLeaf(page) {
		// The scan would wait at the end of the cache if it was only noticed there.
		if w := p.walk(); p.n > 0 && w.isAfter(pgno, p.recent[(p.n-1)%recentPages]) {
			p.start(pgno, false)
		}
	}
	p.note(pgno, page)
}

// Miss is called for a page that is not known and is about to be read. It may
// start to fetch the page together with others.
func (p *Predictor) Miss(v *view.View, pgno uint32) {
	if !p.isEnabled() {
		return
	}
	p.At(v)
	if !p.follow(pgno, false) {
		p.start(pgno, true)
		return
	}
	if loc, ok := v.Lookup(pgno); ok && !p.pages.Flights.has(Key{loc.Version, pgno, v.Epoch}) {
		// The request failed, and so have those for the next pages.
		s := p.Scans[0]
		again := append([]uint32{pgno}, s.pending[:min(len(s.pending), topUp)]...)
		p.Prefetch(v, again, pgno, s)
	}
}

// Fetched is called for a page that was not known when it was read.
func (p *Predictor) Fetched(v *view.View, pgno uint32, page []byte) {
	p.At(v)
	p.note(pgno, page)
	if b, ok := p.pages.Trees.parse(pgno, page); ok && b.Kind().IsInterior() && p.isEnabled() {
		p.prefetchSiblings(pgno)
	}
}

// End gives up the pages that were prefetched.
func (p *Predictor) End() {
	for _, s := range p.Scans {
		p.drop(s)
	}
	p.Scans = nil
	p.index = 0
}

// At makes v the view that everything is about.
func (p *Predictor) At(v *view.View) {
	if p.View != v {
		p.End()
		p.View = v
		p.n, p.m = 0, 0
	}
}

// note adds a page to those read last.
func (p *Predictor) note(pgno uint32, page []byte) {
	p.recent[p.n%recentPages] = pgno
	p.n++
	if btree.IsLeaf(page) {
		p.leaves[p.m%recentLeaves] = pgno
		p.m++
		if btree.Kind(page[0]) == btree.LeafIndex {
			p.index = pgno
		}
	}
}

func (p *Predictor) walk() TreeWalk { return TreeWalk{p.pages, p.View} }

// start begins a scan, or goes on with one, if a page continues the reads
// before it in a pattern.
func (p *Predictor) start(pgno uint32, missed bool) {
	urgent := uint32(0)
	if missed {
		urgent = pgno
	}
	for i, s := range p.Scans {
		if s.isNext(pgno) {
			s.backlog = s.backlog[1:]
			s.grow()
			p.use(i)
			p.Extend(s, urgent)
			return
		}
	}
	pattern, window := p.predict(pgno)
	if pattern == nil {
		return
	}
	s := &Scan{
		Pattern: pattern, Window: window,
		Cacheable: p.pages.Cache.Load().Size() / 2,
		Limit:     max(1, p.limit(p.View)*3/4), // a scan that no reader follows leaves room for others
	}
	if _, ok := pattern.(*RowsPattern); ok {
		s.Limit = min(s.Limit, maxRowPages)
	}
	if len(p.Scans) == maxScans {
		p.drop(p.Scans[maxScans-1])
		p.Scans = p.Scans[:maxScans-1]
	}
	p.Scans = slices.Insert(p.Scans, 0, s)
	p.Extend(s, urgent)
}

// use makes a scan the first one.
func (p *Predictor) use(i int) {
	s := p.Scans[i]
	copy(p.Scans[1:], p.Scans[:i])
	p.Scans[0] = s
}

// follow advances the scan that a page is the next one of, if there is one.
// Cached tells whether the page was found in the cache.
func (p *Predictor) follow(pgno uint32, cached bool) bool {
	for i, s := range p.Scans {
		skipped, ok := s.follow(pgno)
		if !ok {
			continue
		}
		p.GiveUp(skipped)
		if loc, ok := p.View.Lookup(pgno); ok && cached {
			p.pages.Flights.Use(Key{loc.Version, pgno, p.View.Epoch})
		}
		p.use(i)
		if len(s.pending) <= s.Window-s.step() {
			p.Extend(s, 0)
		}
		return true
	}
	return false
}

// Extend fetches what a scan lacks in its window, and the urgent page unless it
// is 0.
func (p *Predictor) Extend(s *Scan, urgent uint32) {
	room := min(s.Window-len(s.pending), p.pages.Flights.room(p.limit(p.View)))
	if urgent == 0 && room < s.step() {
		return // other scans have the room for now
	}
	batch, first := s.batch(urgent, max(0, room))
	s.fetched(p.Prefetch(p.View, batch, urgent, s) - first)
}

// drop ends a scan.
func (p *Predictor) drop(s *Scan) {
	s.Ended.Store(true)
	p.GiveUp(s.pending)
	p.GiveUp(s.needs)
}

// GiveUp gives up pages that were prefetched.
func (p *Predictor) GiveUp(pgnos []uint32) {
	if len(pgnos) == 0 {
		return
	}
	keys := make([]Key, 0, len(pgnos))
	for _, pgno := range pgnos {
		if loc, ok := p.View.Lookup(pgno); ok {
			keys = append(keys, Key{loc.Version, pgno, p.View.Epoch})
		}
	}
	p.pages.Flights.giveUp(keys...)
}

// prefetchSiblings prefetches the other children of the parent of an interior
// page, if they are few.
func (p *Predictor) prefetchSiblings(pgno uint32) {
	w := p.walk()
	at, ok := w.Place(pgno)
	if !ok || at.page.Children() > maxSiblings {
		return
	}
	var batch []uint32
	for i := range at.page.Children() {
		if child := at.page.Child(i); w.raw(child) == nil {
			batch = append(batch, child)
		}
	}
	p.Prefetch(p.View, batch, 0, nil)
}
