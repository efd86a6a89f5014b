package pages

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/view"
)

// varint appends a varint of SQLite, as far as tests need it.
func varint(b []byte, n int64) []byte {
	all := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		all = append(all, byte(n&0x7f)|0x80)
	}
	slices.Reverse(all)
	return append(b, all...)
}

// record returns a record with values that are integers, texts, blobs or nil.
func record(values ...any) []byte {
	var types, body []byte
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			types = append(types, 0)
		case int:
			types = append(types, 6)
			body = binary.BigEndian.AppendUint64(body, uint64(v))
		case string:
			types = varint(types, int64(13+2*len(v)))
			body = append(body, v...)
		case []byte:
			types = varint(types, int64(12+2*len(v)))
			body = append(body, v...)
		default:
			panic(fmt.Sprintf("a value of type %T", v))
		}
	}
	size := 1 + len(types)
	if size > 127 {
		size++ // a longer varint
	}
	return slices.Concat(varint(nil, int64(size)), types, body)
}

// row is a row of a table.
type row struct {
	rowid  int
	values []any
}

// tableLeaf returns a leaf of a table.
func tableLeaf(rows ...row) []byte {
	var cells [][]byte
	for _, r := range rows {
		rec := record(r.values...)
		cells = append(cells, append(varint(varint(nil, int64(len(rec))), int64(r.rowid)), rec...))
	}
	return indexPage(byte(btree.LeafTable), 0, cells...)
}

// tableInner returns an interior page of a table: the rowids below child i end with
// (i+1)*step.
func tableInner(step int, children ...uint32) []byte {
	return tableInnerFrom(0, step, children...)
}

// tableInnerFrom is tableInner for rowids beyond one.
func tableInnerFrom(beyond, step int, children ...uint32) []byte {
	var cells [][]byte
	last := len(children) - 1
	for i, child := range children[:last] {
		cells = append(cells, varint(binary.BigEndian.AppendUint32(nil, child), int64(beyond+(i+1)*step)))
	}
	return indexPage(byte(btree.InteriorTable), children[last], cells...)
}

// entry is an entry of an index.
type entry []any

// indexLeaf returns a leaf of an index.
func indexLeaf(entries ...entry) []byte {
	var cells [][]byte
	for _, e := range entries {
		rec := record(e...)
		cells = append(cells, append(varint(nil, int64(len(rec))), rec...))
	}
	return indexPage(byte(btree.LeafIndex), 0, cells...)
}

// indexInner returns an interior page of an index, with the entries between its
// children.
func indexInner(children []uint32, between ...entry) []byte {
	var cells [][]byte
	for i, e := range between {
		rec := record(e...)
		cells = append(cells, append(varint(binary.BigEndian.AppendUint32(nil, children[i]), int64(len(rec))), rec...))
	}
	return indexPage(byte(btree.InteriorIndex), children[len(between)], cells...)
}

// schemaPage returns page 1 of a database with trees. The name of an index is followed
// by a colon and that of its table.
func schemaPage(roots map[string]uint32) []byte {
	p := make([]byte, bedPageSize)
	copy(p, "SQLite format 3\x00\x02\x00\x01\x01")
	p[100] = byte(btree.LeafTable)
	at, header, n := len(p), 108, 0
	for _, key := range slices.Sorted(maps.Keys(roots)) {
		name, table, ok := strings.Cut(key, ":")
		if !ok {
			table = name
		}
		rec := record("tree", name, table, int(roots[key]))
		cell := append(varint(varint(nil, int64(len(rec))), int64(n+1)), rec...)
		at -= len(cell)
		copy(p[at:], cell)
		binary.BigEndian.PutUint16(p[header+2*n:], uint16(at))
		n++
	}
	binary.BigEndian.PutUint16(p[103:], uint16(n))
	binary.BigEndian.PutUint16(p[105:], uint16(at))
	return p
}

// openTrees opens a database with pages of trees. What is not among them is zeros.
// Only the pages that are named are known, and all others if there are none.
func openTrees(t *testing.T, all map[uint32][]byte, known ...uint32) (*hookClient, *bed, treeWalk) {
	t.Helper()
	all = maps.Clone(all)
	last := slices.Max(slices.Collect(maps.Keys(all)))
	if all[1] == nil {
		all[1] = schemaPage(nil)
	}
	for pgno := uint32(1); pgno <= last; pgno++ {
		if all[pgno] == nil {
			all[pgno] = make([]byte, bedPageSize)
		}
	}
	client := newHookClient()
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, last, 1000, all)
	b := openBed(t, client, Options{})
	b.dropCache()
	v := b.Current.Load()
	if len(known) == 0 {
		known = slices.Sorted(maps.Keys(all))
	}
	for _, pgno := range known {
		if _, err := b.source.Page(t.Context(), v, pgno); err != nil {
			t.Fatal(err)
		}
	}
	client.opens.Store(0)
	return client, b, treeWalk{pages: b.source, v: v}
}
