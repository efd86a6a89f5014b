package pages

import (
	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/view"
)

// maxTreeDepth bounds climbs. No b-tree of SQLite is deeper.
const maxTreeDepth = 20

// treeWalk moves within the b-trees of a view, over pages that are known
// without a request.
type treeWalk struct {
	pages *Source
	v     *view.View
}

// raw returns the bytes of a page, nil if they are not known.
func (w treeWalk) raw(pgno uint32) []byte {
	loc, ok := w.v.Lookup(pgno)
	if !ok {
		return nil
	}
	return w.pages.peek(Key{loc.Version, pgno, w.v.Epoch})
}

// page returns a page of a b-tree, false if it is not known. This counts as a
// use of an interior page, so that it is not evicted: a reader that follows a
// prediction asks for it last.
func (w treeWalk) page(pgno uint32) (btree.Page, bool) {
	b := w.raw(pgno)
	if b == nil {
		return btree.Page{}, false
	}
	p, ok := w.pages.trees.parse(pgno, b)
	if ok && p.Kind().IsInterior() {
		loc, _ := w.v.Lookup(pgno)
		w.pages.cache.Load().get(Key{loc.Version, pgno, w.v.Epoch})
	}
	return p, ok
}

// place is the position of a page in a b-tree.
type place struct {
	parent uint32
	page   btree.Page // the parent
	i      int        // which child it is
}

// place returns the position of a page, false if it is not known or the page
// is a root.
func (w treeWalk) place(pgno uint32) (place, bool) {
	parent, ok := w.pages.trees.parent(pgno)
	if !ok {
		return place{}, false
	}
	p, ok := w.page(parent)
	if !ok {
		return place{}, false
	}
	i := p.IndexOf(pgno)
	return place{parent, p, i}, i >= 0
}

// root returns the root of the tree of a page, and how many levels the page is
// below it.
func (w treeWalk) root(pgno uint32) (root uint32, depth int) {
	for depth < maxTreeDepth {
		at, ok := w.place(pgno)
		if !ok {
			break
		}
		pgno = at.parent
		depth++
	}
	return pgno, depth
}

// isAfter reports whether a page is right after another under the same
// parent, or right before it.
func (w treeWalk) isAfter(pgno, before uint32) bool {
	at, ok := w.place(pgno)
	return ok && (before == at.page.Child(at.i-1) || before == at.page.Child(at.i+1)) && before != 0
}

// isEdge reports whether a page is the first of its level (dir 1) or the last
// (dir -1), and the least number of pages of the level.
func (w treeWalk) isEdge(pgno uint32, dir int) (edge bool, width int) {
	for range maxTreeDepth {
		at, ok := w.place(pgno)
		if !ok {
			return width > 0, width
		}
		if dir > 0 && at.i != 0 || dir < 0 && at.i != at.page.Children()-1 {
			return false, 0
		}
		width = max(width, at.page.Children())
		pgno = at.parent
	}
	return false, 0
}

// beside returns the position right after (dir 1) or before (dir -1) another
// one, on the same level. If it depends on a page that is not known, missing
// is the number of that page.
func (w treeWalk) beside(at place, dir int) (_ place, missing uint32, ok bool) {
	return w.besideWithin(at, dir, maxTreeDepth)
}

func (w treeWalk) besideWithin(at place, dir, depth int) (_ place, missing uint32, ok bool) {
	if i := at.i + dir; i >= 0 && i < at.page.Children() {
		at.i = i
		return at, 0, true
	}
	if depth == 0 {
		return place{}, 0, false
	}
	above, ok := w.place(at.parent)
	if !ok {
		return place{}, 0, false
	}
	above, missing, ok = w.besideWithin(above, dir, depth-1)
	if !ok {
		return place{}, missing, false
	}
	next := above.pgno()
	p, ok := w.page(next)
	if !ok {
		return place{}, next, false
	}
	if p.Children() == 0 {
		return place{}, 0, false
	}
	at = place{next, p, 0}
	if dir < 0 {
		at.i = p.Children() - 1
	}
	return at, 0, true
}

// pgno returns the page at the position.
func (at place) pgno() uint32 { return at.page.Child(at.i) }

const (
	maxSchemaPages = 64  // pages of the schema that are searched for roots
	maxRoots       = 128 // roots that are prefetched
)

