// Package btree reads the references to other pages in a page of a SQLite
// b-tree: its children, the overflow chains of its cells, and the values that
// lead to rows of other trees. A reader can use them to predict which pages
// SQLite will read next.
//
//	page, ok := btree.Parse(data, pgno, usable)
//	if ok && page.Kind() == btree.InteriorTable {
//		prefetch(page.Child(page.ChildFor(rowid)))
//	}
//
// The results are predictions. They must never determine the result of a query.
// A page on the freelist still looks like the b-tree page it was, and a page
// that is not a b-tree page may look like one by chance. The package does not
// check page numbers against the size of the database, or the order of keys.
//
// All input bytes are untrusted. Every offset is checked before it is used.
// Invalid input gives false, -1 or 0, and never a panic. No function allocates.
//
// The format is described in section 1.6, "B-tree Pages", of
// https://sqlite.org/fileformat2.html.
package btree

import (
	"encoding/binary"
	"math/bits"
)

// Kind is the kind of a b-tree page, the first byte of its header.
type Kind byte

const (
	InteriorIndex Kind = 2
	InteriorTable Kind = 5
	LeafIndex     Kind = 10
	LeafTable     Kind = 13
)

// IsLeaf reports whether a page may be a leaf of a b-tree. It checks only the
// first byte.
func IsLeaf(data []byte) bool {
	return len(data) > 0 && (Kind(data[0]) == LeafTable || Kind(data[0]) == LeafIndex)
}

// IsInterior reports whether pages of this kind have children.
func (k Kind) IsInterior() bool { return k == InteriorIndex || k == InteriorTable }

// Limits of the format.
const (
	fileHeaderSize = 100 // at the start of page 1
	minPageSize    = 512
	maxPageSize    = 65536
	minUsable      = 480
	maxFragmented  = 60
	minCellSize    = 4 // SQLite allocates at least this size for a cell
)

// Page is one parsed b-tree page. It refers to the bytes given to Parse, which
// must not change while the Page is in use. The zero value is a page of no kind
// and without cells.
type Page struct {
	data  []byte // the usable bytes of the page
	array uint16 // offset of the cell pointers, which follow the header
	cells uint16
	low   uint16 // no cell is before this offset
	kind  Kind
}

// Parse returns the b-tree page in data, the content of page pgno. It returns
// false if the bytes cannot be a b-tree page. usable is the page size without
// the reserved bytes at the end of each page, as UsableSize returns it.
//
// Overflow pages start with a page number and are therefore accepted only in
// databases of more than 2^25 pages. Of pages with random bytes, Parse accepts
// less than one in a million, or about one in 10,000 if the page size is 64
// KiB.
func Parse(data []byte, pgno uint32, usable int) (Page, bool) {
	if pgno == 0 || usable < minUsable || usable > maxPageSize || len(data) < usable {
		return Page{}, false
	}
	data = data[:usable:usable]
	start := 0
	if pgno == 1 {
		start = fileHeaderSize
	}
	head := data[start : start+12]
	kind := Kind(head[0])
	array := start + 8
	switch kind {
	case InteriorIndex, InteriorTable:
		array += 4
		if right := binary.BigEndian.Uint32(head[8:]); right == 0 || right == pgno {
			return Page{}, false
		}
	case LeafIndex, LeafTable:
	default:
		return Page{}, false
	}
	free := int(binary.BigEndian.Uint16(head[1:]))
	cells := int(binary.BigEndian.Uint16(head[3:]))
	content := int(binary.BigEndian.Uint16(head[5:]))
	if content == 0 {
		content = maxPageSize
	}
	if array+2*cells > content || content+minCellSize*cells > usable ||
		free != 0 && (free < content || free > usable-4) || head[7] > maxFragmented {
		return Page{}, false
	}
	p := Page{data: data, array: uint16(array), cells: uint16(cells), low: uint16(content), kind: kind}
	switch {
	case pgno == 1 && (kind == InteriorIndex || kind == LeafIndex):
		return Page{}, false // page 1 is the root of the table sqlite_schema
	case cells == 0 && kind.IsInterior() && pgno != 1:
		return Page{}, false // only page 1, which has less room, may have a single child
	case cells > 0 && (p.cell(0) == 0 || p.cell(cells-1) == 0):
		return Page{}, false
	}
	return p, true
}

