package pages

import (
	"bytes"
	"strings"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/fulltext"
)

// textIndexes are the full-text indexes of a view. They tell which leaves SQLite
// reads when it looks a term up in one segment of an index after the other. They
// belong to one connection, are bounded, and may be wrong.
type textIndexes struct {
	of map[uint32]*textIndex // by the roots of both trees of each; nil: the schema was not searched yet

	predicted map[uint32]struct{} // leaves that were predicted and not read yet
	vain      int                 // leaves that were predicted, less textVainShare+1 for each that was read
}

// textIndex is a full-text index of FTS5, and the lookup that is under way.
type textIndex struct {
	leaves uint32 // root of the table with the suffix _data, which has the leaves of segments
	terms  uint32 // root of the table with the suffix _idx, which leads to them

	lookup termRange          // that the term is in
	passed map[int64]struct{} // segments in which the lookup has come to a leaf
}

// termRange is the terms from least on and below most. Without most, there is no
// bound.
type termRange struct{ least, most []byte }

const (
	schemaRoot = 1 // root of sqlite_schema

	leavesSuffix = "_data"
	termsSuffix  = "_idx"

	// maxTextTrees bounds the trees that are remembered.
	maxTextTrees = 64

	// maxTextLeaves is how many leaves of one segment are fetched for one lookup. A
	// term that is known to be in one leaf of a segment is in one of about two leaves of
	// another segment of the same size.
	maxTextLeaves = 3

	// maxTextPages bounds the pages that one miss leads to.
	maxTextPages = 256

	// maxTextVain is how many leaves may be predicted in vain in a transaction, and in
	// addition textVainShare for each that was read.
	maxTextVain   = 128
	textVainShare = 3
)

// end forgets the lookups of a transaction.
func (t *textIndexes) end() {
	for _, x := range t.of {
		x.passed = nil
	}
	t.predicted, t.vain = nil, 0
}

// has reports whether a tree is one of a full-text index.
func (t *textIndexes) has(root uint32) bool { return t.of[root] != nil }

// isPredicted reports whether a leaf was predicted and not read yet.
func (t *textIndexes) isPredicted(leaf uint32) bool {
	_, ok := t.predicted[leaf]
	return ok
}

// isTrusted reports whether enough of the predicted leaves were read.
func (t *textIndexes) isTrusted() bool { return t.vain <= maxTextVain }

// note notes that a leaf was read.
func (t *textIndexes) note(leaf uint32) {
	if t.isPredicted(leaf) {
		delete(t.predicted, leaf)
		t.vain -= 1 + textVainShare
	}
}

// find finds the full-text indexes that the schema lists.
func (t *textIndexes) find(w treeWalk) {
	t.of = make(map[uint32]*textIndex)
	tables := make(map[string]uint32)
	w.eachTree(func(t schemaTree) {
		if bytes.HasSuffix(t.name, []byte(leavesSuffix)) || bytes.HasSuffix(t.name, []byte(termsSuffix)) {
			tables[string(t.name)] = t.root
		}
	})
	for name, leaves := range tables {
		base, ok := strings.CutSuffix(name, leavesSuffix)
		if terms := tables[base+termsSuffix]; ok && terms != 0 && len(t.of) < maxTextTrees {
			x := &textIndex{leaves: leaves, terms: terms}
			t.of[leaves], t.of[terms] = x, x
		}
	}
}

