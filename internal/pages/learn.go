package pages

import (
	"cmp"
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// arrival is a leaf that was missed, which a link may have led to.
type arrival struct {
	pgno   uint32
	root   uint32
	depth  int
	bounds bounds
	before bounds // of the leaf of its tree that was read before it
}

// arrive describes a leaf that was missed, false if its place is not known.
func (j *joins) arrive(w treeWalk, pgno uint32) (a arrival, ok bool) {
	at, ok := w.place(pgno)
	if !ok {
		return a, false
	}
	a = arrival{pgno: pgno, bounds: w.bounds(at)}
	a.root, a.depth = w.root(pgno)
	return a, true
}

// spend notes that columns are looked at, and reports whether that is within the
// bound.
func (j *joins) spend(columns int) bool {
	j.work -= columns
	return j.work > 0
}

// hasSeenTarget reports whether the leaf of the tree of an arrival that may have
// a key was read.
func (j *joins) hasSeenTarget(w treeWalk, a arrival, key btree.Value) bool {
	return j.spend(searchWork) && j.isSeen(w.target(a.root, a.depth, key))
}

// learn looks for the link by which SQLite has come to a leaf and to the leaf of
// its tree that it read before. The rows that lead to them are in order, and
// those between them lead to leaves that were read.
func (j *joins) learn(w treeWalk, a arrival, nests []*nest) *nest {
	i := j.tree(a.root)
	if i < 0 {
		return j.learnFirst(w, a)
	}
	j.work = maxWork
	t := &j.trees[i]
	if t.tries > 4 && t.tries&(t.tries-1) != 0 {
		t.tries++
		return nil // it costs time, and it seems that there is none
	}
	t.tries++
	patient := t.tries <= maxPatience && !slices.ContainsFunc(j.links, func(l *link) bool { return l.dst == a.root })
	before := t.leaves[0]
	if before == a.pgno {
		before = t.leaves[1]
	}
	at, ok := w.place(before)
	if _, depth := w.root(before); !ok || depth != a.depth {
		return nil // the arrival is no leaf
	}
	a.before = w.bounds(at)
	for _, n := range nests {
		if l, ok := j.learnWithin(w, a, n); ok && j.add(l) {
			n.rewind()
			return n
		}
	}
	for _, s := range j.trees {
		for _, leaf := range s.leaves[:2] {
			if leaf == 0 || leaf == a.pgno || leaf == before && s.root == a.root {
				continue
			}
			page, ok := w.page(leaf)
			if !ok {
				continue
			}
			if n := j.learnFrom(w, a, s.root, leaf, page, patient); n != nil {
				return n
			}
		}
	}
	if n := j.learnFromLists(w, a); n != nil {
		return n
	}
	return j.learnFromText(w, a)
}

// learnFromLists looks for a list of the statement that leads to an arrival.
// SQLite sorts the list of an IN, and goes through others as they are.
func (j *joins) learnFromLists(w treeWalk, a arrival) *nest {
	l := &link{src: listRoot, dst: a.root, depth: a.depth, times: 1}
	if j.lists == nil || j.isWrong(l) {
		return nil
	}
	for _, values := range j.lists() {
		if k, ok := j.along(w, a, values); ok {
			j.add(l)
			return newNest(w, j, listRoot, &listRows{values, k}, firstRows)
		}
	}
	return nil
}

// along returns the first value of a list that leads to an arrival, if one before it
// leads to the leaf that was read before, and those between to leaves that were
// read.
func (j *joins) along(w treeWalk, a arrival, values []btree.Value) (k int, ok bool) {
	begun := false
	for k, v := range values {
		switch {
		case begun && a.bounds.contains(v):
			return k, true
		case a.before.contains(v):
			begun = true
		case begun:
			begun = j.hasSeenTarget(w, a, v)
		}
	}
	return 0, false
}

// candidate is a row of a leaf whose column may have led to an arrival.
type candidate struct {
	link      *link
	k, dir    int         // the row, and in which direction the rows are gone through
	only      btree.Value // the key that they have; the zero Value: they may have any
	explained bool        // the rows before it lead to leaves that were read
}

// learnFrom looks for a column of the rows of a leaf that leads to an arrival. By
// chance, rows may do so to which SQLite never came. If the entries of several
// keys do, further arrivals tell.
func (j *joins) learnFrom(w treeWalk, a arrival, root, leaf uint32, page btree.Page, patient bool) *nest {
	var best *candidate
	j.candidates(w, a, root, page, func(c candidate) bool {
		switch {
		case best == nil || c.explained && !best.explained:
			best = &c
		case patient && c.explained && best.only.Compare(c.only) != 0:
			best = nil
			return false
		}
		return patient || !best.explained
	})
	if best == nil {
		return nil
	}
	if at := j.tree(root); at >= 0 {
		j.trees[at].dir = best.dir
	}
	j.add(best.link)
	if root == a.root {
		return j.outermost(w, root, leaf, page, best.k, best.dir, j.known(best.link)) // SQLite may be in a third loop
	}
	return newNest(w, j, root, &leafRows{w: w, leaf: leaf, page: page, k: best.k, dir: best.dir, only: best.only}, firstRows)
}

// candidates calls fn with the rows of a leaf that may have led to an arrival, until
// fn returns false.
func (j *joins) candidates(w treeWalk, a arrival, root uint32, page btree.Page, fn func(candidate) bool) {
	more := true
	for i := 0; i < page.Cells() && more && j.spend(rowWork); i++ {
		page.Values(i, func(col int, v btree.Value) bool {
			if !j.spend(1) {
				return false
			}
			l := &link{src: root, col: col, dst: a.root, depth: a.depth, times: 1}
			if !a.before.contains(v) || j.isWrong(l) {
				return true
			}
			for _, dir := range []int{1, -1} {
				if k, ok := j.step(w, a, page, i, col, dir); ok && more {
					more = fn(candidate{l, k, dir, j.onlyKey(root, page, i, k), j.isExplained(w, a, page, i, col, dir)})
				}
			}
			return more
		})
	}
}

// isExplained reports whether the entries that come before one with the same key
// lead to leaves that were read, as far as it looks back.
func (j *joins) isExplained(w treeWalk, a arrival, page btree.Page, i, col, dir int) bool {
	for k := i - dir; max(k-i, i-k) <= rowsBack && sameFirst(page, k, i); k -= dir {
		if v, ok := page.Value(k, col); ok && !a.before.contains(v) && !j.hasSeenTarget(w, a, v) {
			return false
		}
	}
	return true
}

// step goes from a row of a leaf to the one that leads to an arrival.
func (j *joins) step(w treeWalk, a arrival, page btree.Page, i, col, dir int) (k int, ok bool) {
	k = i + dir
	for range rowsAhead {
		if k < 0 || k >= page.Cells() || !j.spend(col+2) {
			return 0, false
		}
		v, ok := page.Value(k, col)
		switch {
		case !ok: // NULL leads nowhere
		case a.bounds.contains(v):
			return k, true
		case a.before.contains(v):
		case !j.hasSeenTarget(w, a, v):
			return 0, false
		}
		k += dir
	}
	return 0, false
}

// learnWithin looks for a column of the rows that a nest goes through that leads
// to an arrival.
func (j *joins) learnWithin(w treeWalk, a arrival, n *nest) (found *link, ok bool) {
	type column struct {
		root  uint32
		loops int // around the row
		col   int
	}
	const (
		none  = iota
		begun // a row leads to the leaf before the arrival
		wrong // a row leads to a leaf that was not read
	)
	states := make(map[column]int)
	n.eachRow(func(root uint32, row outerRow, by path) bool {
		if !j.spend(rowWork) {
			return false
		}
		row.page.Values(row.cell, func(col int, v btree.Value) bool {
			if !j.spend(1) {
				return false
			}
			c := column{root, by.loops, col}
			switch state := states[c]; {
			case state == wrong:
			case a.before.contains(v) && !a.bounds.contains(v):
				states[c] = begun
			case state == begun && a.bounds.contains(v):
				found = &link{src: root, col: col, dst: a.root, depth: a.depth}
				found.times = by.count(found) + 1
				ok = !j.isWrong(found)
			case state == begun && !j.hasSeenTarget(w, a, v):
				states[c] = wrong
			}
			return !ok
		})
		return !ok
	})
	return found, ok
}

// resume returns a nest that goes on from an arrival by a link that is known:
// the outer loop has begun anew.
func (j *joins) resume(w treeWalk, a arrival, nests []*nest) *nest {
	for _, n := range nests {
		if n.runOn(a) {
			j.trees[j.tree(n.root)].runsOn = true
			return n
		}
	}
	var found *nest
	for _, l := range j.links {
		i := j.tree(l.src)
		if l.dst != a.root || l.depth != a.depth || l.wrong || i < 0 {
			continue
		}
		for _, leaf := range j.trees[i].leaves[:2] {
			page, ok := w.page(leaf)
			if !ok || page.Kind() != btree.LeafIndex {
				continue
			}
			dir := cmp.Or(j.trees[i].dir, 1)
			for k := range page.Cells() {
				v, ok := page.Value(k, l.col)
				if !ok || !a.bounds.contains(v) || sameFirst(page, k-dir, k) {
					continue // SQLite begins with the first entry of a key
				}
				if found != nil {
					return nil // there is more than one way
				}
				found = j.outermost(w, l.src, leaf, page, k, dir, l)
			}
		}
	}
	return found
}

// onlyKey returns the first column of two entries of an index if it is the same
// and SQLite seems to ask for the entries that have it, the zero Value otherwise.
func (j *joins) onlyKey(root uint32, page btree.Page, i, k int) btree.Value {
	at := j.tree(root)
	if k < 0 || k >= page.Cells() {
		k = 2*i - k // the next entry is on another leaf, so the one before tells
	}
	if !sameFirst(page, i, k) || at >= 0 && j.trees[at].runsOn {
		return btree.Value{}
	}
	v, _ := page.Value(i, 0)
	return v
}

// outermost returns a nest that begins with the row that leads to a row, or to
// the one that leads to that, and so on. The row itself leads on by a link.
func (j *joins) outermost(w treeWalk, root, leaf uint32, page btree.Page, k, dir int, by *link) *nest {
	links := []*link{by}
	for len(links) < maxLoops {
		l, srcLeaf, srcPage, srcK, ok := j.leadsTo(w, root, page, k)
		if !ok {
			break
		}
		links = append(links, l)
		root, leaf, page, k = l.src, srcLeaf, srcPage, srcK
		dir = cmp.Or(j.trees[j.tree(root)].dir, 1)
	}
	for i, l := range links { // one tree may be gone through in several loops
		times := 0
		for _, m := range links[:i+1] {
			if m == l {
				times++
			}
		}
		l.times = max(l.times, times)
	}
	rows := &leafRows{w: w, leaf: leaf, page: page, k: k, dir: dir}
	rows.only = j.onlyKey(root, page, k, k+dir)
	return newNest(w, j, root, rows, firstRows/4)
}

// leadsTo returns a row, in the leaves read last, that leads to a row, and the link
// by which it does.
func (j *joins) leadsTo(w treeWalk, root uint32, page btree.Page, k int) (by *link, leaf uint32, _ btree.Page, _ int, ok bool) {
	key, ok := page.Value(k, 0)
	if page.Kind() == btree.LeafTable {
		key, ok = page.Value(k, btree.Rowid)
	}
	if !ok {
		return nil, 0, btree.Page{}, 0, false
	}
	for _, l := range j.links {
		i := j.tree(l.src)
		if l.dst != root || l.wrong || i < 0 {
			continue
		}
		for _, leaf := range j.trees[i].leaves[:outerLeaves] {
			page, ok := w.page(leaf)
			if !ok {
				continue
			}
			for k := range page.Cells() {
				if v, ok := page.Value(k, l.col); ok && v.Compare(key) == 0 {
					return l, leaf, page, k, true
				}
			}
		}
	}
	return nil, 0, btree.Page{}, 0, false
}
