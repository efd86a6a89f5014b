package pages

import "github.com/ltxvfs/litestream/internal/btree"

// outerRows goes through the rows of the outermost of nested loops.
type outerRows interface {
	// next returns the next row. There is none at the end, and while the page
	// missing is not known, unless that is 0.
	next() (row outerRow, more bool, missing uint32)

	// ahead returns pages that the next n rows are on, except those that are known.
	ahead(n int) (needs []uint32)

	// fork returns a copy that goes its own way.
	fork() outerRows
}

// outerRow is a cell of a page of a b-tree, or a value of a list.
type outerRow struct {
	page btree.Page
	cell int

	value btree.Value // of a list; the zero Value otherwise
}

// key returns the value of a column of the row.
func (r outerRow) key(col int) (btree.Value, bool) {
	if !r.value.IsNone() {
		return r.value, true
	}
	return r.page.Value(r.cell, col)
}

// listRows goes through the values of a list in a statement.
type listRows struct {
	values []btree.Value
	k      int // next value
}

// listRoot stands for the root of the tree of a list, which has none.
const listRoot = 0

func (r *listRows) next() (row outerRow, more bool, missing uint32) {
	if r.k >= len(r.values) {
		return outerRow{}, false, 0
	}
	r.k++
	return outerRow{value: r.values[r.k-1]}, true, 0
}

func (r *listRows) ahead(int) []uint32 { return nil }

func (r *listRows) fork() outerRows { c := *r; return &c }

// leafRows goes through the rows of a table or the entries of an index, from
// leaf to leaf, over pages that are known.
type leafRows struct {
	w    treeWalk
	leaf uint32
	page btree.Page // the leaf
	k    int        // next row in the leaf
	dir  int        // 1 or -1

	// only is the first column of the entries of an index that a query asks for. The
	// rows end where it changes. The zero Value means all rows.
	only btree.Value
}

func (r *leafRows) fork() outerRows { c := *r; return &c }

func (r *leafRows) next() (row outerRow, more bool, missing uint32) {
	for range 2 {
		if r.k >= 0 && r.k < r.page.Cells() {
			if r.atOtherKey() {
				return outerRow{}, false, 0
			}
			r.k += r.dir
			return outerRow{page: r.page, cell: r.k - r.dir}, true, 0
		}
		at, ok := r.w.place(r.leaf)
		if !ok {
			return outerRow{}, false, 0
		}
		next, missing, ok := r.w.beside(at, r.dir)
		if !ok {
			return outerRow{}, false, missing
		}
		leaf, ok := r.w.page(next.pgno())
		if !ok {
			return outerRow{}, false, next.pgno()
		}
		if leaf.Kind().IsInterior() {
			return outerRow{}, false, 0
		}
		r.leaf, r.page, r.k = next.pgno(), leaf, 0
		if r.dir < 0 {
			r.k = leaf.Cells() - 1
		}
		// The parent of two leaves of an index holds the entry between them.
		if i := min(at.i, next.i); next.parent == at.parent && leaf.Kind() == btree.LeafIndex && r.isWanted(at.page, i) {
			return outerRow{page: at.page, cell: i}, true, 0
		}
	}
	return outerRow{}, false, 0
}

// atOtherKey reports whether the next row in the leaf has another key than
// those that are asked for.
func (r *leafRows) atOtherKey() bool {
	return r.k >= 0 && r.k < r.page.Cells() && !r.isWanted(r.page, r.k)
}

func (r *leafRows) isWanted(page btree.Page, cell int) bool {
	if r.only.IsNone() {
		return true
	}
	v, ok := page.Value(cell, 0)
	return ok && v.Compare(r.only) == 0
}

// sameFirst reports whether two entries of an index have the same first column.
func sameFirst(p btree.Page, i, j int) bool {
	if p.Kind() != btree.LeafIndex {
		return false
	}
	v, ok := p.Value(i, 0)
	u, ok2 := p.Value(j, 0)
	return ok && ok2 && v.Compare(u) == 0
}

func (r *leafRows) ahead(n int) (needs []uint32) {
	edge := 0
	if r.dir > 0 {
		edge = r.page.Cells() - 1
	}
	if !r.isWanted(r.page, edge) {
		return nil // they end in this leaf
	}
	left := r.k + 1
	if r.dir > 0 {
		left = r.page.Cells() - r.k
	}
	at, ok := r.w.place(r.leaf)
	for ok && left < n {
		var missing uint32
		if at, missing, ok = r.w.beside(at, r.dir); ok {
			if r.w.raw(at.pgno()) == nil {
				needs = append(needs, at.pgno())
			}
			left += max(r.page.Cells(), 1)
		} else if missing != 0 {
			needs = append(needs, missing)
		}
	}
	return needs
}
