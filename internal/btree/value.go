package btree

import (
	"bytes"
	"cmp"
)

// Value is an integer, a text or a blob in a record. The zero Value is none of
// them.
type Value struct {
	class valueClass
	i     int64
	b     []byte // a part of the page
}

type valueClass uint8

const (
	noValue valueClass = iota
	integerValue
	textValue
	blobValue
)

// IntegerValue returns the value of an integer.
func IntegerValue(i int64) Value { return Value{class: integerValue, i: i} }

// TextValue returns the value of a text in UTF-8.
func TextValue(s string) Value { return Value{class: textValue, b: []byte(s)} }

// Integer returns the integer that v is, false if it is none.
func (v Value) Integer() (int64, bool) { return v.i, v.class == integerValue }

// Blob returns the bytes of the blob that v is, false if it is none. They are a part
// of the page.
func (v Value) Blob() ([]byte, bool) { return v.b, v.class == blobValue }

// Text returns the bytes of the text that v is, false if it is none. They are a part
// of the page.
func (v Value) Text() ([]byte, bool) { return v.b, v.class == textValue }

// Compare compares values in the order of SQLite, with the collation BINARY.
// Both must be values.
func (v Value) Compare(u Value) int {
	if v.class != u.class {
		return cmp.Compare(v.class, u.class)
	}
	if v.class == integerValue {
		return cmp.Compare(v.i, u.i)
	}
	return bytes.Compare(v.b, u.b)
}

// Rowid is the number of the column that Values gives the rowid of a row of a
// table.
const Rowid = -1

// MaxColumns is how many columns of a record Values looks at. A record can have
// tens of thousands of them, and cells that overlap can share such a record.
const MaxColumns = 256

// Values calls fn with the columns of the record in cell i: first with the
// rowid, if the page is a leaf of a table, then with the columns from 0 on.
// Columns that are neither integers nor texts nor blobs are left out, those that
// are not on the page, and those from MaxColumns on. It stops when fn returns
// false.
func (p Page) Values(i int, fn func(column int, v Value) bool) {
	if p.kind == LeafTable {
		rowid, ok := p.Rowid(i)
		if !ok || !fn(Rowid, IntegerValue(rowid)) {
			return
		}
	}
	at, ok := p.payload(i)
	if !ok {
		return
	}
	rec, n := p.data[at.off:at.off+at.local], 0
	eachColumn(rec, func(c column) bool {
		v, ok := valueOf(rec, c)
		n++
		return (!ok || fn(n-1, v)) && n < MaxColumns
	})
}

// Value returns column n of the record in cell i, or the rowid if n is
// [Rowid]. It returns false in the cases in which [Page.Values] leaves the
// column out.
func (p Page) Value(i, n int) (found Value, ok bool) {
	if n == Rowid && p.kind != LeafTable {
		return Value{}, false
	}
	if n == Rowid {
		rowid, ok := p.Rowid(i)
		return IntegerValue(rowid), ok
	}
	at, ok := p.payload(i)
	if !ok {
		return Value{}, false
	}
	rec, k := p.data[at.off:at.off+at.local], 0
	eachColumn(rec, func(c column) bool {
		if k == n {
			found, ok = valueOf(rec, c)
		}
		k++
		return k <= n
	})
	return found, !found.IsNone()
}

func valueOf(rec []byte, c column) (Value, bool) {
	switch {
	case c.serial >= 12 && c.serial%2 == 0:
		return Value{class: blobValue, b: rec[c.start:c.end:c.end]}, true
	case c.serial >= 12:
		return Value{class: textValue, b: rec[c.start:c.end:c.end]}, true
	}
	if i, ok := integer(rec[:c.end], c.serial); ok {
		return IntegerValue(i), true
	}
	return Value{}, false
}

// Range returns the cells of a page of an index whose first column is v: they
// are first to end-1. In an interior page, the entries that are below the
// children first to end have it, too, or some of them, or none. Ok is false if
// the page is not one of an index, or its cells have other first columns than
// integers, texts and blobs.
func (p Page) Range(v Value) (first, end int, ok bool) {
	if p.kind != LeafIndex && p.kind != InteriorIndex || v.class == noValue {
		return 0, 0, false
	}
	if first = p.bound(v, 0); first < 0 {
		return 0, 0, false
	}
	end = p.bound(v, 1)
	return first, end, end >= first
}

// bound returns the first cell whose first column compares to v as at least
// least, and the number of cells if there is none. It returns -1 if it meets a
// cell without a value.
func (p Page) bound(v Value, least int) int {
	lo, hi := 0, int(p.cells)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		u, ok := p.firstColumn(mid)
		if !ok {
			return -1
		}
		if u.Compare(v) < least {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// firstColumn returns the first column of the record in cell i of an index. A
// NULL is less than every value, as the zero Value is.
func (p Page) firstColumn(i int) (Value, bool) {
	at, ok := p.payload(i)
	if !ok {
		return Value{}, false
	}
	rec := p.data[at.off : at.off+at.local]
	var v Value
	ok = false
	eachColumn(rec, func(c column) bool {
		v, ok = valueOf(rec, c)
		ok = ok || c.serial == 0
		return false
	})
	return v, ok
}

// IsNone reports whether v is the zero Value.
func (v Value) IsNone() bool { return v.class == noValue }

// Key returns what cell i of an interior page says of the keys below its
// children: the rowid of a table, or the first column of an index. It returns
// false if there is no such cell, or the column is no value.
func (p Page) Key(i int) (Value, bool) {
	if p.kind == InteriorTable {
		rowid, ok := p.Rowid(i)
		return IntegerValue(rowid), ok
	}
	v, ok := p.firstColumn(i)
	return v, ok && !v.IsNone()
}
