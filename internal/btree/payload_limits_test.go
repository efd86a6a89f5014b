package btree

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// cellPage returns a page of 512 bytes with one cell, which begins at an offset. Bytes
// beyond the page are cut off.
func cellPage(t *testing.T, kind Kind, at int, cell ...byte) Page {
	t.Helper()
	data := make([]byte, 512)
	data[0], data[4] = byte(kind), 1
	binary.BigEndian.PutUint16(data[5:], uint16(at))
	array := 8
	if kind.IsInterior() {
		binary.BigEndian.PutUint32(data[8:], 99)
		array = 12
	}
	binary.BigEndian.PutUint16(data[array:], uint16(at))
	copy(data[at:], cell)
	p, ok := Parse(data, 2, len(data))
	if !ok || p.Cells() != 1 {
		t.Fatalf("page has %d cells, %v", p.Cells(), ok)
	}
	return p
}

// uvarint returns n as a varint of SQLite.
func uvarint(n uint64) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		b = append([]byte{0x80 | byte(n&0x7f)}, b...)
	}
	return b
}

// TestPage_Local reads records of all sizes around those from which on a part of them is
// in an overflow chain, by the rules of the file format for pages of 512 bytes.
func TestPage_Local(t *testing.T) {
	const usable = 512
	for kind, most := range map[Kind]int{LeafTable: usable - 35, LeafIndex: (usable-12)*64/255 - 23, InteriorIndex: (usable-12)*64/255 - 23} {
		least := (usable-12)*32/255 - 23
		for size := 1; size <= 3*usable; size++ {
			local := size
			if size > most {
				if local = least + (size-least)%(usable-4); local > most {
					local = least
				}
			}
			var cell []byte
			if kind == InteriorIndex {
				cell = append(cell, 0, 0, 0, 7)
			}
			cell = append(cell, uvarint(uint64(size))...)
			if kind == LeafTable {
				cell = append(cell, 5) // the rowid
			}
			for i := range local {
				cell = append(cell, byte(i+1))
			}
			if local < size {
				cell = append(cell, 0, 0, 1, 2)
			}
			end := max(len(cell), minCellSize)
			p := cellPage(t, kind, usable-end, cell...)
			got, n, overflow, ok := p.Record(0)
			if isOver := local < size; !ok || len(got) != local || n != size || got[local-1] != byte(local) || (overflow == 258) != isOver {
				t.Fatalf("kind %d, %d bytes: %d of %d are local, the rest is at page %d, %v; want %d", kind, size, len(got), n, overflow, ok, local)
			}
			if first, pages, ok := p.Overflow(0); ok != (local < size) || ok && (first != 258 || pages != (size-local+507)/508) {
				t.Fatalf("kind %d, %d bytes: %d pages from %d on, %v", kind, size, pages, first, ok)
			}
			// A byte less, and the record goes beyond the page.
			if end > minCellSize {
				p = cellPage(t, kind, usable-end+1, cell...)
				if _, n, _, ok := p.Record(0); ok {
					t.Fatalf("kind %d, %d bytes: a record of %d bytes goes beyond its page", kind, size, n)
				}
				if first, pages, ok := p.Overflow(0); ok {
					t.Fatalf("kind %d, %d bytes: %d pages from %d on of a record that goes beyond its page", kind, size, pages, first)
				}
			}
		}
	}
}

