package pages

import (
	"iter"
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/sqllists"
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
)

// Predictor derives from the pages that a connection has read which pages it
// reads next, and prefetches them. It makes no request where the reads show no
// pattern. It belongs to one connection, and is not safe for concurrent use.
type Predictor struct {
	*Prefetcher
	view   *view.View           // the view that the other fields describe
	recent [recentPages]uint32  // pages read last, a ring
	n      int                  // number of pages read
	leaves [recentLeaves]uint32 // leaves read last, a ring
	m      int                  // number of leaves read
	joins  joins                // what the transaction's reads tell of nested loops
	scans  []*scan              // the one used last comes first
	texts  textIndexes          // lookups of terms in full-text indexes
	wide   widening             // lookups of rows at random

	current *scan                      // that the page being read belongs to; nil: none
	asked   func() (rows int, ok bool) // tells the LIMIT of the statement that runs; nil: not known
}

// NewPredictor returns the predictor of a new connection.
func NewPredictor(p *Prefetcher) Predictor { return Predictor{Prefetcher: p} }

// SetStatement sets a function that returns the text of the statement that runs,
// with the values that are bound to it where it may have lists or a LIMIT. Lists of
// values in it may tell which rows are read next, a LIMIT how many, and the names of
// tables which trees. It is called while a page is being read that was not predicted,
// or the second one of a scan.
func (p *Predictor) SetStatement(text func() string) {
	p.asked = func() (int, bool) { return sqllists.Limit(text()) }
	p.joins.words = func() iter.Seq[string] { return sqllists.Words(text()) }
	p.joins.lists = func() [][]btree.Value { return sqllists.Parse(text()) }
}

