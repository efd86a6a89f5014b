package view

import (
	"math/bits"
	"sync/atomic"
)

// Bitmap is a set of page numbers from 1 to a limit. It takes memory only for
// ranges in which it has pages. It is safe for concurrent use.
type Bitmap struct {
	words uint64                    // limit, in words of 64 pages
	nodes []atomic.Pointer[bitNode] // nil where the set has no page
}

// bitNode holds 4 million pages. A header may say any size of a database, so that
// a set must not take memory in proportion to that.
type bitNode [nodeLeaves]atomic.Pointer[bitLeaf]

// bitLeaf holds 4096 pages.
type bitLeaf [leafWords]atomic.Uint64

const (
	leafWords  = 64
	nodeLeaves = 1024
	nodeWords  = nodeLeaves * leafWords
)

// NewBitmap returns an empty set with room for the pages from 1 to pages.
func NewBitmap(pages uint32) *Bitmap {
	words := (uint64(pages) + 63) / 64
	return &Bitmap{words, make([]atomic.Pointer[bitNode], (words+nodeWords-1)/nodeWords)}
}

// Clone returns a copy.
func (b *Bitmap) Clone() *Bitmap {
	c := &Bitmap{b.words, make([]atomic.Pointer[bitNode], len(b.nodes))}
	for i := range b.nodes {
		node := b.nodes[i].Load()
		if node == nil {
			continue
		}
		copied := new(bitNode)
		for j := range node {
			from := node[j].Load()
			if from == nil {
				continue
			}
			leaf := new(bitLeaf)
			for k := range leaf {
				leaf[k].Store(from[k].Load())
			}
			copied[j].Store(leaf)
		}
		c.nodes[i].Store(copied)
	}
	return c
}

// RoomFor returns a bitmap with room for more pages, which replaces b. It shares
// the memory of b.
func (b *Bitmap) RoomFor(pages uint32) *Bitmap {
	if (uint64(pages)+63)/64 <= b.words {
		return b
	}
	larger := NewBitmap(pages)
	for i := range b.nodes {
		larger.nodes[i].Store(b.nodes[i].Load())
	}
	return larger
}

// word returns word i, nil if it is empty.
func (b *Bitmap) word(i uint64) *atomic.Uint64 {
	if i >= b.words {
		return nil
	}
	leaf := b.leaf(i)
	if leaf == nil {
		return nil
	}
	return &leaf[i%leafWords]
}

// leaf returns the leaf of word i, nil if it is empty. Word i is below the limit.
func (b *Bitmap) leaf(i uint64) *bitLeaf {
	node := b.nodes[i/nodeWords].Load()
	if node == nil {
		return nil
	}
	return node[i/leafWords%nodeLeaves].Load()
}

// Has reports whether a page is in the set.
func (b *Bitmap) Has(pgno uint32) bool {
	i := uint64(pgno) - 1
	w := b.word(i / 64)
	return w != nil && w.Load()>>(i%64)&1 != 0
}

// Set adds a page, unless it is beyond the limit. It reports whether that
// changed the set.
func (b *Bitmap) Set(pgno uint32) bool {
	i := uint64(pgno) - 1
	if i/64 >= b.words {
		return false
	}
	node := &b.nodes[i/64/nodeWords]
	if node.Load() == nil {
		node.CompareAndSwap(nil, new(bitNode))
	}
	slot := &node.Load()[i/64/leafWords%nodeLeaves]
	if slot.Load() == nil {
		slot.CompareAndSwap(nil, new(bitLeaf))
	}
	bit := uint64(1) << (i % 64)
	return slot.Load()[i/64%leafWords].Or(bit)&bit == 0
}

// Clear removes a page. It reports whether that changed the set.
func (b *Bitmap) Clear(pgno uint32) bool {
	i := uint64(pgno) - 1
	w := b.word(i / 64)
	if w == nil {
		return false
	}
	bit := uint64(1) << (i % 64)
	return w.And(^bit)&bit != 0
}

// Count returns how many of the pages from first to last are in the set.
func (b *Bitmap) Count(first, last uint32) (n uint32) {
	if first == 0 {
		first = 1
	}
	end := min(uint64(last), b.words*64)
	for i := uint64(first) - 1; i < end; {
		leaf := b.leaf(i / 64)
		if leaf == nil {
			i = (i/64/leafWords + 1) * leafWords * 64
			continue
		}
		word := leaf[i/64%leafWords].Load() >> (i % 64)
		next := (i/64 + 1) * 64
		if next > end {
			word &= 1<<(end-i) - 1
		}
		n += uint32(bits.OnesCount64(word))
		i = next
	}
	return n
}

// missingIn calls fn with the pages from first to last that are not in the set,
// in order, until fn returns false. Pages beyond the limit are left out.
func (b *Bitmap) missingIn(first, last uint32, fn func(pgno uint32) bool) {
	if first == 0 {
		return
	}
	last = uint32(min(uint64(last), b.words*64))
	for i := uint64(first) - 1; i < uint64(last); {
		word := ^uint64(0)
		if w := b.word(i / 64); w != nil {
			word = ^w.Load()
		}
		if word >>= i % 64; word == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += uint64(bits.TrailingZeros64(word))
		if i >= uint64(last) || !fn(uint32(i)+1) {
			return
		}
		i++
	}
}
