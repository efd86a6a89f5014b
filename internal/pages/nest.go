package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// link says that SQLite looks up rows of a tree by a column of the rows of
// another one, as it does in the inner loop of a join, and where an index leads
// to the rows of its table. It was learned from reads, so it may be wrong.
type link struct {
	src   uint32 // root of the tree whose rows have the column
	col   int    // of these rows, or btree.Rowid
	dst   uint32 // root of the tree that is searched by its rowid or first column
	depth int    // of the leaves of that tree

	// Of the leaves that were predicted by it.
	read, unread int
	wrong        bool // too many were not read in their turn
}

// isSame reports whether two links say the same.
func (l *link) isSame(m *link) bool {
	return l.src == m.src && l.col == m.col && l.dst == m.dst && l.depth == m.depth
}

const (
	// maxUnread is how many leaves a link may predict in vain for one that is
	// read, and firstUnread how many before any is.
	maxUnread   = 2
	firstUnread = 16
)

// count counts a leaf that the link has predicted, when the reader has come to
// it or passed its turn.
func (l *link) count(read bool) {
	if read {
		l.read++
	} else {
		l.unread++
	}
	l.wrong = l.unread > firstUnread+maxUnread*l.read
}

// prediction tells why a leaf was predicted.
type prediction struct {
	row int   // of the outermost loop
	by  *link // nil for a leaf that was missed
}

// lookup is a search for the rows of a tree that have a key. It goes on from a
// page.
type lookup struct {
	*link
	key   btree.Value
	pgno  uint32
	level int // of the page, counted from the root
	loops int // loops that are around this one
	row   int // of the outermost loop
}

const (
	// maxLoops is how many loops are followed below the outermost one.
	maxLoops = 4

	// maxBlocked bounds the lookups that wait for pages.
	maxBlocked = 1 << 10

	// maxMatches bounds the rows or children of a page that one lookup follows.
	maxMatches = 256

	// maxSteps bounds the lookups and rows of one call: a corrupt tree may go in
	// circles.
	maxSteps = 1 << 13

	// firstRows is how many rows of the outermost loop are followed at first.
	firstRows = 16

	// rowsGrowth is how many rows are followed ahead for each that was read.
	rowsGrowth = 2

	// maxRows is how many of them are followed at most.
	maxRows = 1 << 10
)

// nest is the pages that nested loops read: rows are gone through in the order
// of a tree, and the values of their columns lead to rows of other trees.
type nest struct {
	w     treeWalk
	joins *joins // which links are known

	root      uint32 // of the tree of the outermost loop, or listRoot
	rows      outerRows
	trail     []outerRows // as rows was before each row, without those that are forgotten
	forgotten int         // rows that trail does not have any more
	row       int         // number of the row that rows came to last, counted from 1
	reader    int         // number of the row that the reader has come to
	window    int         // rows ahead of the reader
	mark      int         // the last row that was followed when the window grew
	blocked   []lookup
	leaves    map[uint32]prediction // what was predicted and not read yet, by page

	// Of the present call of next.
	steps        int
	pgnos, needs []uint32
}

func newNest(w treeWalk, j *joins, root uint32, rows outerRows, window int) *nest {
	return &nest{w: w, joins: j, root: root, rows: rows, window: window, leaves: make(map[uint32]prediction)}
}

// next implements pattern. Pages that lead on to others come with those, in the
// order of the rows of the outermost loop, as far as they are known.
func (p *nest) next(n int) (pgnos, needs []uint32) {
	p.steps, p.pgnos, p.needs = maxSteps, nil, nil
	p.forget()
	blocked := p.blocked
	p.blocked = nil
	for _, l := range blocked {
		p.follow(l)
	}
	for len(p.pgnos) < n && p.row < p.reader+p.window && len(p.blocked) < maxBlocked && p.steps > 0 {
		before := p.rows.fork()
		row, more, missing := p.rows.next()
		if missing != 0 {
			p.need(missing)
		}
		if !more {
			break
		}
		p.trail = append(p.trail, before)
		p.row++
		p.lead(p.root, row, 0, p.row)
	}
	for _, pgno := range p.rows.ahead(p.reader + 2*p.window - p.row) {
		p.need(pgno)
	}
	return p.pgnos, p.needs
}

// lead follows the links of a row.
func (p *nest) lead(root uint32, from outerRow, loops, row int) {
	p.steps--
	if loops > maxLoops {
		return
	}
	for _, l := range p.joins.links {
		if l.src != root || l.wrong {
			continue
		}
		if key, ok := from.key(l.col); ok {
			p.follow(lookup{link: l, key: key, pgno: l.dst, loops: loops, row: row})
		}
	}
}