// Hit is called for a page that was known when it was read. Cached tells
// whether it was in the cache, not prefetched.
func (p *Predictor) Hit(v *view.View, pgno uint32, page []byte, cached bool) {
	if !p.isEnabled() {
		return
	}
	p.at(v)
	p.current = nil
	p.wide.hit(p.pages.bodies, pgno)
	if !p.follow(pgno, cached) && btree.IsLeaf(page) {
		// The scan would wait at the end of the cache if it was only noticed
		// there.
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
	p.at(v)
	p.current = nil
	if !p.follow(pgno, false) {
		p.start(pgno, true)
		p.prefetchTop(pgno)
		return
	}
	if loc, ok := v.Lookup(pgno); ok && !p.pages.flights.has(Key{loc.Version, pgno, v.Epoch}) {
		// The request failed, and so have those for the next pages.
		s := p.scans[0]
		again := append([]uint32{pgno}, s.pending[:min(len(s.pending), topUp)]...)
		p.Prefetch(v, again, pgno, s)
	}
}

// Waiting returns what is to be called when other pages arrive while SQLite waits for
// one, nil if that changes nothing. It may start to fetch pages that these lead to.
func (p *Predictor) Waiting() func() {
	if !p.isEnabled() || !slices.ContainsFunc(p.scans, isBlocked) {
		return nil
	}
	return func() {
		for _, s := range p.scans {
			if isBlocked(s) {
				p.extend(s, 0)
			}
		}
	}
}

// isBlocked reports whether a scan is of nested loops that need pages to go on.
func isBlocked(s *scan) bool {
	n, ok := s.pattern.(*nest)
	return ok && len(n.blocked) > 0
}

// Fetched is called for a page that was not known when it was read.
func (p *Predictor) Fetched(v *view.View, pgno uint32, page []byte) {
	p.at(v)
	p.note(pgno, page)
	p.noteLeaf(pgno, page)
	if b, ok := p.pages.trees.parse(pgno, page); ok && b.Kind().IsInterior() && p.isEnabled() {
		p.prefetchSiblings(pgno)
	}
}

// End ends all scans and gives up the pages that were prefetched for them. It is
// called at the end of a transaction.
func (p *Predictor) End() {
	for _, s := range p.scans {
		p.drop(s)
	}
	p.scans, p.current = nil, nil
	p.joins.reset()
	p.texts.end()
	p.wide.end(p.pages.bodies)
}

// at sets the view that the predictor's fields describe. It ends the scans of
// another view.
func (p *Predictor) at(v *view.View) {
	if p.view != v {
		p.End()
		p.texts.of = nil
		p.view = v
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
		p.joins.note(pgno)
		p.texts.note(pgno)
		p.count(pgno, page)
	}
}

// count counts the rows of a leaf for the scan that has led to it.
func (p *Predictor) count(pgno uint32, leaf []byte) {
	if p.current == nil {
		return
	}
	if l := p.current.rowLimit(); l.isOpen() {
		if b, ok := p.pages.trees.parse(pgno, leaf); ok {
			l.saw(b.Cells())
		}
	}
}

func (p *Predictor) walk() treeWalk { return treeWalk{p.pages, p.view} }

// start continues a scan whose next page is pgno. If there is none, it begins a
// scan, provided that pgno and the reads before it form a pattern.
func (p *Predictor) start(pgno uint32, missed bool) {
	urgent := uint32(0)
	if missed {
		urgent = pgno
	}
	if missed && p.awaits(pgno, urgent) {
		return
	}
	if missed && p.lookUpText(pgno) {
		return
	}
	learns := missed && p.joins.isDue()
	if learns {
		p.joins.fold(p.walk())
	}
	for i, s := range p.scans {
		if skipped, ok := s.take(s, pgno, missed); ok {
			p.giveUp(skipped)
			p.use(i)
			p.current = s
			p.extend(s, urgent)
			return
		}
	}
	pattern, size := p.predict(pgno, learns)
	if pattern == nil {
		p.wide.lone = urgent
		return
	}
	s := &scan{
		pattern: pattern, pace: &window{first: size, cacheable: p.pages.cache.Load().size() / 2, limit: newRowLimit(p.asked)},
		limit: max(1, p.limit(p.view)*3/4), // a scan that no reader follows leaves room for others
	}
	if n, ok := pattern.(*nest); ok {
		p.joins.vain = 0
		if i := slices.IndexFunc(p.scans, func(s *scan) bool { return s.pattern == pattern }); i >= 0 { // it has learned another link
			p.use(i)
			known := p.scans[0]
			skipped, _ := known.take(known, pgno, missed)
			p.giveUp(skipped)
			p.extend(known, urgent)
			return
		}
		s.pace, s.limit = n, min(s.limit, maxRowPages)
		n.limit = newRowLimit(p.asked)
		n.leaves[pgno] = prediction{}
	}
	if len(p.scans) == maxScans {
		p.drop(p.scans[maxScans-1])
		p.scans = p.scans[:maxScans-1]
	}
	p.scans = slices.Insert(p.scans, 0, s)
	p.current = s
	p.extend(s, urgent)
}

// awaits goes on with the nested loops that need a page, if it is in flight. The
// page is one of the outermost loop, or on the way to a row: no loop leads to it,
// although the values of one may happen to.
func (p *Predictor) awaits(pgno, urgent uint32) bool {
	loc, ok := p.view.Lookup(pgno)
	if !ok || !p.pages.flights.has(Key{loc.Version, pgno, p.view.Epoch}) {
		return false
	}
	for i, s := range p.scans {
		if _, ok := s.pattern.(*nest); ok && slices.Contains(s.needs, pgno) {
			p.use(i)
			p.extend(s, urgent)
			return true
		}
	}
	return false
}

// lookUpText fetches the pages by which a term is looked up in all segments of a
// full-text index, if a page that was missed is of one. It reports whether the page
// itself was predicted, so that no other pattern explains it.
func (p *Predictor) lookUpText(pgno uint32) bool {
	predicted := p.texts.isPredicted(pgno)
	p.PrefetchSparse(p.view, p.texts.lead(p.walk(), pgno))
	return predicted
}

// use makes a scan the first one.
func (p *Predictor) use(i int) {
	s := p.scans[i]
	copy(p.scans[1:], p.scans[:i])
	p.scans[0] = s
}

// follow advances the scan that predicted a page, and reports whether there is
// one. Cached tells whether the page was found in the cache.
func (p *Predictor) follow(pgno uint32, cached bool) bool {
	for i, s := range p.scans {
		skipped, ok := s.follow(s, pgno)
		if !ok {
			continue
		}
		p.giveUp(skipped)
		if cached {
			if loc, ok := p.view.Lookup(pgno); ok {
				p.pages.flights.use(Key{loc.Version, pgno, p.view.Epoch})
			}
		}
		p.use(i)
		p.current = s
		if s.isDue(s) {
			p.extend(s, 0)
		}
		return true
	}
	return false
}

// extend fetches the pages that are missing in the window of a scan, and the
// urgent page unless it is 0.
func (p *Predictor) extend(s *scan, urgent uint32) {
	room := min(s.room(s), p.pages.flights.room(p.limit(p.view)))
	if urgent == 0 && room < s.least(s) {
		return // other scans have the room for now
	}
	before := s.requested
	batch, first := s.batch(urgent, max(0, room))
	s.fetching(p.Prefetch(p.view, batch, urgent, s) - first)
	if _, ok := s.pattern.(*nest); ok && s.requested/manyNeeds > before/manyNeeds {
		p.prefetchNeeded(s.needs[s.requested-1])
	}
	p.giveUp(s.trimNeeds())
}

// drop ends a scan.
func (p *Predictor) drop(s *scan) {
	s.ended.Store(true)
	p.giveUp(s.pending)
	p.giveUp(s.needs)
}

// giveUp gives up pages that were prefetched.
func (p *Predictor) giveUp(pgnos []uint32) {
	if len(pgnos) == 0 {
		return
	}
	keys := make([]Key, 0, len(pgnos))
	for _, pgno := range pgnos {
		if loc, ok := p.view.Lookup(pgno); ok {
			keys = append(keys, Key{loc.Version, pgno, p.view.Epoch})
		}
	}
	p.pages.flights.giveUp(keys...)
}
