// Package fulltext finds the rows that a full-text index lists. It knows the segments
// of FTS5, whose leaves lie as blobs in the table named after the index with the
// suffix _data. They tell which leaves a query reads, and which rows it is going to
// look up. Nothing depends on their being right.
//
// The format is that of SQLite's ext/fts5/fts5_index.c, whose first comment
// describes it.
package fulltext

import (
	"encoding/binary"
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// A List is the rows whose text has a term, as far as one leaf has them.
type List struct {
	Term   []byte // nil for the rest of a list that begins in an earlier leaf
	Rowids []int64
}

const headerSize = 4

// Parse returns the lists of a leaf, in the order of their terms. It reports false
// if the blob is no leaf.
func Parse(leaf []byte) (lists []List, ok bool) {
	if len(leaf) < headerSize {
		return nil, false
	}
	first, footer := int(binary.BigEndian.Uint16(leaf)), int(binary.BigEndian.Uint16(leaf[2:]))
	if footer < headerSize || footer > len(leaf) || first != 0 && (first < headerSize || first >= footer) {
		return nil, false
	}
	terms, ok := offsets(leaf, footer)
	if !ok {
		return nil, false
	}
	terms = append(terms, footer)
	if first != 0 {
		if first >= terms[0] {
			return nil, false
		}
		lists = append(lists, List{Rowids: rowids(leaf[first:terms[0]])})
	}
	var term []byte
	for i, at := range terms[:len(terms)-1] {
		entry := reader{rest: leaf[at:terms[i+1]]}
		same := uint64(0) // bytes that the term before has, too
		if i > 0 {
			same = entry.varint()
		}
		text := entry.bytes(entry.varint())
		if entry.failed || same > uint64(len(term)) {
			return nil, false
		}
		term = slices.Concat(term[:same], text)
		lists = append(lists, List{term, rowids(entry.rest)})
	}
	return lists, true
}

// offsets returns where the terms of a leaf are. The footer has one number for each,
// the difference to the one before.
func offsets(leaf []byte, footer int) (terms []int, ok bool) {
	r := reader{rest: leaf[footer:]}
	at := uint64(0)
	for len(r.rest) > 0 {
		step := r.varint()
		at += step
		if r.failed || step == 0 || step > uint64(footer) || at < headerSize || at >= uint64(footer) {
			return nil, false
		}
		terms = append(terms, int(at))
	}
	return terms, true
}

// rowids returns the rows of a list, in ascending order. The positions of the terms
// in the row that comes last may go on in the next leaf.
func rowids(list []byte) (all []int64) {
	r := reader{rest: list}
	rowid := int64(0)
	for len(r.rest) > 0 {
		step := int64(r.varint())
		if r.failed || len(all) > 0 && (step <= 0 || rowid+step <= rowid) {
			break
		}
		rowid += step
		all = append(all, rowid)
		if r.bytes(r.varint() / 2); r.failed { // the last bit is set for a deleted row
			break
		}
	}
	return all
}

// reader reads from bytes. It fails beyond their end.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) varint() uint64 {
	v, next := btree.Varint(r.rest, 0)
	if next == 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[next:]
	return v
}

func (r *reader) bytes(n uint64) (b []byte) {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	b, r.rest = r.rest[:n], r.rest[n:]
	return b
}

// WithPrefix returns the rows whose text has a term that begins with a prefix, in
// ascending order and each once.
func WithPrefix(lists []List, prefix string) (rowids []int64) {
	for _, l := range lists {
		if len(l.Term) >= len(prefix) && string(l.Term[:len(prefix)]) == prefix {
			rowids = append(rowids, l.Rowids...)
		}
	}
	slices.Sort(rowids)
	return slices.Compact(rowids)
}
