package view

import (
	"github.com/ltxvfs/litestream/internal/ltxio"
)

// tableBase holds the pages of a table that are not in its tree: those from 1 to
// end that the tree does not have, without the lock page. They are all of one
// version and in one file, whose page index is read as it is needed. The zero
// value holds no page.
type tableBase struct {
	src      uint32 // valid if end is not 0
	end      uint32
	lockPgno uint32
}

// has reports whether the base has a page, provided that the tree does not.
func (b *tableBase) has(pgno uint32) bool {
	return pgno-1 < b.end && pgno != b.lockPgno
}

// pages returns the number of pages in the base from a page on, if the tree has
// none of them.
func (b *tableBase) pages(from uint32) int {
	if from > b.end {
		return 0
	}
	n := int(b.end-from) + 1
	if from <= b.lockPgno && b.lockPgno <= b.end {
		n--
	}
	return n
}

// last returns the number of the last page that may be in the base.
func (b *tableBase) last() uint32 {
	if b.end == b.lockPgno && b.end > 0 {
		return b.end - 1
	}
	return b.end
}

// clip returns how many of some pages after the first ones the base may have.
func (b *tableBase) clip(before, pages uint32) uint32 {
	return min(pages, b.end-min(b.end, before))
}

// nodesEnd returns the number of nodes that a tree with these pages has.
func (b *tableBase) nodesEnd() int { return int((uint64(b.end) + nodeLen*chunkLen - 1) >> nodeShift) }

// nodesEnd returns the number of nodes that a tree with all pages has.
func (t *Table) nodesEnd() int { return max(len(t.nodes), t.base.nodesEnd()) }

// setBase makes a source the base of an empty table. The source is a file with
// every page of its database.
func (t *Table) setBase(s Source) {
	t.base = tableBase{end: s.File.Commit, lockPgno: s.File.Dense.LockPgno}
	t.base.src = t.sources.assign(s)
	t.sources.add(t.base.src, t.base.pages(1))
}

// takeFromBase notes that pages of the base have come to the tree.
func (t *Table) takeFromBase(pages int) {
	if pages == 0 {
		return
	}
	src := t.base.src
	if pages == t.sources.count(src) {
		t.base = tableBase{} // the source gives up its number
	}
	t.sources.add(src, -pages)
}

// truncateBase removes all pages beyond commit from the base, before they are
// removed from the tree.
func (t *Table) truncateBase(commit uint32) {
	if commit >= t.base.end {
		return
	}
	pages := t.base.pages(commit + 1)
	t.eachInTree(commit+1, func(pgno, _ uint32) {
		if t.base.has(pgno) {
			pages--
		}
	})
	t.base.end = commit
	t.takeFromBase(pages)
}

// eachInTree calls fn, in ascending order, for the pages in the tree from a page
// on.
func (t *Table) eachInTree(from uint32, fn func(pgno, src uint32)) {
	for n := int(from-1) >> nodeShift; n < len(t.nodes); n++ {
		for k := range uint32(nodeLen) {
			before := uint32(n)<<nodeShift | k<<chunkBits
			c := t.node(uint32(n)).chunk(k)
			if c == nil || before+(chunkLen-1) < from-1 {
				continue
			}
			for i := max(from-1, before) - before; i < chunkLen; i++ {
				if src, _, size := c.get(i); size != 0 {
					fn(before+i+1, src)
				}
			}
		}
	}
}

// putUnread points a page to a source, whose page index has its place.
func (t *Table) putUnread(src, pgno uint32) {
	t.putEach(src, []ltxio.Entry{{Pgno: pgno, Size: unread}})
}

// moveBase points the pages of the base, which has some, to another file of the same
// version, and returns how many they are. Pages that the file does not have stay where
// they are.
func (t *Table) moveBase(f *File) int {
	from := t.base.src
	if f.Commit < t.base.end {
		var stay []uint32
		for pgno := f.Commit + 1; pgno <= t.base.end; pgno++ {
			if _, _, size := t.chunk(pgno).get((pgno - 1) % chunkLen); size == 0 && t.base.has(pgno) {
				stay = append(stay, pgno)
			}
		}
		for _, pgno := range stay {
			t.putUnread(from, pgno)
		}
	}
	pages := 0
	if t.base.end > 0 {
		// What stayed in the tree counts for the source, too.
		pages = t.base.pages(1)
		t.eachInTree(1, func(pgno, _ uint32) {
			if t.base.has(pgno) {
				pages--
			}
		})
	}
	if pages == 0 {
		return 0
	}
	src := t.sources.assign(Source{f, t.sources.get(from).Version})
	t.sources.add(src, pages)
	t.sources.add(from, -pages)
	t.base.src, t.base.end, t.base.lockPgno = src, min(t.base.end, f.Commit), f.Dense.LockPgno
	return pages
}
