package view

// EachDifference calls fn, in ascending order, for every page that the two
// tables hold in different versions or that only one of them holds. Parts that
// the tables share cost nothing.
func EachDifference(a, b *Table, fn func(pgno uint32)) {
	for n := range uint32(max(len(a.nodes), len(b.nodes))) {
		x, y := a.node(n), b.node(n)
		if x == y {
			continue
		}
		for k := range uint32(nodeLen) {
			var c, d *chunk
			if x != nil {
				c = x.chunks[k]
			}
			if y != nil {
				d = y.chunks[k]
			}
			if c == d {
				continue
			}
			first := n<<nodeShift + k<<chunkBits + 1
			for i := range uint32(chunkLen) {
				if a.versionIn(c, i) != b.versionIn(d, i) {
					fn(first + i)
				}
			}
		}
	}
}

func (t *Table) node(n uint32) *tableNode {
	if n >= uint32(len(t.nodes)) {
		return nil
	}
	return t.nodes[n]
}

// versionIn returns the version of page i of a chunk, or 0 if the chunk does
// not hold the page.
func (t *Table) versionIn(c *chunk, i uint32) uint64 {
	if c == nil {
		return 0
	}
	src, _, size := c.get(i)
	if size == 0 {
		return 0
	}
	return uint64(t.sources.get(src).Version)
}

// Len returns the number of pages in the table.
func (t *Table) Len() (n int64) {
	t.sources.each(func(_ Source, pages int) { n += int64(pages) })
	return n
}