// UsableSize returns the page size without the reserved bytes, from the header
// in page 1. pageOne must contain at least the first 100 bytes of that page.
func UsableSize(pageOne []byte) (int, bool) {
	if len(pageOne) < fileHeaderSize || string(pageOne[:16]) != "SQLite format 3\x00" {
		return 0, false
	}
	size := int(binary.BigEndian.Uint16(pageOne[16:]))
	if size == 1 {
		size = maxPageSize
	}
	usable := size - int(pageOne[20])
	if size < minPageSize || bits.OnesCount(uint(size)) != 1 || usable < minUsable {
		return 0, false
	}
	return usable, true
}

// Kind returns the kind of the page.
func (p Page) Kind() Kind { return p.kind }

// Cells returns the number of cells.
func (p Page) Cells() int { return int(p.cells) }

// Children returns the number of children, which is 0 for a leaf.
func (p Page) Children() int {
	if !p.kind.IsInterior() {
		return 0
	}
	return int(p.cells) + 1
}

// Child returns the page number of child i, counted from 0 in key order, or 0
// if there is no such child.
func (p Page) Child(i int) uint32 {
	if !p.kind.IsInterior() {
		return 0
	}
	if i == int(p.cells) {
		return p.rightmost()
	}
	if off := p.cell(i); off != 0 {
		return binary.BigEndian.Uint32(p.data[off:])
	}
	return 0
}

// rightmost returns the child after the last cell, which the header holds.
func (p Page) rightmost() uint32 { return binary.BigEndian.Uint32(p.data[p.array-4:]) }

// IndexOf returns the index of the child with page number child, or -1 if there
// is none. It scans all cells.
func (p Page) IndexOf(child uint32) int {
	if child == 0 || !p.kind.IsInterior() {
		return -1
	}
	data, low, last := p.data, int(p.low), len(p.data)-minCellSize
	array := data[p.array:][:2*int(p.cells)]
	for i := 0; len(array) >= 2; i++ {
		off := int(binary.BigEndian.Uint16(array))
		array = array[2:]
		if off >= low && off <= last && binary.BigEndian.Uint32(data[off:]) == child {
			return i
		}
	}
	if p.rightmost() == child {
		return int(p.cells)
	}
	return -1
}

// ChildFor returns the index of the child whose subtree contains rowid if any
// subtree does. It returns -1 if the page is not an interior page of a table.
func (p Page) ChildFor(rowid int64) int {
	if p.kind != InteriorTable {
		return -1
	}
	return p.search(rowid)
}

// Rowid returns the key of cell i of a page of a table. In an interior page the
// key is an upper bound of the rowids under child i.
func (p Page) Rowid(i int) (int64, bool) {
	off := p.cell(i)
	if off == 0 {
		return 0, false
	}
	switch p.kind {
	case LeafTable:
		if _, off = Varint(p.data, off); off == 0 { // the size of the payload
			return 0, false
		}
	case InteriorTable:
		off += 4
	default:
		return 0, false
	}
	key, next := Varint(p.data, off)
	return int64(key), next != 0
}

// Row returns the cell of a leaf of a table that holds the row with a rowid,
// false if there is none.
func (p Page) Row(rowid int64) (int, bool) {
	if p.kind != LeafTable {
		return 0, false
	}
	i := p.search(rowid)
	key, ok := p.Rowid(i)
	return i, ok && key == rowid
}

// search returns the index of the first cell whose key is at least rowid. It
// returns the number of cells if there is none, and -1 if it finds a cell
// without a key.
func (p Page) search(rowid int64) int {
	lo, hi := 0, int(p.cells)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		key, ok := p.Rowid(mid)
		if !ok {
			return -1
		}
		if key < rowid {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// cell returns the offset of cell i, or 0 if there is no such cell. At least
// minCellSize bytes follow the offset.
func (p Page) cell(i int) int {
	if uint(i) >= uint(p.cells) {
		return 0
	}
	off := int(binary.BigEndian.Uint16(p.data[int(p.array)+2*i:]))
	if off < int(p.low) || off > len(p.data)-minCellSize {
		return 0
	}
	return off
}
