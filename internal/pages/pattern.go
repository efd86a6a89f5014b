package pages

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