// follow follows a lookup as far as the pages on its way are known.
func (p *nest) follow(l lookup) {
	for p.steps > 0 && !l.wrong && l.level <= l.depth && l.pgno != 0 {
		p.steps--
		page, ok := p.w.page(l.pgno)
		if !ok {
			p.wait(l)
			return
		}
		if l.level == l.depth {
			p.predict(l) // it could be evicted before the reader comes to it
		}
		switch page.Kind() {
		case btree.LeafTable:
			if rowid, ok := l.key.Integer(); ok {
				if cell, ok := page.Row(rowid); ok {
					p.lead(l.dst, outerRow{page: page, cell: cell}, l.loops+1, l.row)
				}
			}
			return
		case btree.InteriorTable:
			rowid, ok := l.key.Integer()
			if !ok {
				return
			}
			l.pgno = page.Child(page.ChildFor(rowid))
			l.level++
		default:
			p.followRange(l, page)
			return
		}
	}
}

// followRange follows a lookup below a page of an index. There may be many
// entries with its key.
func (p *nest) followRange(l lookup, page btree.Page) {
	first, end, ok := page.Range(l.key)
	if !ok {
		return
	}
	interior := page.Kind().IsInterior()
	for i := first; i <= min(end, first+maxMatches) && p.steps > 0; i++ {
		if interior {
			below := l
			below.pgno, below.level = page.Child(i), l.level+1
			p.follow(below)
		}
		if i < end {
			p.lead(l.dst, outerRow{page: page, cell: i}, l.loops+1, l.row)
		}
	}
}

// wait predicts the page that a lookup needs to go on.
func (p *nest) wait(l lookup) {
	leads := l.level < l.depth
	if leads {
		p.need(l.pgno)
	} else {
		if p.joins.isSeen(l.pgno) {
			return // SQLite has it in its own cache, or had
		}
		p.predict(l)
		leads = l.loops < maxLoops && p.joins.leads(l.dst)
	}
	if leads && len(p.blocked) < maxBlocked {
		p.blocked = append(p.blocked, l)
	}
}

// predict predicts the leaf of a lookup, unless it was predicted or read before.
func (p *nest) predict(l lookup) {
	if _, known := p.leaves[l.pgno]; !known && !p.joins.isSeen(l.pgno) {
		p.leaves[l.pgno] = prediction{l.row, l.link}
		p.pgnos = append(p.pgnos, l.pgno)
	}
}

func (p *nest) need(pgno uint32) {
	if !slices.Contains(p.needs, pgno) {
		p.needs = append(p.needs, pgno)
	}
}

// read notes that the reader has come to a page. It reports whether that is for
// a later row than the reads before.
func (p *nest) read(pgno uint32) (later bool) {
	leaf := p.leaves[pgno]
	delete(p.leaves, pgno) // another row may lead to it, later
	if leaf.by != nil {
		leaf.by.count(true)
	}
	if leaf.row <= p.reader {
		return false
	}
	p.reader = leaf.row
	return true
}

// isDue reports whether many rows are missing in the window.
func (p *nest) isDue() bool { return p.reader+p.window-p.row >= max(1, p.window/4) }

// grow widens the window. Many queries end after some rows, so it stays in
// proportion to those that were read.
func (p *nest) grow() {
	p.window = min(max(p.window, 2*firstRows, rowsGrowth*p.reader), maxRows)
	p.mark = p.row
}

// isPassed reports whether a page was predicted for a row that the reader has
// passed, or by a link that is wrong.
func (p *nest) isPassed(pgno uint32) bool {
	leaf := p.leaves[pgno]
	passed := leaf.row < p.reader
	if passed && leaf.by != nil {
		leaf.by.count(false)
	}
	if passed = passed || leaf.by != nil && leaf.by.wrong; passed {
		delete(p.leaves, pgno)
	}
	return passed
}

// recent returns the rows from shortly before the reader on.
func (p *nest) recent() (outerRows, bool) {
	i := max(0, min(p.reader, p.row)-1-rowsBack-p.forgotten)
	if i >= len(p.trail) {
		return nil, false
	}
	return p.trail[i].fork(), true
}

// forget drops the part of the trail that is far behind the reader.
func (p *nest) forget() {
	if n := min(p.reader, p.row) - 1 - rowsBack - p.forgotten; n > maxRows {
		p.trail = slices.Delete(p.trail, 0, n)
		p.forgotten += n
	}
}

// runOn goes on beyond the last entry with a key if the next one leads to an
// arrival, and reports whether it does.
func (p *nest) runOn(a arrival) bool {
	rows, ok := p.rows.(*leafRows)
	if !ok || !rows.atOtherKey() || p.joins.tree(p.root) < 0 {
		return false
	}
	for _, l := range p.joins.links {
		if l.src != p.root || l.dst != a.root {
			continue
		}
		if v, ok := rows.page.Value(rows.k, l.col); ok && a.bounds.contains(v) {
			rows.only = btree.Value{}
			return true
		}
	}
	return false
}

// rewind goes back to the row of the reader, after another link was learned.
func (p *nest) rewind() {
	row := max(p.forgotten, min(p.reader, p.row)-1)
	if i := row - p.forgotten; i < len(p.trail) {
		p.rows, p.trail, p.row = p.trail[i], p.trail[:i], row
		p.blocked = nil
	}
}
