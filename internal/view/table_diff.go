package view

// EachDifference calls fn, in ascending order, for every page that the two
// tables hold in different versions or that only one of them holds. Parts that
// the tables share cost nothing.
func EachDifference(a, b *Table, fn func(pgno uint32)) {
	for n := range uint32(max(a.nodesEnd(), b.nodesEnd())) {
		x, y := a.node(n), b.node(n)
		if x == y && isSameBase(a, b, n<<nodeShift, nodeLen*chunkLen) {
			continue
		}
		for k := range uint32(nodeLen) {
			c, d := x.chunk(k), y.chunk(k)
			before := n<<nodeShift + k<<chunkBits
			if c == d && isSameBase(a, b, before, chunkLen) {
				continue
			}
			for i := range uint32(chunkLen) {
				if a.versionIn(c, before+i+1) != b.versionIn(d, before+i+1) {
					fn(before + i + 1)
				}
			}
		}
	}
}

// isSameBase reports whether the bases of two tables have the same version of
// pages, if any, among so many after the first ones.
func isSameBase(a, b *Table, before, pages uint32) bool {
	x, y := a.base.clip(before, pages), b.base.clip(before, pages)
	return x == y && (x == 0 || a.sources.get(a.base.src).Version == b.sources.get(b.base.src).Version)
}

func (t *Table) node(n uint32) *tableNode {
	if n >= uint32(len(t.nodes)) {
		return nil
	}
	return t.nodes[n]
}

// chunk returns chunk k of a node, nil if there is none.
func (n *tableNode) chunk(k uint32) *chunk {
	if n == nil {
		return nil
	}
	return n.chunks[k]
}

// versionIn returns the version of a page of a chunk, or 0 if the table does not
// hold the page.
func (t *Table) versionIn(c *chunk, pgno uint32) uint64 {
	src, _, size := c.get((pgno - 1) % chunkLen)
	if size == 0 {
		if !t.base.has(pgno) {
			return 0
		}
		src = t.base.src
	}
	return uint64(t.sources.get(src).Version)
}

// Len returns the number of pages in the table.
func (t *Table) Len() (n int64) {
	t.sources.each(func(_ Source, pages int) { n += int64(pages) })
	return n
}
