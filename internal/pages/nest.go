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

	times int // that it may be on the way from the outermost loop to a row

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

const (
	// maxBlocked bounds the lookups that wait for pages.
	maxBlocked = 1 << 10

	// blockedEvery is after how many pages that were read the blocked lookups are tried
	// again, which takes about a microsecond for each.
	blockedEvery = 16

	// maxSteps bounds the pages and rows that one call visits.
	maxSteps = 1 << 13

	// firstRows is how many rows of the outermost loop are followed at first, and
	// nextRows how many once one of these led to a page that was read.
	firstRows = 16
	nextRows  = 64

	// rowsGrowth is how many rows are followed ahead for each that was read, and
	// listGrowth how many values of a list, which SQLite goes through to its end.
	rowsGrowth = 1
	listGrowth = 2

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
	limit     *rowLimit   // of the statement
	blocked   []lookup
	leaves    map[uint32]prediction // what was predicted and not read yet, by page

	pgnos, needs []uint32 // of the present call of next
}

func newNest(w treeWalk, j *joins, root uint32, rows outerRows, window int) *nest {
	return &nest{w: w, joins: j, root: root, rows: rows, window: window, leaves: make(map[uint32]prediction)}
}

// next implements pattern. Pages that lead on to others come with those, in the
// order of the rows of the outermost loop, as far as they are known.
func (p *nest) next(n int) (pgnos, needs []uint32) {
	p.pgnos, p.needs = nil, nil
	p.forget()
	d := descent{w: p.w, joins: p.joins, steps: maxSteps, arrive: p.arrive}
	blocked := p.blocked
	p.blocked = nil
	for _, l := range blocked {
		d.follow(l)
	}
	for len(p.pgnos) < n && p.row < p.reader+p.window && len(p.blocked) < maxBlocked && d.steps > 0 {
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
		d.lead(p.root, row, path{}, p.row)
	}
	for _, pgno := range p.rows.ahead(p.reader + 2*p.window - p.row) {
		p.need(pgno)
	}
	return p.pgnos, p.needs
}

// arrive predicts a page of a lookup, if it is a leaf, and keeps the lookup until
// the page is known.
func (p *nest) arrive(l lookup, known bool) {
	if known {
		p.predict(l) // it could be evicted before the reader comes to it
		return
	}
	leads := true
	if l.level < l.depth {
		p.need(l.pgno)
	} else {
		if p.joins.isSeen(l.pgno) {
			return // SQLite has it in its own cache, or had
		}
		p.predict(l)
		leads = p.joins.leads(l.dst, l.path.then(l.link))
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

// follow implements pace. The pages come in the order of the rows of the outermost
// loop only.
func (p *nest) follow(s *scan, pgno uint32) (passed []uint32, ok bool) {
	i := slices.Index(s.pending, pgno)
	if i < 0 {
		return nil, false
	}
	s.pending = slices.Delete(s.pending, i, i+1)
	s.read++
	return p.read(s, pgno), true
}

// take implements pace. A page that is known may be one of any loop.
func (p *nest) take(s *scan, pgno uint32, missed bool) (passed []uint32, ok bool) {
	if !missed {
		return nil, false
	}
	s.fill(max(1, p.room(s)))
	i := slices.Index(s.backlog, pgno)
	if i < 0 {
		return nil, false
	}
	s.backlog = slices.Delete(s.backlog, i, i+1)
	s.read++
	p.joins.vain = 0
	return p.read(s, pgno), true
}

// read notes that the reader has come to a page. It takes the pages for rows before
// off the pending ones, and returns them.
func (p *nest) read(s *scan, pgno uint32) (passed []uint32) {
	leaf := p.leaves[pgno]
	delete(p.leaves, pgno) // another row may lead to it, later
	if leaf.by != nil {
		leaf.by.count(true)
	}
	if leaf.row <= p.reader {
		return nil
	}
	p.reader = leaf.row
	if p.reader > p.mark {
		p.grow()
	}
	s.pending = slices.DeleteFunc(s.pending, func(pgno uint32) bool {
		if !p.isPassed(pgno) {
			return false
		}
		passed = append(passed, pgno)
		return true
	})
	return passed
}

// grow widens the window. Many queries end after some rows, so it stays in
// proportion to those that were read. A LIMIT bounds it, too: each row of the
// outermost loop mostly gives one, or more.
func (p *nest) grow() {
	growth := rowsGrowth
	if p.root == listRoot {
		growth = listGrowth
	}
	p.window = min(max(p.window, nextRows, growth*p.reader), maxRows)
	if left, ok := p.limit.after(p.reader); ok {
		p.window = min(p.window, max(left, firstRows))
	}
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

func (p *nest) room(s *scan) int { return s.limit - len(s.pending) }

func (p *nest) least(*scan) int { return 0 }

// isDue implements pace: there is room, and many rows are missing in the window, pages
// of other rows had no room, or those that they were waiting for may have come.
func (p *nest) isDue(s *scan) bool {
	if p.room(s) < s.limit/4 {
		return false
	}
	return p.reader+p.window-p.row >= max(1, p.window/4) || len(s.backlog) > 0 || len(p.blocked) > 0 && s.read%blockedEvery == 0
}

// rowLimit implements pace. The rows that count are not those of leaves.
func (p *nest) rowLimit() *rowLimit { return nil }

func (p *nest) gap() int64 { return minGap }

// bypassesCache implements pace: nested loops come to a page again.
func (p *nest) bypassesCache(*scan) bool { return false }

// recent returns the rows from shortly before the reader on.
func (p *nest) recent() (outerRows, bool) {
	i := max(0, min(p.reader, p.row)-1-rowsBack-p.forgotten)
	if i >= len(p.trail) {
		return nil, false
	}
	return p.trail[i].fork(), true
}

// eachRow calls fn with the rows of trees in all loops, from shortly before the
// reader on, as far as their pages are known. It ends when fn returns false.
func (p *nest) eachRow(fn func(root uint32, row outerRow, by path) bool) {
	rows, ok := p.recent()
	if !ok {
		return
	}
	d := descent{w: p.w, joins: p.joins, steps: maxSteps / 4, visit: func(root uint32, row outerRow, by path) bool {
		return root == listRoot || fn(root, row, by)
	}}
	for range rowsAhead {
		row, more, _ := rows.next()
		if !more || !d.lead(p.root, row, path{}, 0) {
			return
		}
	}
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
