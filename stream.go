package litestream

import (
	"slices"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/btree"
)

// A guess tells in which order pages are going to be read.
type guess interface {
	// next returns up to n pages more, and pages that have to be known before
	// it can go on. It returns none at the end, and while it cannot go on.
	next(n int) (pgnos, needs []uint32)
}

// stream is a reader that is thought to follow a guess: a scan, or a part of
// one. It belongs to the predictor of one connection.
type stream struct {
	guess   guess
	most    int         // pages ahead of the reader
	window  int         // pages ahead of the reader, for now
	pending []uint32    // being read, or read and not asked for; in order
	newest  int         // how many of these, the last, came with the newest batch
	backlog []uint32    // guessed, not being read
	needs   []uint32    // that the guess needs to go on
	asked   int         // how many of these were asked for
	used    int         // pages that the reader came to
	fits    int         // pages that may go to the cache
	ended   atomic.Bool // what has not begun need not be read
}

// isFlood reports whether the reader has come so far that the pages would only
// displace each other in the cache, if they are not there yet.
func (s *stream) isFlood() bool { return s.used > s.fits }

const (
	// A stream begins with as many pages ahead of the reader, and gets
	// windowGrowth times as many whenever the reader comes to the newest of
	// them. Who has come longScan pages far gets many more.
	firstWindow    = 8
	windowGrowth   = 4
	longScan       = 64
	longScanGrowth = 16

	// maxSkip is how many guessed pages a reader may leave out and still be
	// thought to follow: SQLite does not ask for those that it has.
	maxSkip = 32
)

// follow reports whether a page is among the next ones that were guessed. It
// returns those that were left out before it.
func (s *stream) follow(pgno uint32) (skipped []uint32, ok bool) {
	i := slices.Index(s.pending[:min(len(s.pending), maxSkip)], pgno)
	if i < 0 {
		return nil, false
	}
	skipped, s.pending = s.pending[:i], s.pending[i+1:]
	s.used++
	if len(s.pending) < s.newest {
		s.grow()
		s.newest = 0
	}
	return skipped, true
}

// grow widens the window.
func (s *stream) grow() {
	if s.used >= longScan {
		s.window *= longScanGrowth
	} else {
		s.window *= windowGrowth
	}
	s.window = min(s.window, s.most)
}

// step is how many pages a stream has to lack in its window before more are
// asked for.
func (s *stream) step() int { return min(max(1, s.window/4), topUp) }

// isNext reports whether a page is the next that would be guessed.
func (s *stream) isNext(pgno uint32) bool {
	s.fill(1)
	return len(s.backlog) > 0 && s.backlog[0] == pgno
}

// fill makes the backlog n pages long, if the guess gives as many.
func (s *stream) fill(n int) {
	if n > len(s.backlog) {
		pgnos, needs := s.guess.next(n - len(s.backlog))
		s.backlog = append(s.backlog, pgnos...)
		for _, pgno := range needs {
			if !slices.Contains(s.needs, pgno) {
				s.needs = append(s.needs, pgno)
			}
		}
	}
}

// runGuess is pages by their numbers, forward or backward, before end.
type runGuess struct {
	pgno, end uint32
	dir       int
}

func (g *runGuess) next(n int) (pgnos, _ []uint32) {
	for ; n > 0 && g.pgno != g.end; n-- {
		pgnos = append(pgnos, g.pgno)
		g.pgno += uint32(g.dir)
	}
	return pgnos, nil
}

// treeGuess is the pages of one level of a b-tree, in the order of keys or
// against it.
type treeGuess struct {
	w   treeWalk
	at  place // of the last page guessed
	dir int
}

func (g *treeGuess) next(n int) (pgnos, needs []uint32) {
	for range n {
		at, missing, ok := g.w.beside(g.at, g.dir)
		if !ok {
			if missing != 0 {
				needs = append(needs, missing)
			}
			return pgnos, needs
		}
		g.at = at
		pgnos = append(pgnos, at.pgno())
	}
	return pgnos, g.w.ahead(g.at, g.dir, n)
}