// These are the columns name, tbl_name and rootpage of sqlite_schema.
const (
	nameColumn  = 1
	tableColumn = 2
	rootColumn  = 3
)

// schemaTree is a table or an index that the schema lists.
type schemaTree struct {
	name, table []byte // table is the name of the table that an index belongs to
	root        uint32
}

// schema returns the roots of tables and indexes that the known pages of the
// schema list, and the pages of the schema that are not known.
func (w treeWalk) schema() (roots, missing []uint32) {
	missing = w.eachTree(func(t schemaTree) {
		if len(roots) < maxRoots {
			roots = append(roots, t.root)
		}
	})
	return roots, missing
}

// eachTree calls fn with the tables and indexes that the known pages of the schema
// list. It returns the pages of the schema that are not known.
func (w treeWalk) eachTree(fn func(schemaTree)) (missing []uint32) {
	pages := []uint32{1}
	for i := 0; i < len(pages) && i < maxSchemaPages; i++ {
		p, ok := w.page(pages[i])
		if !ok {
			missing = append(missing, pages[i])
			continue
		}
		for c := range p.Children() {
			pages = append(pages, p.Child(c))
		}
		if p.Kind() != btree.LeafTable {
			continue
		}
		for c := range p.Cells() {
			v, _ := p.Value(c, rootColumn)
			if root, ok := v.Integer(); ok && root > 1 && root <= int64(w.v.Commit) {
				v, _ = p.Value(c, nameColumn)
				name, _ := v.Text()
				v, _ = p.Value(c, tableColumn)
				table, _ := v.Text()
				fn(schemaTree{name, table, uint32(root)})
			}
		}
	}
	return missing
}

// bounds are the keys that a tree may have below a place: rowids of a table, or
// first columns of an index.
type bounds struct {
	table       bool
	least, most btree.Value // least is out of bounds in a table; the zero Value is no bound
}

// bounds returns the bounds of a place.
func (w treeWalk) bounds(at place) (b bounds) {
	b.table = at.page.Kind() == btree.InteriorTable
	for range maxTreeDepth {
		if least, ok := at.page.Key(at.i - 1); ok && b.least.IsNone() {
			b.least = least
		}
		if most, ok := at.page.Key(at.i); ok && b.most.IsNone() {
			b.most = most
		}
		if !b.least.IsNone() && !b.most.IsNone() {
			break
		}
		var ok bool
		if at, ok = w.place(at.parent); !ok {
			break
		}
	}
	return b
}

// contains reports whether a key may be within the bounds. A key of a table is
// an integer.
func (b bounds) contains(key btree.Value) bool {
	if _, ok := key.Integer(); b.table && !ok {
		return false
	}
	if !b.least.IsNone() {
		if c := key.Compare(b.least); c < 0 || c == 0 && b.table {
			return false
		}
	}
	return b.most.IsNone() || key.Compare(b.most) <= 0
}

// target returns the first leaf of a tree that may have a key, 0 if a page on
// the way is not known.
func (w treeWalk) target(root uint32, depth int, key btree.Value) uint32 {
	pgno := root
	for range depth {
		p, ok := w.page(pgno)
		if !ok {
			return 0
		}
		i := -1
		if rowid, ok := key.Integer(); ok && p.Kind() == btree.InteriorTable {
			i = p.ChildFor(rowid)
		} else if first, _, ok := p.Range(key); ok {
			i = first
		}
		if pgno = p.Child(i); pgno == 0 {
			return 0
		}
	}
	return pgno
}

// leafPlace is where a leaf is in its tree.
type leafPlace struct {
	root   uint32
	depth  int     // how many levels below the root
	leaves float64 // how many leaves the tree has, judged by the pages on the way
	at     float64 // how many of them come before the leaf, from 0 to 1
}

// leaf returns where a leaf is in its tree.
func (w treeWalk) leaf(pgno uint32) leafPlace {
	l := leafPlace{root: pgno, leaves: 1}
	for l.depth < maxTreeDepth {
		at, ok := w.place(l.root)
		if !ok {
			break
		}
		l.leaves *= float64(at.page.Children())
		l.at = (float64(at.i) + l.at) / float64(at.page.Children())
		l.root = at.parent
		l.depth++
	}
	return l
}
