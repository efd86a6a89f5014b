package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// predict returns the pattern that the recent reads show and that a page
// continues, nil if there is none. The window is the larger, the surer the
// prediction is.
func (p *Predictor) predict(pgno uint32) (_ pattern, window int) {
	w := p.walk()
	if run := p.overflow(w, pgno); run != nil {
		return run, int(run.end - run.pgno)
	}
	if at, ok := w.place(pgno); ok {
		if rows := p.rows(w, pgno, at); rows != nil {
			return rows, 2 * firstWindow
		}
		if dir := p.direction(w, pgno, at); dir != 0 {
			return &treePattern{w, at, dir}, firstWindow / 2
		}
		for _, dir := range []int{1, -1} {
			if edge, width := w.isEdge(pgno, dir); edge && width > 2 {
				return &treePattern{w, at, dir}, firstWindow
			}
		}
		return nil, 0
	}
	for _, dir := range []int{1, -1} {
		if d := uint32(dir); p.wasRead(pgno-d) && p.wasRead(pgno-2*d) {
			end := p.view.Commit + 1
			if dir < 0 {
				end = 0
			}
			return &runPattern{pgno + d, end, dir}, firstWindow
		}
	}
	return nil, 0
}

// wasRead reports whether a page is among those read last.
func (p *Predictor) wasRead(pgno uint32) bool {
	return slices.Contains(p.recent[:min(p.n, recentPages)], pgno)
}

// direction returns the direction in which the reads go through the leaves of
// a tree, 0 if they do not.
func (p *Predictor) direction(w treeWalk, pgno uint32, at place) int {
	for _, dir := range []int{1, -1} {
		if before, _, ok := w.beside(at, -dir); ok && p.wasRead(before.pgno()) {
			return dir
		}
	}
	return 0
}

// overflow returns the rest of an overflow chain that begins with a page and
// belongs to a row that was just read. The pages of a chain mostly have
// successive numbers.
func (p *Predictor) overflow(w treeWalk, pgno uint32) *runPattern {
	for i := range min(p.m, recentLeaves) {
		leaf, ok := w.page(p.leaves[(p.m-1-i)%recentLeaves])
		if !ok {
			continue
		}
		if pages := leaf.OverflowFrom(pgno); pages > 1 {
			return &runPattern{pgno + 1, uint32(min(int64(pgno)+int64(pages), int64(p.view.Commit)+1)), 1}
		}
	}
	return nil
}

// rows returns the pages of the rows that the entries of an index lead to. That
// is the pattern if a page that was just read holds the row of an entry, and
// pgno the row of the next one.
func (p *Predictor) rows(w treeWalk, pgno uint32, at place) *rowsPattern {
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
				return &rowsPattern{
					w: w, root: root, depth: depth, leaf: p.index, entries: entries,
					k: k + dir, dir: dir, equal: entries.SameKey(k-dir, k), last: pgno,
				}
			}
		}
	}
	return nil
}
