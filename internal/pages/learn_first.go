package pages

import (
	"strconv"

	"github.com/ltxvfs/litestream/internal/btree"
)

const (
	// firstGroup is how many rows are followed at most after the first arrival in a
	// tree.
	firstGroup = 32

	// maxFirst is how many explanations of a first arrival are compared.
	maxFirst = 16
)

// learnFirst looks for the link by which SQLite has come to a tree of which it has
// read nothing before. The leaf that it read last is one of an index, and SQLite
// begins with the first or the last entry that has a key. If just one such entry
// has a column that leads to the arrival, the other entries with its key are likely
// to lead on in the same way. If there are more, the key may be in the statement.
func (j *joins) learnFirst(w treeWalk, a arrival) *nest {
	if len(j.trees) == 0 {
		return nil
	}
	src := &j.trees[0]
	leaf := src.leaves[0]
	page, ok := w.page(leaf)
	if !ok || page.Kind() != btree.LeafIndex {
		return nil
	}
	depth := a.depth
	if depth == 1 && w.isDeep(a.root, familyOf(a.root, w.families()).table) {
		depth++ // the arrival is an interior page
	}
	j.work = maxWork
	var all []candidate
	for first, end := 0, 0; first < page.Cells() && len(all) < maxFirst; first = end {
		for end = first + 1; end < page.Cells() && j.spend(rowWork) && sameFirst(page, first, end); end++ {
		}
		if end-first < 2 {
			continue // nothing else has its key
		}
		for _, edge := range []candidate{{k: first, dir: 1}, {k: end - 1, dir: -1}} {
			edge.only, _ = page.Value(edge.k, 0)
			j.columnsTo(a, page, edge.k, func(col int) {
				edge.link = &link{src: src.root, col: col, dst: a.root, depth: depth, times: 1}
				all = append(all, edge)
			})
		}
	}
	if len(all) > 1 {
		all = j.named(all)
	}
	if len(all) != 1 || j.work <= 0 || j.isWrong(all[0].link) {
		return nil
	}
	c := all[0]
	src.dir = c.dir
	j.add(c.link)
	return newNest(w, j, src.root, &leafRows{w: w, leaf: leaf, page: page, k: c.k, dir: c.dir, only: c.only}, firstGroup)
}

// columnsTo calls fn with the columns of an entry that lead to an arrival. The first
// one does not count, since all entries of a key have the same.
func (j *joins) columnsTo(a arrival, page btree.Page, k int, fn func(col int)) {
	page.Values(k, func(col int, v btree.Value) bool {
		if col > 0 && a.bounds.contains(v) {
			fn(col)
		}
		return j.spend(1)
	})
}

// named returns those of some candidates whose key is a number in the statement.
func (j *joins) named(all []candidate) (named []candidate) {
	if j.words == nil {
		return nil
	}
	words := make(map[string]bool)
	for word := range j.words() {
		words[word] = true
	}
	for _, c := range all {
		if i, ok := c.only.Integer(); ok && words[strconv.FormatInt(i, 10)] {
			named = append(named, c)
		}
	}
	return named
}