// lead returns the pages that lookups of a term read, with a page that was missed, if
// that one belongs to a full-text index.
func (t *textIndexes) lead(w treeWalk, pgno uint32) []uint32 {
	root, _ := w.root(pgno)
	if root == schemaRoot {
		return nil
	}
	if t.of == nil {
		t.find(w)
	}
	x := t.of[root]
	if x == nil || !t.isTrusted() {
		return nil
	}
	d := textDescent{w: w, x: x, steps: maxSteps}
	segments := d.segments()
	if root == x.terms {
		for _, s := range segments {
			d.leavesOf(s, termRange{}, maxTextLeaves)
		}
		return d.missing // the leaves are not known yet
	}
	at, ok := w.place(pgno)
	if !ok || len(segments) < 2 {
		return nil
	}
	segment, first, last, ok := leafIDs(w.bounds(at))
	if !ok {
		return nil
	}
	in := d.terms(segment, first, last)
	if _, again := x.passed[segment]; again || x.passed == nil || !x.lookup.meet(in) {
		x.lookup, x.passed = in, make(map[int64]struct{})
	}
	x.passed[segment] = struct{}{}
	var leaves []uint32
	for _, s := range segments {
		if _, passed := x.passed[s.ID]; passed {
			continue
		}
		for _, page := range d.leavesOf(s, x.lookup, maxTextLeaves) {
			if leaf := d.leaf(s.LeafID(page)); leaf != 0 {
				leaves = append(leaves, leaf)
			}
		}
	}
	return append(d.missing, t.predict(leaves)...)
}

// predict notes leaves that are predicted, and returns those that were not before.
func (t *textIndexes) predict(leaves []uint32) (added []uint32) {
	for _, leaf := range leaves {
		if t.isPredicted(leaf) || len(added) == maxTextPages {
			continue
		}
		if t.predicted == nil {
			t.predicted = make(map[uint32]struct{})
		}
		t.predicted[leaf] = struct{}{}
		t.vain++
		added = append(added, leaf)
	}
	return added
}

// leafIDs returns the leaves of a segment that a leaf of a table holds, by the
// bounds of its rowids.
func leafIDs(b bounds) (segment, first, last int64, ok bool) {
	most, ok := b.most.Integer()
	if !ok {
		return 0, 0, 0, false
	}
	if segment, last, ok = fulltext.ParseLeafID(most); !ok {
		return 0, 0, 0, false
	}
	first = 1
	if least, ok := b.least.Integer(); ok {
		if s, page, ok := fulltext.ParseLeafID(least); ok && s == segment {
			first = page + 1
		}
	}
	return segment, first, last, true
}

// meet narrows the range to what another one has as well. It reports false if that
// is nothing.
func (r *termRange) meet(o termRange) bool {
	if bytes.Compare(o.least, r.least) > 0 {
		r.least = o.least
	}
	if o.most != nil && (r.most == nil || bytes.Compare(o.most, r.most) < 0) {
		r.most = o.most
	}
	return r.most == nil || bytes.Compare(r.least, r.most) < 0
}

// textDescent goes through the tables of a full-text index, as far as their pages
// are known.
type textDescent struct {
	w       treeWalk
	x       *textIndex
	steps   int
	missing []uint32 // pages that are not known, and lead on
}

// miss notes that a page is not known.
func (d *textDescent) miss(pgno uint32) {
	if len(d.missing) < maxTextPages {
		d.missing = append(d.missing, pgno)
	}
}

// segments returns the segments of the index, none if they are not known.
func (d *textDescent) segments() []fulltext.Segment {
	leaf := d.leaf(fulltext.StructureID)
	page, ok := d.w.page(leaf)
	if !ok {
		if leaf != 0 {
			d.miss(leaf)
		}
		return nil
	}
	cell, ok := page.Row(fulltext.StructureID)
	if !ok {
		return nil
	}
	v, _ := page.Value(cell, blockColumn)
	blob, _ := v.Blob()
	segments, _ := fulltext.ParseStructure(blob)
	return segments
}

// leaf returns the page that has a row of the table of leaves, 0 if a page on the way
// is not known.
func (d *textDescent) leaf(rowid int64) uint32 {
	pgno := d.x.leaves
	for range maxTreeDepth {
		if d.steps--; d.steps < 0 {
			return 0
		}
		page, ok := d.w.page(pgno)
		if !ok || page.Kind() == btree.LeafTable {
			return pgno
		}
		if pgno = page.Child(page.ChildFor(rowid)); pgno == 0 {
			break
		}
	}
	return 0
}

