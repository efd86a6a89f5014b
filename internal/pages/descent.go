package pages

import "github.com/ltxvfs/litestream/internal/btree"

// lookup is a search for the rows of a tree that have a key. It goes on from a
// page.
type lookup struct {
	*link
	key   btree.Value
	pgno  uint32
	level int // of the page, counted from the root
	path  path
	row   int // of the outermost loop
}

// path is the links that lead from the outermost loop to a row, one for each loop
// around that of the row.
type path struct {
	links [maxLoops + 1]*link
	loops int
}

// then returns the path to the rows that a link leads to.
func (p path) then(l *link) path {
	p.links[p.loops] = l
	p.loops++
	return p
}

// allows reports whether a link may lead on from a row. A link that is on the way
// to the row may be there because SQLite goes through one tree in two loops. It
// leads on only if it was learned from such rows, too.
func (p path) allows(l *link) bool {
	return p.loops <= maxLoops && !l.wrong && p.count(l) < l.times
}

// count returns how often a link is on the path.
func (p path) count(l *link) (n int) {
	for _, m := range p.links[:p.loops] {
		if m.isSame(l) {
			n++
		}
	}
	return n
}

const (
	// maxLoops is how many loops may be around one whose rows are read ahead.
	maxLoops = 4

	// maxMatches bounds the rows or children of a page that one lookup follows.
	maxMatches = 256
)

// descent goes from rows to the rows that they lead to, in the order in which
// SQLite does, as far as the pages are known. It ends after a number of steps,
// since a corrupt tree may go in circles.
type descent struct {
	w     treeWalk
	joins *joins
	steps int // pages and rows that may still be visited

	// visit is called for each row, with the root of its tree, before those that it
	// leads to. The descent ends when it returns false. Nil: not called.
	visit func(root uint32, row outerRow, by path) bool

	// arrive is called for each page of a lookup that is a leaf, or that is not known.
	// Nil: not called.
	arrive func(l lookup, known bool)
}

// lead follows the links of a row to which a path has led. It reports whether the
// descent goes on.
func (d *descent) lead(root uint32, from outerRow, by path, row int) bool {
	if d.steps--; d.steps < 0 {
		return false
	}
	if by.loops > maxLoops {
		return true
	}
	if d.visit != nil && !d.visit(root, from, by) {
		return false
	}
	for _, l := range d.joins.links {
		if l.src != root || !by.allows(l) {
			continue
		}
		key, ok := from.key(l.col)
		if ok && !d.follow(lookup{link: l, key: key, pgno: l.dst, path: by, row: row}) {
			return false
		}
	}
	return true
}

// follow follows a lookup. It reports whether the descent goes on.
func (d *descent) follow(l lookup) bool {
	for !l.wrong && l.level <= l.depth && l.pgno != 0 {
		if d.steps--; d.steps < 0 {
			return false
		}
		page, ok := d.w.page(l.pgno)
		if d.arrive != nil && (!ok || l.level == l.depth) {
			d.arrive(l, ok)
		}
		if !ok {
			return true
		}
		rowid, isInteger := l.key.Integer()
		switch page.Kind() {
		case btree.LeafTable:
			cell, ok := page.Row(rowid)
			return !ok || !isInteger || d.lead(l.dst, outerRow{page: page, cell: cell}, l.path.then(l.link), l.row)
		case btree.InteriorTable:
			if !isInteger {
				return true
			}
			l.pgno = page.Child(page.ChildFor(rowid))
			l.level++
		default:
			return d.followRange(l, page)
		}
	}
	return true
}

// followRange follows a lookup below a page of an index. There may be many
// entries with its key.
func (d *descent) followRange(l lookup, page btree.Page) bool {
	first, end, ok := page.Range(l.key)
	if !ok {
		return true
	}
	for i := first; i <= min(end, first+maxMatches); i++ {
		if page.Kind().IsInterior() {
			below := l
			below.pgno, below.level = page.Child(i), l.level+1
			if !d.follow(below) {
				return false
			}
		}
		if i < end && !d.lead(l.dst, outerRow{page: page, cell: i}, l.path.then(l.link), l.row) {
			return false
		}
	}
	return true
}