// ahead returns the interior pages that are needed to go on n pages beyond a
// place, as far as they are not known.
func (w treeWalk) ahead(at place, dir, n int) (needs []uint32) {
	left := at.i
	if dir > 0 {
		left = at.page.Children() - 1 - at.i
	}
	above, ok := w.place(at.parent)
	for ok && left < 2*n {
		if above, _, ok = w.beside(above, dir); ok {
			if w.raw(above.pgno()) == nil {
				needs = append(needs, above.pgno())
			}
			left += at.page.Children()
		}
	}
	return needs
}

// rowsGuess is the pages of a table with the rows that the entries of an
// index lead to, one entry after the other.
type rowsGuess struct {
	w     treeWalk
	root  uint32 // of the table
	depth int    // of its leaves

	leaf    uint32 // of the index
	entries btree.Page
	k       int  // next entry
	dir     int  // 1 or -1
	equal   bool // stop where the key changes

	blocked []int64 // rowids whose place depends on pages that were not known
	last    uint32  // page guessed
}

// maxBlocked bounds how many rows wait for interior pages.
const maxBlocked = 1 << 10

func (g *rowsGuess) next(n int) (pgnos, needs []uint32) {
	add := func(rowid int64) {
		pgno, missing := g.w.descend(g.root, g.depth, rowid)
		switch {
		case missing != 0:
			g.blocked = append(g.blocked, rowid)
			if !slices.Contains(needs, missing) {
				needs = append(needs, missing)
			}
		case pgno != 0 && pgno != g.last:
			pgnos = append(pgnos, pgno)
			g.last = pgno
		}
	}
	blocked := g.blocked
	g.blocked = nil
	for _, rowid := range blocked {
		add(rowid)
	}
	for range max(n, maxBlocked) { // a corrupt index may go in circles
		if len(pgnos) >= n || len(g.blocked) >= maxBlocked {
			break
		}
		rowid, more, missing := g.entry()
		if missing != 0 {
			needs = append(needs, missing)
		}
		if !more {
			break
		}
		add(rowid)
	}
	return pgnos, append(needs, g.leavesAhead(n)...)
}

// entry returns the rowid of the next entry of the index.
func (g *rowsGuess) entry() (rowid int64, more bool, missing uint32) {
	for range 2 {
		if g.k >= 0 && g.k < g.entries.Cells() {
			if before := g.k - g.dir; g.equal && before >= 0 && before < g.entries.Cells() && !g.entries.SameKey(before, g.k) {
				return 0, false, 0
			}
			rowid, ok := g.entries.IndexRowid(g.k)
			g.k += g.dir
			return rowid, ok, 0
		}
		at, ok := g.w.place(g.leaf)
		if !ok || g.equal {
			return 0, false, 0
		}
		next, missing, ok := g.w.beside(at, g.dir)
		if !ok {
			return 0, false, missing
		}
		p, ok := g.w.page(next.pgno())
		if !ok {
			return 0, false, next.pgno()
		}
		if p.Kind() != btree.LeafIndex {
			return 0, false, 0
		}
		g.leaf, g.entries, g.k = next.pgno(), p, 0
		if g.dir < 0 {
			g.k = p.Cells() - 1
		}
		// Between two leaves, their parent holds an entry.
		if next.parent == at.parent {
			if rowid, ok := at.page.IndexRowid(min(at.i, next.i)); ok {
				return rowid, true, 0
			}
		}
	}
	return 0, false, 0
}

// leavesAhead returns leaves of the index that n rows more will need, as far
// as they are not known.
func (g *rowsGuess) leavesAhead(n int) (needs []uint32) {
	if g.equal {
		return nil
	}
	left := g.k + 1
	if g.dir > 0 {
		left = g.entries.Cells() - g.k
	}
	at, ok := g.w.place(g.leaf)
	for ok && left < 2*n {
		var missing uint32
		if at, missing, ok = g.w.beside(at, g.dir); ok {
			if g.w.raw(at.pgno()) == nil {
				needs = append(needs, at.pgno())
			}
			left += max(g.entries.Cells(), 1)
		} else if missing != 0 {
			needs = append(needs, missing)
		}
	}
	return needs
}
