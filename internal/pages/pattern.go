package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// A pattern tells in which order pages are going to be read.
type pattern interface {
	// next returns up to n more pages, and the pages that it has to know before
	// it can go on. It returns no pages at the end, and while it cannot go on.
	next(n int) (pgnos, needs []uint32)
}

// runPattern is pages in the order of their numbers, or in the reverse order,
// from pgno up to but not including end.
type runPattern struct {
	pgno, end uint32
	dir       int
}

func (p *runPattern) next(n int) (pgnos, _ []uint32) {
	for ; n > 0 && p.pgno != p.end; n-- {
		pgnos = append(pgnos, p.pgno)
		p.pgno += uint32(p.dir)
	}
	return pgnos, nil
}

// treePattern is the pages of one level of a b-tree, in the order of their keys
// or against it.
type treePattern struct {
	w   treeWalk
	at  place // of the page predicted last
	dir int   // 1 or -1
}

func (p *treePattern) next(n int) (pgnos, needs []uint32) {
	for range n {
		at, missing, ok := p.w.beside(p.at, p.dir)
		if !ok {
			if missing != 0 {
				needs = append(needs, missing)
			}
			return pgnos, needs
		}
		p.at = at
		pgnos = append(pgnos, at.pgno())
	}
	return pgnos, p.w.ahead(p.at, p.dir, n)
}

// ahead returns the interior pages that the walk has to know to go on n pages
// beyond a place, except those that it knows.
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

// rowsPattern is the pages of a table that hold the rows of successive entries
// of an index.
type rowsPattern struct {
	w     treeWalk
	root  uint32 // of the table
	depth int    // of its leaves

	leaf    uint32 // of the index
	entries btree.Page
	k       int  // number of the next entry in the leaf
	dir     int  // 1 or -1
	equal   bool // the pattern ends where the key changes

	blocked []int64 // rowids whose page depends on interior pages that are not known
	last    uint32  // page predicted last
}

// maxBlocked bounds the rows that wait for interior pages.
const maxBlocked = 1 << 10

func (p *rowsPattern) next(n int) (pgnos, needs []uint32) {
	add := func(rowid int64) {
		pgno, missing := p.w.descend(p.root, p.depth, rowid)
		switch {
		case missing != 0:
			p.blocked = append(p.blocked, rowid)
			if !slices.Contains(needs, missing) {
				needs = append(needs, missing)
			}
		case pgno != 0 && pgno != p.last:
			pgnos = append(pgnos, pgno)
			p.last = pgno
		}
	}
	blocked := p.blocked
	p.blocked = nil
	for _, rowid := range blocked {
		add(rowid)
	}
	for range max(n, maxBlocked) { // a corrupt index may go in circles
		if len(pgnos) >= n || len(p.blocked) >= maxBlocked {
			break
		}
		rowid, more, missing := p.entry()
		if missing != 0 {
			needs = append(needs, missing)
		}
		if !more {
			break
		}
		add(rowid)
	}
	return pgnos, append(needs, p.leavesAhead(n)...)
}

// entry returns the rowid of the next entry of the index. More is false at the
// end, and if that depends on the page missing.
func (p *rowsPattern) entry() (rowid int64, more bool, missing uint32) {
	for range 2 {
		if p.k >= 0 && p.k < p.entries.Cells() {
			if before := p.k - p.dir; p.equal && before >= 0 && before < p.entries.Cells() && !p.entries.SameKey(before, p.k) {
				return 0, false, 0
			}
			rowid, ok := p.entries.IndexRowid(p.k)
			p.k += p.dir
			return rowid, ok, 0
		}
		at, ok := p.w.place(p.leaf)
		if !ok || p.equal {
			return 0, false, 0
		}
		next, missing, ok := p.w.beside(at, p.dir)
		if !ok {
			return 0, false, missing
		}
		leaf, ok := p.w.page(next.pgno())
		if !ok {
			return 0, false, next.pgno()
		}
		if leaf.Kind() != btree.LeafIndex {
			return 0, false, 0
		}
		p.leaf, p.entries, p.k = next.pgno(), leaf, 0
		if p.dir < 0 {
			p.k = leaf.Cells() - 1
		}
		// The parent of two leaves holds the entry between them.
		if next.parent == at.parent {
			if rowid, ok := at.page.IndexRowid(min(at.i, next.i)); ok {
				return rowid, true, 0
			}
		}
	}
	return 0, false, 0
}

// leavesAhead returns the leaves of the index that lead to the next n rows,
// except those that are known.
func (p *rowsPattern) leavesAhead(n int) (needs []uint32) {
	if p.equal {
		return nil
	}
	left := p.k + 1
	if p.dir > 0 {
		left = p.entries.Cells() - p.k
	}
	at, ok := p.w.place(p.leaf)
	for ok && left < 2*n {
		var missing uint32
		if at, missing, ok = p.w.beside(at, p.dir); ok {
			if p.w.raw(at.pgno()) == nil {
				needs = append(needs, at.pgno())
			}
			left += max(p.entries.Cells(), 1)
		} else if missing != 0 {
			needs = append(needs, missing)
		}
	}
	return needs
}
