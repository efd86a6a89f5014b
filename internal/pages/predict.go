package pages

import "slices"

// predict returns the pattern that the recent reads show and that a page
// continues, nil if there is none. The size of the window is the larger, the surer the
// prediction is. If learns is true, the pattern may be one of nested loops.
func (p *Predictor) predict(pgno uint32, learns bool) (_ pattern, size int) {
	w := p.walk()
	if run := p.overflow(w, pgno); run != nil {
		return run, int(run.end - run.pgno)
	}
	if at, ok := w.place(pgno); ok {
		if learns {
			if n := p.nest(w, pgno); n != nil {
				return n, 0
			}
		}
		if dir := p.direction(w, pgno, at); dir != 0 {
			return &treePattern{w, at, dir}, firstWindow / 2
		}
		if root, _ := w.root(pgno); p.texts.has(root) {
			return nil, 0 // a lookup comes to the first and the last leaf, too
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

// nest returns the nested loops by which SQLite has come to a page that it
// misses, nil if there seem to be none.
func (p *Predictor) nest(w treeWalk, pgno uint32) *nest {
	a, ok := p.joins.arrive(w, pgno)
	if !ok {
		return nil
	}
	var nests []*nest
	for _, s := range p.scans {
		if n, ok := s.pattern.(*nest); ok {
			nests = append(nests, n)
		}
	}
	if n := p.joins.resume(w, a, nests); n != nil {
		return n
	}
	return p.joins.learn(w, a, nests)
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
