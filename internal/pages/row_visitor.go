package pages

import "github.com/ltxvfs/litestream/internal/btree"

// eachRow calls fn with the rows of all loops, from shortly before the reader
// on, as far as their pages are known. It ends when fn returns false.
func (p *nest) eachRow(fn func(root uint32, page btree.Page, cell int) bool) {
	rows, ok := p.recent()
	if !ok {
		return
	}
	v := rowVisitor{nest: p, fn: fn, steps: 8 * rowsAhead}
	for range rowsAhead {
		row, more, _ := rows.next()
		if !more || !v.visit(p.root, row, 0) {
			return
		}
	}
}

// rowVisitor goes through the rows of nested loops in the order in which SQLite
// does.
type rowVisitor struct {
	*nest
	fn    func(root uint32, page btree.Page, cell int) bool
	steps int
}

// visit visits a row, and the rows that it leads to. It reports whether to go
// on.
func (v *rowVisitor) visit(root uint32, row outerRow, loops int) bool {
	if v.steps--; v.steps < 0 || root != listRoot && !v.fn(root, row.page, row.cell) {
		return false
	}
	if loops >= maxLoops {
		return true
	}
	for _, l := range v.joins.links {
		if l.src != root || l.wrong {
			continue
		}
		key, ok := row.key(l.col)
		if ok && !v.below(lookup{link: l, key: key, pgno: l.dst, loops: loops}) {
			return false
		}
	}
	return true
}

// below visits the rows that a lookup finds below a page.
func (v *rowVisitor) below(l lookup) bool {
	page, ok := v.w.page(l.pgno)
	if !ok || l.level > l.depth {
		return true
	}
	rowid, isInteger := l.key.Integer()
	switch page.Kind() {
	case btree.LeafTable:
		cell, ok := page.Row(rowid)
		return !ok || !isInteger || v.visit(l.dst, outerRow{page: page, cell: cell}, l.loops+1)
	case btree.InteriorTable:
		l.pgno = page.Child(page.ChildFor(rowid))
		l.level++
		return !isInteger || v.below(l)
	}
	first, end, ok := page.Range(l.key)
	if !ok {
		return true
	}
	for i := first; i <= min(end, first+maxMatches); i++ {
		if page.Kind().IsInterior() {
			below := l
			below.pgno, below.level = page.Child(i), l.level+1
			if !v.below(below) {
				return false
			}
		}
		if i < end && !v.visit(l.dst, outerRow{page: page, cell: i}, l.loops+1) {
			return false
		}
	}
	return true
}
