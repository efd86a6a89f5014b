package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// The interior pages of a tree are read one level after the other, and each level
// takes a round trip. Where a level has few pages, all of them are fetched with the
// first one, and with them those of the other trees of the table, since SQLite goes
// from an index to its table or to another index, and those of the tables that the
// statement names.

const (
	// fewTop is how many interior pages right below a root are fetched before it is
	// known that any of them but the first one is needed.
	fewTop = 8

	// fewSiblings is how many interior pages of a level are fetched when the first one
	// has come, and maxSiblings how many when a second one has. That covers all or
	// most of the level.
	fewSiblings = 16
	maxSiblings = 128

	// manyNeeds is after how many pages that nested loops need to go on the whole level
	// of the last one is fetched.
	manyNeeds = 16

	// maxTop is how many interior pages right below the roots of trees are fetched at
	// once.
	maxTop = 32

	// A join goes through these levels once for each row. So it fetches as many of
	// their pages as come in the topShare-th part of a round trip, joinTop at most.
	topShare = 4
	joinTop  = 128

	// leastCell is the size of the smallest row in a leaf, with its place in the array
	// of cells, bytes. It bounds how many rows a leaf can have.
	leastCell = 6
)

// prefetchTop prefetches the few interior pages right below the roots of the trees
// that the statement most likely reads, if a page that was missed is one of them.
func (p *Predictor) prefetchTop(pgno uint32) {
	w := p.walk()
	_, all, own := w.top(pgno)
	named, tables := []family{own}, 0
	if own.table != 0 && p.joins.words != nil {
		for word := range p.joins.words() {
			if f, ok := all[word]; ok {
				tables++
				if !slices.ContainsFunc(named, func(g family) bool { return g.table == f.table }) {
					named = append(named, f)
				}
			}
		}
	}
	few, most := fewTop, maxTop
	if tables > 1 {
		free := p.pages.store.Speed.Free() / topShare / int64(p.view.PageSize)
		most = int(min(max(maxTop, free), joinTop))
		few = max(fewTop, most/2)
	}
	var batch []uint32
	for _, f := range named {
		batch = w.appendTop(batch, f, few, most)
	}
	p.prefetch(p.view, batch, pgno, nil, minGap)
}

// top returns the place of a page, the tables that the schema lists, and the one whose
// trees the page is in, if it is most likely an interior page right below a root.
// Otherwise the table is the zero family.
func (w treeWalk) top(pgno uint32) (at place, all map[string]family, own family) {
	at, ok := w.place(pgno)
	if !ok {
		return at, nil, family{}
	}
	if _, inner := w.place(at.parent); inner {
		return at, nil, family{}
	}
	all = w.families()
	if own = familyOf(at.parent, all); !w.isDeep(at.parent, own.table) {
		return at, nil, family{}
	}
	return at, all, own
}

// prefetchNeeded prefetches the whole level of an interior page right below a root that
// nested loops need, after they have needed many: their rows are all over the tree.
func (p *Predictor) prefetchNeeded(pgno uint32) {
	if at, _, own := p.walk().top(pgno); own.table != 0 {
		p.prefetchLevel(at)
	}
}

// appendTop appends the interior pages right below the roots of a table and its
// indexes that are not known, if each root has few and there are no more than most.
func (w treeWalk) appendTop(pgnos []uint32, f family, few, most int) []uint32 {
	for _, root := range f.indexesFirst() {
		page, ok := w.page(root)
		if ok && page.Children() <= few && len(pgnos)+page.Children() <= most && w.isDeep(root, f.table) {
			pgnos = w.appendUnknown(pgnos, page)
		}
	}
	return pgnos
}

// prefetchSiblings prefetches the other children of the parent of an interior page,
// if they are few or if one of them was needed before. A scan that needs the page
// fetches those that it needs by itself.
func (p *Predictor) prefetchSiblings(pgno uint32) {
	w := p.walk()
	at, ok := w.place(pgno)
	if !ok {
		return
	}
	if n := at.page.Children(); n > fewSiblings {
		isNeeded := slices.ContainsFunc(p.scans, func(s *scan) bool { return slices.Contains(s.needs, pgno) })
		if isNeeded || len(w.appendUnknown(nil, at.page)) == n-1 {
			return
		}
	}
	p.prefetchLevel(at)
}

// prefetchLevel prefetches the children of the parent at a place, unless they are too
// many.
func (p *Predictor) prefetchLevel(at place) {
	if at.page.Children() <= maxSiblings {
		p.Prefetch(p.view, p.walk().appendUnknown(nil, at.page), 0, nil)
	}
}

// appendUnknown appends the children of an interior page that are not known, if their
// places are, or come with the rest of a small page index.
func (w treeWalk) appendUnknown(pgnos []uint32, page btree.Page) []uint32 {
	for i := range page.Children() {
		child := page.Child(i)
		if loc, ok := w.v.Lookup(child); ok && (!loc.IsUnread() || w.pages.store.IsIndexComing(loc.File)) && w.raw(child) == nil {
			pgnos = append(pgnos, child)
		}
	}
	return pgnos
}

// family is a table and its indexes.
type family struct {
	table uint32   // root of the table; 0 for a table that has none, or a name without one
	trees []uint32 // roots of the table and its indexes
}

// indexesFirst returns the roots, and that of the table last: an index leads to it.
func (f family) indexesFirst() []uint32 {
	roots := slices.DeleteFunc(slices.Clone(f.trees), func(root uint32) bool { return root == f.table })
	if len(roots) < len(f.trees) {
		roots = append(roots, f.table)
	}
	return roots
}

// families returns the tables that the schema lists, by their folded names.
func (w treeWalk) families() map[string]family {
	all := make(map[string]family)
	w.eachTree(func(t schemaTree) {
		name := sqltokens.Fold(string(t.table))
		f := all[name]
		f.trees = append(f.trees, t.root)
		if sqltokens.EqualFold(name, string(t.name)) {
			f.table = t.root
		}
		all[name] = f
	})
	return all
}

// familyOf returns the table of a tree and its indexes.
func familyOf(root uint32, all map[string]family) family {
	for _, f := range all {
		if slices.Contains(f.trees, root) {
			return f
		}
	}
	return family{}
}

// isDeep reports whether the pages right below the root of a tree are interior pages,
// judged by the rowids of the table: no leaf has room for so many rows. Rowids that
// are far apart may make it say so of leaves.
func (w treeWalk) isDeep(root, table uint32) bool {
	page, ok := w.page(root)
	rows, ok2 := w.page(table)
	if !ok || !ok2 || page.Children() == 0 || rows.Kind() != btree.InteriorTable {
		return false
	}
	last, _ := rows.Rowid(rows.Cells() - 1)
	total := float64(last) / float64(rows.Cells()) * float64(rows.Children())
	return total/float64(page.Children()) > float64(w.v.PageSize/leastCell)
}
