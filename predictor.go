package litestream

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

const (
	// maxStreams is how many scans a connection is thought to have at a time.
	maxStreams = 4

	// recentPages is how many reads are remembered for what comes next. With
	// more, rows at random would look like a scan now and then.
	recentPages = 4

	// recentLeaves is how many leaves are remembered for the overflow chains
	// of their rows: SQLite has a leaf when it reads the next row of it.
	recentLeaves = 8

	// maxRowPages bounds how many pages are read ahead for rows that an index
	// leads to: each may be a request.
	maxRowPages = 512

	// topUp is how many pages a long scan is behind its window when more are
	// asked for: what a few requests bring.
	topUp = 1024

	// maxSiblings is how many interior pages are read at once, when it turns
	// out that they are interior pages: then they are all that there are on
	// their level, or nearly so.
	maxSiblings = 128
)

// predictor guesses which pages a connection is going to read, from those it
// has read, and has them read ahead. It makes no request where the pages that
// were read do not show an order. It belongs to one connection, and is not
// safe for concurrent use.
type predictor struct {
	db      *database
	view    *view                // that the rest is about
	recent  [recentPages]uint32  // pages read last, a ring
	n       int                  // pages read
	leaves  [recentLeaves]uint32 // leaves read last, a ring
	m       int                  // leaves read
	index   uint32               // leaf of an index read last; 0 if there is none
	streams []*stream            // the one used last comes first
}

// hit is told of a page that was known when it was read, in the cache or read
// ahead.
func (p *predictor) hit(v *view, pgno uint32, page []byte, cached bool) {
	if p.db.opts.ReadAheadSize <= 0 {
		return
	}
	p.at(v)
	if !p.follow(pgno, cached) && btree.IsLeaf(page) {
		// Were a scan only noticed when it leaves the cache, it would wait there.
		if w := (treeWalk{p.db.reader, v}); p.n > 0 && w.isAfter(pgno, p.recent[(p.n-1)%recentPages]) {
			p.start(pgno, false)
		}
	}
	p.note(pgno, page)
}

// miss is told of a page that is going to be read, and is not known. It may
// start to read it, together with others.
func (p *predictor) miss(v *view, pgno uint32) {
	if p.db.opts.ReadAheadSize <= 0 {
		return
	}
	p.at(v)
	if !p.follow(pgno, false) {
		p.start(pgno, true)
		return
	}
	if loc, ok := v.lookup(pgno); ok && !p.db.reader.isFlying(pageKey{loc.version, pgno, v.epoch}) {
		// The request failed; and so will those for the next pages have.
		s := p.streams[0]
		again := append([]uint32{pgno}, s.pending[:min(len(s.pending), topUp)]...)
		p.db.readAhead(v, again, pgno, s)
	}
}

// start begins a stream, or goes on with one, if a page shows an order
// together with those that were read before.
func (p *predictor) start(pgno uint32, missed bool) {
	urgent := uint32(0)
	if missed {
		urgent = pgno
	}
	for i, s := range p.streams {
		if s.isNext(pgno) {
			s.backlog = s.backlog[1:]
			s.grow()
			p.use(i)
			p.extend(s, urgent)
			return
		}
	}
	g, window := p.guess(pgno)
	if g == nil {
		return
	}
	s := &stream{
		guess: g, window: window,
		fits: p.db.reader.cache.Load().size() / 2,
		most: max(1, p.most()*3/4), // one that nobody goes on with leaves room for others
	}
	if _, ok := g.(*rowsGuess); ok {
		s.most = min(s.most, maxRowPages)
	}
	if len(p.streams) == maxStreams {
		p.drop(p.streams[maxStreams-1])
		p.streams = p.streams[:maxStreams-1]
	}
	p.streams = slices.Insert(p.streams, 0, s)
	p.extend(s, urgent)
}

// landed is told of a page that was not known when it was read.
func (p *predictor) landed(v *view, pgno uint32, page []byte) {
	p.at(v)
	p.note(pgno, page)
	if b, ok := p.db.reader.parse(pgno, page); ok && b.Kind().IsInterior() && p.db.opts.ReadAheadSize > 0 {
		p.siblings(pgno)
	}
}

// end gives up what was read ahead.
func (p *predictor) end() {
	for _, s := range p.streams {
		p.drop(s)
	}
	p.streams = nil
	p.index = 0
}

// at makes v the view that everything is about.
func (p *predictor) at(v *view) {
	if p.view != v {
		p.end()
		p.view = v
		p.n, p.m = 0, 0
	}
}

