package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// A pattern tells in which order pages are going to be read.
type pattern interface {
	// Next returns up to n more pages, and the pages that it has to know before
	// it can go on. It returns no pages at the end, and while it cannot go on.
	Next(n int) (pgnos, needs []uint32)
}

// RunPattern is pages in the order of their numbers, or against it, from pgno
// to before end.
type RunPattern struct {
	Pgno, End uint32
	Dir       int
}

func (p *RunPattern) Next(n int) (pgnos, _ []uint32) {
	for ; n > 0 && p.Pgno != p.End; n-- {
		pgnos = append(pgnos, p.Pgno)
		p.Pgno += uint32(p.Dir)
	}
	return pgnos, nil
}

// treePattern is the pages of one level of a b-tree, in the order of their keys
// or against it.
type treePattern struct {
	w   TreeWalk
	at  place // of the page predicted last
	dir int
}

func (p *treePattern) Next(n int) (pgnos, needs []uint32) {
	for range n {
		at, missing, ok := p.w.beside(p.at, p.dir)
		if !ok {
			if missing != 0 {
				needs = append(needs, missing)
			}
			return pgnos, needs
		}
		p.at = at
		pgnos = append(pgnos, at.Pgno())
	}
	return pgnos, p.w.ahead(p.at, p.dir, n)
}

// ahead returns the interior pages that the walk has to know to go on n pages
// beyond a place, except those that it knows.
func (w TreeWalk) ahead(at place, dir, n int) (needs []uint32) {
	left := at.I
	if dir > 0 {
		left = at.page.Children() - 1 - at.I
	}
	above, ok := w.Place(at.Parent)
	for ok && left < 2*n {
		if above, _, ok = w.beside(above, dir); ok {
			if w.raw(above.Pgno()) == nil {
				needs = append(needs, above.Pgno())
			}
			left += at.page.Children()
		}
	}
	return needs
}

// RowsPattern is the pages of a table that hold the rows of successive entries
// of an index.
type RowsPattern struct {
	W     TreeWalk
	Root  uint32 // of the table
	Depth int    // of its leaves

	Leaf    uint32 // of the index
	Entries btree.Page
	k       int  // number of the next entry in the leaf
	Dir     int  // 1 or -1
	equal   bool // the pattern ends where the key changes

	blocked []int64 // rowids whose page depends on interior pages that are not known
	Last    uint32  // page predicted last
}

// maxBlocked bounds the rows that wait for interior pages.
const maxBlocked = 1 << 10

func (p *RowsPattern) Next(n int) (pgnos, needs []uint32) {
	add := func(rowid int64) {
		pgno, missing := p.W.descend(p.Root, p.Depth, rowid)
		switch {
		case missing != 0:
			p.blocked = append(p.blocked, rowid)
			if !slices.Contains(needs, missing) {
				needs = append(needs, missing)
			}
		case pgno != 0 && pgno != p.Last:
			pgnos = append(pgnos, pgno)
			p.Last = pgno
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
func (p *RowsPattern) entry() (rowid int64, more bool, missing uint32) {
	for range 2 {
		if p.k >= 0 && p.k < p.Entries.Cells() {
			if before := p.k - p.Dir; p.equal && before >= 0 && before < p.Entries.Cells() && !p.Entries.SameKey(before, p.k) {
				return 0, false, 0
			}
			rowid, ok := p.Entries.IndexRowid(p.k)
			p.k += p.Dir
			return rowid, ok, 0
		}
		at, ok := p.W.Place(p.Leaf)
		if !ok || p.equal {
			return 0, false, 0
		}
		next, missing, ok := p.W.beside(at, p.Dir)
		if !ok {
			return 0, false, missing
		}
		leaf, ok := p.W.Page(next.Pgno())
		if !ok {
			return 0, false, next.Pgno()
		}
		if leaf.Kind() != btree.LeafIndex {
			return 0, false, 0
		}
		p.Leaf, p.Entries, p.k = next.Pgno(), leaf, 0
		if p.Dir < 0 {
			p.k = leaf.Cells() - 1
		}
		// The parent of two leaves holds the entry between them.
		if next.Parent == at.Parent {
			if rowid, ok := at.page.IndexRowid(min(at.I, next.I)); ok {
				return rowid, true, 0
			}
		}
	}
	return 0, false, 0
}

// leavesAhead returns the leaves of the index that lead to the next n rows,
// except those that are known.
func (p *RowsPattern) leavesAhead(n int) (needs []uint32) {
	if p.equal {
		return nil
	}
	left := p.k + 1
	if p.Dir > 0 {
		left = p.Entries.Cells() - p.k
	}
	at, ok := p.W.Place(p.Leaf)
	for ok && left < 2*n {
		var missing uint32
		if at, missing, ok = p.W.beside(at, p.Dir); ok {
			if p.W.raw(at.Pgno()) == nil {
				needs = append(needs, at.Pgno())
			}
			left += max(p.Entries.Cells(), 1)
		} else if missing != 0 {
			needs = append(needs, missing)
		}
	}
	return needs
}