// TestPage_NoRecord reads cells that have no record, or one that no SQLite writes.
func TestPage_NoRecord(t *testing.T) {
	for name, c := range map[string]struct {
		kind Kind
		at   int
		cell []byte
		ok   bool
	}{
		"a record":                      {LeafTable, 500, []byte{2, 5, 2, 8}, true},
		"no bytes":                      {LeafTable, 500, []byte{0, 5, 2, 8}, false},
		"as many as there can be":       {LeafTable, 20, append(uvarint(maxPayload), 5, 2, 8), true},
		"one more":                      {LeafTable, 20, append(uvarint(maxPayload+1), 5, 2, 8), false},
		"no bytes of an index":          {LeafIndex, 500, []byte{0, 2, 8, 0}, false},
		"a size that is cut off":        {LeafTable, 508, []byte{0x81, 0x81, 0x81, 0x81}, false},
		"a rowid that is cut off":       {LeafTable, 508, []byte{1, 0x81, 0x81, 0x81}, false},
		"a size that is cut off, index": {LeafIndex, 508, []byte{0x81, 0x81, 0x81, 0x81}, false},
		"an interior page of a table":   {InteriorTable, 500, []byte{0, 0, 0, 7, 5, 2, 8}, false},
	} {
		if c.at == 20 { // the part on the page is followed by the first page of the chain
			c.cell = append(c.cell, bytes.Repeat([]byte{1}, 480)...)
		}
		p := cellPage(t, c.kind, c.at, c.cell...)
		if local, size, overflow, ok := p.Record(0); ok != c.ok || !ok && (local != nil || size != 0 || overflow != 0) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(local), size, ok)
		}
		n := 0
		p.Values(0, func(column int, _ Value) bool {
			if column != Rowid {
				n++
			}
			return true
		})
		if !c.ok && n > 0 {
			t.Errorf("%s: %d values", name, n)
		}
		if v, ok := p.Value(0, 0); ok && !c.ok {
			t.Errorf("%s: value %v", name, v)
		}
	}
	for _, kind := range []Kind{LeafTable, LeafIndex, InteriorIndex, InteriorTable} {
		p := cellPage(t, kind, 490, 2, 5, 2, 8, 2, 5, 2, 8)
		for _, i := range []int{-1, 1, 2} {
			if local, _, _, ok := p.Record(i); ok {
				t.Errorf("kind %d has cell %d of one, with %d bytes", kind, i, len(local))
			}
		}
	}
	// Without its size, the rowid of a row is not known.
	p := cellPage(t, LeafTable, 508, 0x81, 0x81, 0x81, 0x81)
	if rowid, ok := p.Rowid(0); ok || rowid != 0 {
		t.Errorf("rowid %d of a cell that is cut off", rowid)
	}
	if first, end, ok := cellPage(t, LeafIndex, 490, 3, 2, 1, 5).Range(Value{}); ok || first != 0 || end != 0 {
		t.Errorf("range %d to %d of no value", first, end)
	}
	if rowid, ok := cellPage(t, LeafIndex, 490, 3, 2, 1, 5).Rowid(0); ok || rowid != 0 {
		t.Errorf("rowid %d of an index", rowid)
	}
	if i := cellPage(t, InteriorTable, 490, 0, 0, 0, 0, 5).IndexOf(0); i != -1 {
		t.Errorf("page 0 is child %d", i)
	}
	// A cell without a record has no key.
	for _, kind := range []Kind{LeafIndex, InteriorIndex} {
		p = cellPage(t, kind, 490, make([]byte, 22)...)
		if first, end, ok := p.Range(IntegerValue(1)); ok || first != 0 || end != 0 {
			t.Errorf("kind %d: range %d to %d of a cell without a record", kind, first, end)
		}
		if v, ok := p.Key(0); ok {
			t.Errorf("kind %d: key %v of a cell without a record", kind, v)
		}
	}
	// A key of another type than those of Value has no range.
	p = cellPage(t, LeafIndex, 490, 10, 2, 7, 1, 2, 3, 4, 5, 6, 7, 8)
	if first, end, ok := p.Range(IntegerValue(1)); ok || first != 0 || end != 0 {
		t.Errorf("range %d to %d of an index of floating-point numbers", first, end)
	}
}

// TestColumns reads records with each serial type that there is, and with those that no
// record has.
func TestColumns(t *testing.T) {
	for serial, want := range map[uint64]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0, 10: -1, 11: -1, 12: 0, 13: 0, 14: 1, 15: 1, 20: 4, 21: 4} {
		rec := append([]byte{3, byte(serial), 1}, bytes.Repeat([]byte{7}, max(0, want)+1)...)
		var got []int
		ok := Columns(rec, func(n uint64, value []byte) bool { got = append(got, len(value)); return true })
		if ok != (want >= 0) || ok && (len(got) != 2 || got[0] != want || got[1] != 1) {
			t.Errorf("serial type %d: columns of %d bytes, %v; want %d", serial, got, ok, want)
		}
		if want > 0 {
			if Columns(rec[:len(rec)-2], func(uint64, []byte) bool { return true }) {
				t.Errorf("serial type %d: a record that is cut off", serial)
			}
		}
	}
	for name, rec := range map[string][]byte{"nothing": nil, "no header": {0}, "a header without columns": {1}, "a header beyond the record": {3, 8}} {
		if Columns(rec, func(uint64, []byte) bool { return true }) {
			t.Errorf("%s is a record", name)
		}
	}
	// A type that is cut off is no column.
	calls := 0
	if Columns([]byte{3, 8, 0x81, 7, 7, 7, 7}, func(uint64, []byte) bool { calls++; return true }) || calls != 1 {
		t.Errorf("%d columns of a header that is cut off", calls)
	}
	// An empty blob is no text.
	p := cellPage(t, LeafTable, 490, 3, 5, 3, 12, 13)
	if b, ok := must(p.Value(0, 0)).Blob(); !ok || len(b) != 0 {
		t.Errorf("an empty blob is %x, %v", b, ok)
	}
	if b, ok := must(p.Value(0, 1)).Text(); !ok || len(b) != 0 {
		t.Errorf("an empty text is %q, %v", b, ok)
	}
}

func must(v Value, ok bool) Value {
	if !ok {
		panic("there is no value")
	}
	return v
}

// TestValues_Many reads a record of more columns than are looked at.
func TestValues_Many(t *testing.T) {
	for _, columns := range []int{1, MaxColumns - 1, MaxColumns, MaxColumns + 1, MaxColumns + 100} {
		head := uvarint(uint64(columns + 2)) // which take two bytes, or one more byte is a column
		if len(head) == 1 {
			head = uvarint(uint64(columns + 1))
		}
		rec := append(head, bytes.Repeat([]byte{8}, columns)...)
		cell := append(append(uvarint(uint64(len(rec))), 5), rec...)
		p := cellPage(t, LeafTable, 512-len(cell), cell...)
		n := 0
		p.Values(0, func(column int, v Value) bool {
			if column != Rowid {
				if i, ok := v.Integer(); !ok || i != 0 || column != n {
					t.Errorf("column %d is %v, want column %d", column, v, n)
				}
				n++
			}
			return true
		})
		if want := min(columns, MaxColumns); n != want {
			t.Errorf("%d of %d columns, want %d", n, columns, want)
		}
	}
}