// textEntry is an entry of the table that leads to leaves: the first term of a leaf.
type textEntry struct {
	segment int64
	term    []byte
	page    int64
}

func entryOf(p btree.Page, cell int) (e textEntry, ok bool) {
	p.Values(cell, func(col int, v btree.Value) bool {
		switch col {
		case 0:
			e.segment, ok = v.Integer()
		case 1:
			e.term, ok = v.Blob()
		case 2:
			e.page, ok = v.Integer()
			e.page = fulltext.ParseEntry(e.page)
			return false
		}
		return ok
	})
	return e, ok && e.page > 0
}

// entries calls fn with the entries from the last one at or before a place on, in
// their order, until it returns false. Some that come before that one may be among
// them.
func (d *textDescent) entries(isBefore func(textEntry) bool, fn func(textEntry) bool) {
	d.entriesBelow(d.x.terms, maxTreeDepth, isBefore, fn)
}

func (d *textDescent) entriesBelow(pgno uint32, depth int, isBefore, fn func(textEntry) bool) bool {
	if depth == 0 || pgno == 0 || d.steps < 0 {
		return false
	}
	page, ok := d.w.page(pgno)
	if !ok {
		d.miss(pgno)
		return true
	}
	if page.Kind() != btree.InteriorIndex && page.Kind() != btree.LeafIndex {
		return false
	}
	first := d.search(page, isBefore)
	for i := max(0, first-1); i <= page.Cells(); i++ {
		if i >= first && page.Kind().IsInterior() && !d.entriesBelow(page.Child(i), depth-1, isBefore, fn) {
			return false
		}
		if i == page.Cells() {
			break
		}
		if d.steps--; d.steps < 0 {
			return false
		}
		if e, ok := entryOf(page, i); !ok || !fn(e) {
			return false
		}
	}
	return true
}

// search returns the first entry of a page that is not at or before a place.
func (d *textDescent) search(page btree.Page, isBefore func(textEntry) bool) int {
	lo, hi := 0, page.Cells()
	for lo < hi {
		d.steps--
		mid := (lo + hi) / 2
		if e, ok := entryOf(page, mid); ok && isBefore(e) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// terms returns the range of the terms that a lookup may have that leads to one of
// the leaves first to last of a segment.
func (d *textDescent) terms(segment, first, last int64) (r termRange) {
	isBefore := func(e textEntry) bool { return e.segment < segment || e.segment == segment && e.page <= first }
	d.entries(isBefore, func(e textEntry) bool {
		switch {
		case e.segment > segment || e.segment == segment && e.page > last:
			if e.segment == segment {
				r.most = e.term
			}
			return false
		case e.segment == segment && isBefore(e):
			r.least = e.term
		}
		return true
	})
	return r
}

// leavesOf returns the numbers of the leaves of a segment that have the terms of a
// range, none if there are more than n.
func (d *textDescent) leavesOf(s fulltext.Segment, r termRange, n int) (leaves []int64) {
	leaves = []int64{s.First}
	missed := len(d.missing)
	isBefore := func(e textEntry) bool {
		return e.segment < s.ID || e.segment == s.ID && bytes.Compare(e.term, r.least) <= 0
	}
	d.entries(isBefore, func(e textEntry) bool {
		switch {
		case e.segment < s.ID:
		case e.segment > s.ID || r.most != nil && bytes.Compare(e.term, r.most) >= 0 || len(leaves) > n:
			return false
		case isBefore(e):
			leaves[0] = max(e.page, s.First)
		default:
			leaves = append(leaves, e.page)
		}
		return true
	})
	if len(d.missing) > missed+n {
		d.missing = d.missing[:missed]
	}
	if len(leaves) > n || len(d.missing) > missed {
		return nil
	}
	return leaves
}
