package btree

import "encoding/binary"

// maxPayload is the size of the largest record that SQLite writes.
const maxPayload = 1<<31 - 1

// payload describes where the record of a cell is stored.
type payload struct {
	off   int // offset of the first byte in the page
	size  int // size of the whole record, in bytes
	local int // number of bytes on the page; overflow pages hold the rest
}

// payload returns the location of the record of cell i, or false if there is
// none. If a part of the record is not on the page, the number of the first
// overflow page follows the local part.
func (p Page) payload(i int) (payload, bool) {
	off := p.cell(i)
	if off == 0 || p.kind == InteriorTable {
		return payload{}, false
	}
	if p.kind == InteriorIndex {
		off += 4
	}
	n, off := Varint(p.data, off)
	if off == 0 || n == 0 || n > maxPayload {
		return payload{}, false
	}
	usable, size := len(p.data), int(n)
	maxLocal := (usable-12)*64/255 - 23
	if p.kind == LeafTable {
		maxLocal = usable - 35
		if _, off = Varint(p.data, off); off == 0 { // the rowid
			return payload{}, false
		}
	}
	local, end := size, off+size
	if size > maxLocal {
		minLocal := (usable-12)*32/255 - 23
		if local = minLocal + (size-minLocal)%(usable-4); local > maxLocal {
			local = minLocal
		}
		end = off + local + 4
	}
	return payload{off: off, size: size, local: local}, end <= usable
}

// Overflow returns the first page of the overflow chain of cell i and the
// number of pages that the chain must have. It returns false if the cell has no
// overflow chain.
func (p Page) Overflow(i int) (first uint32, pages int, ok bool) {
	rec, ok := p.payload(i)
	if !ok || rec.local == rec.size {
		return 0, 0, false
	}
	if first = binary.BigEndian.Uint32(p.data[rec.off+rec.local:]); first == 0 {
		return 0, 0, false
	}
	perPage := len(p.data) - 4
	return first, (rec.size - rec.local + perPage - 1) / perPage, true
}

// OverflowFrom returns the number of pages of the overflow chain that starts at
// page first and belongs to a cell of this page. It returns 0 if there is no
// such chain. It scans all cells.
func (p Page) OverflowFrom(first uint32) int {
	if first == 0 {
		return 0
	}
	for i := range int(p.cells) {
		if got, pages, ok := p.Overflow(i); ok && got == first {
			return pages
		}
	}
	return 0
}

// column describes where a column of a record is stored: its serial type and
// its value from start to end.
type column struct {
	serial     uint64
	start, end int
}

// eachColumn calls fn with the columns of a record until fn returns false or a
// column is not within rec. It reports whether fn was called for all columns
// and there is at least one.
func eachColumn(rec []byte, fn func(column) bool) bool {
	headerSize, pos := Varint(rec, 0)
	if pos == 0 || headerSize <= uint64(pos) || headerSize > uint64(len(rec)) {
		return false
	}
	header := rec[:headerSize]
	c := column{end: len(header)}
	for pos < len(header) {
		c.start = c.end
		c.serial, pos = Varint(header, pos)
		n, ok := columnSize(c.serial)
		if pos == 0 || !ok || n > uint64(len(rec)-c.end) {
			return false
		}
		c.end += int(n)
		if !fn(c) {
			return false
		}
	}
	return true
}

// columnSize returns the size in bytes of a column of the given serial type. It
// returns false for a type that no record contains.
func columnSize(serial uint64) (uint64, bool) {
	if serial >= 12 {
		return (serial - 12) / 2, true // a blob or a text
	}
	sizes := [12]uint8{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}
	return uint64(sizes[serial]), serial < 10
}

// integer returns the integer at the end of rec. It returns false if the serial
// type is not an integer.
func integer(rec []byte, serial uint64) (int64, bool) {
	if serial == 8 || serial == 9 {
		return int64(serial - 8), true // constants take no bytes
	}
	if serial < 1 || serial > 6 {
		return 0, false
	}
	n, _ := columnSize(serial)
	b := rec[uint64(len(rec))-n:]
	v := int64(int8(b[0]))
	for _, c := range b[1:] {
		v = v<<8 | int64(c)
	}
	return v, true
}

// varint returns the SQLite varint at b[off:] and the offset after it. The
// offset is 0 if the varint extends beyond b.
func Varint(b []byte, off int) (uint64, int) {
	if off < 0 || off >= len(b) {
		return 0, 0
	}
	b = b[off:]
	if b[0] < 0x80 {
		return uint64(b[0]), off + 1
	}
	var v uint64
	for i, c := range b[:min(len(b), 9)] {
		if i == 8 {
			return v<<8 | uint64(c), off + 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, off + i + 1
		}
	}
	return 0, 0
}

// Record returns the part of the record of cell i that is on the page, the size of
// the whole record in bytes, and the first page of its overflow chain, which is 0 if
// all of it is on the page. It returns false if the cell has no record, or one that
// is damaged.
func (p Page) Record(i int) (local []byte, size int, overflow uint32, ok bool) {
	rec, ok := p.payload(i)
	if !ok {
		return nil, 0, 0, false
	}
	local = p.data[rec.off:][:rec.local:rec.local]
	if rec.local < rec.size {
		if overflow = binary.BigEndian.Uint32(p.data[rec.off+rec.local:]); overflow == 0 {
			return nil, 0, 0, false
		}
	}
	return local, rec.size, overflow, true
}

// Columns calls fn with the serial type and the bytes of each column of a whole
// record, until fn returns false. It reports whether the record is intact and fn
// was called for all of its columns.
func Columns(rec []byte, fn func(serial uint64, value []byte) bool) bool {
	return eachColumn(rec, func(c column) bool { return fn(c.serial, rec[c.start:c.end]) })
}

// Integer returns the integer with a serial type, from the bytes of its column. It
// returns false if the serial type is not an integer.
func Integer(serial uint64, value []byte) (int64, bool) { return integer(value, serial) }
