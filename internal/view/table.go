package view

import (
	"cmp"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// A page table maps page numbers to frames. It is a persistent radix tree: an
// edit copies the nodes on the path to each change and shares the rest with the
// table it started from. Applying a file of k pages therefore costs O(k),
// whatever the size of the database.
//
// The leaves are chunks of 256 pages and have three forms. A run holds frames
// that are adjacent in one file, as in a snapshot, and takes 4 bytes a page.
// The packed form holds a location for each page of the chunk and takes 11
// bytes a page, present or not. The form for few pages takes 16 bytes for each
// page that is present. The size of a table is therefore proportional to the
// number of pages, however far apart they are.
//
// Below the tree, a table may have a base: a file that has every page of its
// database, and whose page index is read as it is needed. A page that the tree
// does not hold is in the base, if it is not beyond the end of the base.
const (
	chunkBits = 8
	chunkLen  = 1 << chunkBits
	nodeBits  = 8
	nodeLen   = 1 << nodeBits
	nodeShift = chunkBits + nodeBits
)

// Table is immutable once the edit that created it has ended.
type Table struct {
	nodes   []*tableNode
	base    tableBase
	sources sourceTable
	gen     uint64
}

// A tableNode or chunk belongs to the edit with the same gen. That edit may
// change it in place; later edits copy it.
type tableNode struct {
	gen    uint64
	chunks [nodeLen]*chunk
}

type chunk struct {
	gen uint64

	run *runPages          // run form
	few *[]fewPage         // form for few pages, in ascending order
	loc *[chunkLen]uint64  // packed form, if run and few are nil
	ref *[chunkLen][3]byte // packed form, like loc
}

// runPages holds frames of one source: the frame of page i starts at
// base+rel[i] and ends at base+rel[i+1]. The page is absent if that range is
// empty.
type runPages struct {
	rel  [chunkLen + 1]uint32
	src  uint32
	base int64
}

// fewPage is a page in packed form: 31 bits of source, 40 bits of offset and 17
// bits of size. The page is absent if the size is 0.
type fewPage struct {
	loc uint64
	ref [3]byte
	i   uint8
}

// maxFew is the maximum number of pages of a chunk in the form for few pages.
const maxFew = 16

const (
	packedSizeBits   = 17
	packedOffsetBits = 40
	packedSrcShift   = packedSizeBits + packedOffsetBits
	packedSrcBits    = 64 - packedSrcShift
)

// The frame of the largest page and the largest offset must fit.
var (
	_ = [1<<packedSizeBits - 1 - (65536 + 65536/255 + 16 + 64)]struct{}{}
	_ = [1<<packedOffsetBits - ltxio.MaxFileSize]struct{}{}
)

// unread is the size of a frame whose place has to be asked for in the page
// index of its file. No frame is that large.
const unread = 1<<packedSizeBits - 1

func (c *chunk) get(i uint32) (src uint32, offset int64, size uint32) {
	switch {
	case c == nil:
		return 0, 0, 0
	case c.run != nil:
		start := c.run.rel[i]
		return c.run.src, c.run.base + int64(start), c.run.rel[i+1] - start
	case c.few != nil:
		for _, p := range *c.few {
			if uint32(p.i) == i {
				return unpack(p.loc, &p.ref)
			}
		}
		return 0, 0, 0
	}
	return unpack(c.loc[i], &c.ref[i])
}

func unpack(loc uint64, ref *[3]byte) (src uint32, offset int64, size uint32) {
	src = uint32(loc>>packedSrcShift) | uint32(ref[0])<<packedSrcBits |
		uint32(ref[1])<<(packedSrcBits+8) | uint32(ref[2])<<(packedSrcBits+16)
	offset = int64(loc >> packedSizeBits & (1<<packedOffsetBits - 1))
	return src, offset, uint32(loc & (1<<packedSizeBits - 1))
}

func pack(src uint32, offset int64, size uint32) (loc uint64, ref [3]byte) {
	loc = uint64(src)<<packedSrcShift | uint64(offset)<<packedSizeBits | uint64(size)
	src >>= packedSrcBits
	return loc, [3]byte{byte(src), byte(src >> 8), byte(src >> 16)}
}

// set points a page to a frame. The chunk is in packed form or in the form for
// few pages. In the latter, set converts it to packed form when it has more
// than maxFew pages.
func (c *chunk) set(i, src uint32, offset int64, size uint32) {
	loc, ref := pack(src, offset, size)
	if c.few == nil {
		c.loc[i], c.ref[i] = loc, ref
		return
	}
	k, known := slices.BinarySearchFunc(*c.few, i, func(p fewPage, i uint32) int { return cmp.Compare(uint32(p.i), i) })
	switch {
	case known:
		(*c.few)[k] = fewPage{loc, ref, uint8(i)}
	case len(*c.few) < maxFew:
		*c.few = slices.Insert(*c.few, k, fewPage{loc, ref, uint8(i)})
	default:
		c.unfold()
		c.loc[i], c.ref[i] = loc, ref
	}
}

// unfold converts a chunk from the form for few pages to packed form.
func (c *chunk) unfold() {
	few := *c.few
	c.few, c.loc, c.ref = nil, new([chunkLen]uint64), new([chunkLen][3]byte)
	for _, p := range few {
		c.loc[p.i], c.ref[p.i] = p.loc, p.ref
	}
}

// cut removes page i and all later pages from a chunk. The chunk is in packed
// form or in the form for few pages.
func (c *chunk) cut(i uint32) {
	if c.few != nil {
		*c.few = slices.DeleteFunc(*c.few, func(p fewPage) bool { return uint32(p.i) >= i })
		return
	}
	clear(c.loc[i:])
	clear(c.ref[i:])
}

func (t *Table) chunk(pgno uint32) *chunk {
	i := pgno - 1
	n := i >> nodeShift
	if pgno == 0 || n >= uint32(len(t.nodes)) || t.nodes[n] == nil {
		return nil
	}
	return t.nodes[n].chunks[i>>chunkBits%nodeLen]
}

// lookup returns the location of a page. It does not allocate.
func (t *Table) lookup(pgno uint32) (Loc, bool) {
	return t.locate(t.chunk(pgno), pgno)
}

// locate is lookup for a page of a chunk.
func (t *Table) locate(c *chunk, pgno uint32) (Loc, bool) {
	src, offset, size := c.get((pgno - 1) % chunkLen)
	switch {
	case size != 0:
	case t.base.has(pgno):
		src, size = t.base.src, unread
	default:
		return Loc{}, false
	}
	loc := Loc{Source: t.sources.get(src), Offset: offset, Size: size}
	if size == unread {
		loc.Offset, loc.Size = loc.File.Dense.Find(pgno)
	}
	return loc, true
}

// EachMissing calls fn, in ascending order, with the pages from first to last
// that are not in set, until fn returns false. Its cost depends on the number
// of pages in the table, not on last. It skips pages beyond the capacity of
// set. If set is nil, EachMissing visits all pages in the range.
func (t *Table) EachMissing(set *Bitmap, first, last uint32, fn func(pgno uint32, loc Loc) bool) {
	if first == 0 || first > last {
		return
	}
	for n := int(first-1) >> nodeShift; n < t.nodesEnd() && n <= int(last-1)>>nodeShift; n++ {
		node := t.node(uint32(n))
		if node == nil && n >= t.base.nodesEnd() {
			continue
		}
		for k := range uint32(nodeLen) {
			before := uint32(n)<<nodeShift | k<<chunkBits // number of pages before the chunk
			c := node.chunk(k)
			if c == nil && before >= t.base.end || before > last-1 || before+(chunkLen-1) < first-1 {
				continue
			}
			from, to := max(first-1, before)+1, min(last-1, before+(chunkLen-1))+1
			if !t.eachMissingOf(c, set, from, to, fn) {
				return
			}
		}
	}
}

// eachMissingOf is EachMissing for one chunk.
func (t *Table) eachMissingOf(c *chunk, set *Bitmap, from, to uint32, fn func(pgno uint32, loc Loc) bool) bool {
	more := true
	visit := func(pgno uint32) bool {
		if loc, ok := t.locate(c, pgno); ok {
			more = fn(pgno, loc)
		}
		return more
	}
	if set != nil {
		set.missingIn(from, to, visit)
		return more
	}
	for pgno := from; visit(pgno) && pgno != to; pgno++ {
	}
	return more
}

// End returns the number of the last page in the table, or 0 if the table is
// empty.
func (t *Table) End() uint32 { return max(t.lastInTree(), t.base.last()) }

// lastInTree returns the number of the last page in the tree, or 0 if there is
// none.
func (t *Table) lastInTree() uint32 {
	for n := len(t.nodes) - 1; n >= 0; n-- {
		if t.nodes[n] == nil {
			continue
		}
		for k := nodeLen - 1; k >= 0; k-- {
			c := t.nodes[n].chunks[k]
			if c == nil {
				continue
			}
			for i := chunkLen - 1; i >= 0; i-- {
				if _, _, size := c.get(uint32(i)); size != 0 {
					return uint32(n)<<nodeShift | uint32(k)<<chunkBits | uint32(i) + 1
				}
			}
		}
	}
	return 0
}

// edit returns a copy of t that can be changed. It leaves t unchanged.
func (t *Table) edit() *Table {
	return &Table{
		nodes:   append([]*tableNode(nil), t.nodes...),
		base:    t.base,
		sources: t.sources.edit(),
		gen:     t.gen + 1,
	}
}

// ownNode returns the node of a page. It copies the node first if the node
// belongs to an earlier edit.
func (t *Table) ownNode(pgno uint32) *tableNode {
	n := int((pgno - 1) >> nodeShift)
	for n >= len(t.nodes) {
		t.nodes = append(t.nodes, nil)
	}
	node := t.nodes[n]
	switch {
	case node == nil:
		node = &tableNode{gen: t.gen}
	case node.gen != t.gen:
		node = &tableNode{gen: t.gen, chunks: node.chunks}
	}
	t.nodes[n] = node
	return node
}

// ownChunk returns the chunk of a page in packed form or in the form for few
// pages. It copies the chunk first if the chunk belongs to an earlier edit or
// is a run.
func (t *Table) ownChunk(pgno uint32) *chunk {
	node := t.ownNode(pgno)
	slot := &node.chunks[(pgno-1)>>chunkBits%nodeLen]
	old := *slot
	if old != nil && old.gen == t.gen && old.run == nil {
		return old
	}
	c := &chunk{gen: t.gen}
	switch {
	case old == nil:
		c.few = new([]fewPage)
	case old.few != nil:
		few := slices.Clone(*old.few)
		c.few = &few
	case old.run == nil:
		loc, ref := *old.loc, *old.ref
		c.loc, c.ref = &loc, &ref
	default:
		c.loc, c.ref = new([chunkLen]uint64), new([chunkLen][3]byte)
		for i := range uint32(chunkLen) {
			if src, offset, size := old.get(i); size != 0 {
				c.set(i, src, offset, size)
			}
		}
	}
	*slot = c
	return c
}

// put points pages to frames of one source. The pages belong to one chunk and
// are in ascending order.
func (t *Table) put(src uint32, entries []ltxio.Entry, commit uint32) {
	if !t.putRun(src, entries, commit) {
		t.putEach(src, entries)
	}
}

// putEach is put for any pages of a chunk.
func (t *Table) putEach(src uint32, entries []ltxio.Entry) {
	// Count the new pages before the old ones are subtracted. Otherwise the
	// count of the source could reach 0, and its number would be released.
	t.sources.add(src, len(entries))
	c := t.ownChunk(entries[0].Pgno)
	for _, e := range entries {
		i := (e.Pgno - 1) % chunkLen
		if old, _, size := c.get(i); size != 0 {
			t.sources.add(old, -1)
		} else if t.base.has(e.Pgno) {
			t.takeFromBase(1)
		}
		c.set(i, src, e.Offset, e.Size)
	}
}

// putRun stores entries as a run if they are all the pages that the chunk
// holds. It reports whether it did.
func (t *Table) putRun(src uint32, entries []ltxio.Entry, commit uint32) bool {
	first := entries[0].Pgno
	start := (first - 1) / chunkLen * chunkLen // number of pages before the chunk
	old := t.chunk(first)
	if old != nil && uint32(len(entries)) < min(chunkLen, commit-start) {
		return false
	}
	if len(entries) <= maxFew && uint32(len(entries)) < min(chunkLen, commit-start) {
		return false // the form for few pages is smaller
	}
	base := entries[0].Offset
	end := base
	for _, e := range entries {
		if e.Offset != end {
			return false
		}
		end += int64(e.Size)
	}
	t.sources.add(src, len(entries))
	inBase := 0
	for _, e := range entries {
		if _, _, size := old.get((e.Pgno - 1) % chunkLen); size == 0 && t.base.has(e.Pgno) {
			inBase++
		}
	}
	t.takeFromBase(inBase)
	t.releaseChunk(old, 0)
	run := &runPages{base: base, src: src}
	k := 0
	for i := range uint32(chunkLen) {
		size := uint32(0)
		if k < len(entries) && entries[k].Pgno-1-start == i {
			size = entries[k].Size
			k++
		}
		run.rel[i+1] = run.rel[i] + size
	}
	t.ownNode(first).chunks[(first-1)>>chunkBits%nodeLen] = &chunk{gen: t.gen, run: run}
	return true
}

// truncate removes all pages beyond commit.
func (t *Table) truncate(commit uint32) {
	t.truncateBase(commit)
	keep := int((uint64(commit) + nodeLen*chunkLen - 1) >> nodeShift)
	for _, node := range t.nodes[min(keep, len(t.nodes)):] {
		if node == nil {
			continue
		}
		for _, c := range node.chunks {
			t.releaseChunk(c, 0)
		}
	}
	t.nodes = t.nodes[:min(keep, len(t.nodes))]
	if commit == 0 || len(t.nodes) < keep || t.nodes[keep-1] == nil {
		return
	}
	last := (commit - 1) >> chunkBits % nodeLen
	node := t.ownNode(commit)
	for i := last + 1; i < nodeLen; i++ {
		t.releaseChunk(node.chunks[i], 0)
		node.chunks[i] = nil
	}
	if from := (commit-1)%chunkLen + 1; from < chunkLen && node.chunks[last] != nil {
		c := t.ownChunk(commit)
		t.releaseChunk(c, from)
		c.cut(from)
	}
}

// releaseChunk subtracts the pages of a chunk, from page number from on, from
// the counts of their sources.
func (t *Table) releaseChunk(c *chunk, from uint32) {
	if c == nil {
		return
	}
	for i := from; i < chunkLen; i++ {
		if src, _, size := c.get(i); size != 0 {
			t.sources.add(src, -1)
		}
	}
}

// A sourceTable assigns numbers to the sources of a page table and counts the
// pages of each source. A number without pages is reused. Older tables, in
// which the number may stand for another source, have their own copies of the
// nodes.
type sourceTable struct {
	nodes []*sourceNode
	n     uint32 // number of source numbers in use or free
	free  uint32 // first number without pages, plus 1; 0 if there is none
	gen   uint64
}

const sourceNodeLen = 64

type sourceNode struct {
	gen   uint64
	slots [sourceNodeLen]sourceSlot
}

type sourceSlot struct {
	Source
	pages int
	next  uint32 // in a free slot: the next free number, plus 1
}

func (t *sourceTable) get(src uint32) Source {
	return t.nodes[src/sourceNodeLen].slots[src%sourceNodeLen].Source
}

func (t *sourceTable) edit() sourceTable {
	return sourceTable{nodes: append([]*sourceNode(nil), t.nodes...), n: t.n, free: t.free, gen: t.gen + 1}
}

// slot returns the slot of a source number. It copies the node first if the
// node belongs to an earlier edit.
func (t *sourceTable) slot(src uint32) *sourceSlot {
	i := src / sourceNodeLen
	node := t.nodes[i]
	if node.gen != t.gen {
		node = &sourceNode{gen: t.gen, slots: node.slots}
		t.nodes[i] = node
	}
	return &node.slots[src%sourceNodeLen]
}

// assign gives a number to a source. The caller must add pages to it next.
func (t *sourceTable) assign(s Source) uint32 {
	src := t.free - 1
	if t.free == 0 {
		src = t.n
		t.n++
		if int(src/sourceNodeLen) == len(t.nodes) {
			t.nodes = append(t.nodes, &sourceNode{gen: t.gen})
		}
	}
	slot := t.slot(src)
	t.free = slot.next
	*slot = sourceSlot{Source: s}
	return src
}

// add adds pages to the page count of a source and frees its number when the
// count reaches 0.
func (t *sourceTable) add(src uint32, pages int) {
	slot := t.slot(src)
	if slot.pages += pages; slot.pages == 0 {
		*slot = sourceSlot{next: t.free}
		t.free = src + 1
	}
}

// count returns the number of pages of a source.
func (t *sourceTable) count(src uint32) int {
	return t.nodes[src/sourceNodeLen].slots[src%sourceNodeLen].pages
}

// each calls fn for every source that has pages.
func (t *sourceTable) each(fn func(s Source, pages int)) {
	for _, node := range t.nodes {
		for i := range node.slots {
			if s := &node.slots[i]; s.pages > 0 {
				fn(s.Source, s.pages)
			}
		}
	}
}