func (p *predictor) note(pgno uint32, page []byte) {
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

// wasRead reports whether a page is among those read last.
func (p *predictor) wasRead(pgno uint32) bool {
	return slices.Contains(p.recent[:min(p.n, recentPages)], pgno)
}

// use makes a stream the first.
func (p *predictor) use(i int) {
	s := p.streams[i]
	copy(p.streams[1:], p.streams[:i])
	p.streams[0] = s
}

// follow tells the stream of which a page is the next, if there is one.
// Cached is whether the page was found in the cache.
func (p *predictor) follow(pgno uint32, cached bool) bool {
	for i, s := range p.streams {
		skipped, ok := s.follow(pgno)
		if !ok {
			continue
		}
		p.giveUp(skipped)
		if loc, ok := p.view.lookup(pgno); ok && cached {
			p.db.reader.used(pageKey{loc.version, pgno, p.view.epoch})
		}
		p.use(i)
		if len(s.pending) <= s.window-s.step() {
			p.extend(s, 0)
		}
		return true
	}
	return false
}

// extend reads what a stream lacks in its window, and a page that is urgent.
func (p *predictor) extend(s *stream, urgent uint32) {
	room := min(s.window-len(s.pending), p.db.reader.room(p.most()))
	if urgent == 0 && room < s.step() {
		return // others have the room, for now
	}
	room = max(0, room)
	s.fill(room)
	batch := slices.Clone(s.needs[s.asked:])
	s.asked = len(s.needs)
	if urgent != 0 {
		batch = slices.Insert(batch, 0, urgent)
	}
	first := len(batch)
	batch = append(batch, s.backlog[:min(room, len(s.backlog))]...)
	n := max(0, p.db.readAhead(p.view, batch, urgent, s)-first)
	if n > 0 {
		s.pending = append(s.pending, s.backlog[:n]...)
		s.backlog = s.backlog[n:]
		s.newest = n
	}
}

// most returns how many pages of the database may be read ahead.
func (p *predictor) most() int { return int(p.db.opts.ReadAheadSize / int64(p.view.pageSize)) }

func (p *predictor) drop(s *stream) {
	s.ended.Store(true)
	p.giveUp(s.pending)
	p.giveUp(s.needs)
}

func (p *predictor) giveUp(pgnos []uint32) {
	if len(pgnos) == 0 {
		return
	}
	keys := make([]pageKey, 0, len(pgnos))
	for _, pgno := range pgnos {
		if loc, ok := p.view.lookup(pgno); ok {
			keys = append(keys, pageKey{loc.version, pgno, p.view.epoch})
		}
	}
	p.db.reader.giveUp(keys)
}

// guess looks for an order in what was read, which a page that is going to be
// read continues. The window is how sure it is of that.
func (p *predictor) guess(pgno uint32) (_ guess, window int) {
	w := treeWalk{p.db.reader, p.view}
	if g := p.overflow(w, pgno); g != nil {
		return g, int(g.end - g.pgno)
	}
	if at, ok := w.place(pgno); ok {
		if g := p.rows(w, pgno, at); g != nil {
			return g, 2 * firstWindow
		}
		if dir := p.direction(w, pgno, at); dir != 0 {
			return &treeGuess{w, at, dir}, firstWindow / 2
		}
		for _, dir := range []int{1, -1} {
			if edge, width := w.isEdge(pgno, dir); edge && width > 2 {
				return &treeGuess{w, at, dir}, firstWindow
			}
		}
		return nil, 0
	}
	for _, dir := range []int{1, -1} {
		if d := uint32(dir); p.wasRead(pgno-d) && p.wasRead(pgno-2*d) {
			end := p.view.commit + 1
			if dir < 0 {
				end = 0
			}
			return &runGuess{pgno + d, end, dir}, firstWindow
		}
	}
	return nil, 0
}

// direction returns in which direction a scan of the leaves of a tree goes,
// 0 if it does not look like one.
func (p *predictor) direction(w treeWalk, pgno uint32, at place) int {
	for _, dir := range []int{1, -1} {
		if before, _, ok := w.beside(at, -dir); ok && p.wasRead(before.pgno()) {
			return dir
		}
	}
	return 0
}

// overflow returns the rest of an overflow chain that begins with a page and
// belongs to a row that was just read. Mostly, the pages of one follow each other.
func (p *predictor) overflow(w treeWalk, pgno uint32) *runGuess {
	for i := range min(p.m, recentLeaves) {
		leaf, ok := w.page(p.leaves[(p.m-1-i)%recentLeaves])
		if !ok {
			continue
		}
		if pages := leaf.OverflowFrom(pgno); pages > 1 {
			return &runGuess{pgno + 1, uint32(min(int64(pgno)+int64(pages), int64(p.view.commit)+1)), 1}
		}
	}
	return nil
}

// rows returns the pages of the rows that the entries of an index lead to, if
// a page that was just read is that of an entry, and pgno that of the next.
func (p *predictor) rows(w treeWalk, pgno uint32, at place) *rowsGuess {
	if p.index == 0 || at.page.Kind() != btree.InteriorTable {
		return nil
	}
	entries, ok := w.page(p.index)
	if !ok || entries.Kind() != btree.LeafIndex {
		return nil
	}
	covered := func(at place, k int) bool {
		rowid, ok := entries.IndexRowid(k)
		return ok && at.covers(rowid)
	}
	for i := range min(p.n, recentPages) {
		q := p.recent[(p.n-1-i)%recentPages]
		before, ok := w.place(q)
		if !ok || before.page.Kind() != btree.InteriorTable || q == pgno {
			continue
		}
		for k := range entries.Cells() {
			if !covered(at, k) {
				continue
			}
			for _, dir := range []int{1, -1} {
				if !covered(before, k-dir) {
					continue
				}
				root, depth := w.root(pgno)
				return &rowsGuess{
					w: w, root: root, depth: depth, leaf: p.index, entries: entries,
					k: k + dir, dir: dir, equal: entries.SameKey(k-dir, k), last: pgno,
				}
			}
		}
	}
	return nil
}

// siblings reads the interior pages beside one, if they are few.
func (p *predictor) siblings(pgno uint32) {
	w := treeWalk{p.db.reader, p.view}
	at, ok := w.place(pgno)
	if !ok || at.page.Children() > maxSiblings {
		return
	}
	var batch []uint32
	for i := range at.page.Children() {
		if child := at.page.Child(i); w.raw(child) == nil {
			batch = append(batch, child)
		}
	}
	p.db.readAhead(p.view, batch, 0, nil)
}
