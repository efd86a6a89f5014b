package pages

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/fulltext"
)

// These are the roots of the trees of textTrees.
const (
	rootDocs   = 2 // a table with leaves 10 to 29, each of a hundred rowids
	rootLeaves = 6 // the table f_data: page 30 has the structure, 31 to 34 the leaves of segment 1, 35 to 37 those of segment 2
	rootTerms  = 7 // the table f_idx, one page
)

var segmentOne, segmentTwo = fulltext.Segment{ID: 1, First: 1, Last: 4}, fulltext.Segment{ID: 2, First: 1, Last: 3}

// textLeaf returns a leaf of a full-text index with the rows of each term.
func textLeaf(terms []string, rowids map[string][]int64) []byte {
	b := make([]byte, 4)
	var at []int
	for i, term := range terms {
		at = append(at, len(b))
		if i > 0 {
			b = append(b, 0) // nothing in common with the term before
		}
		b = append(varint(b, int64(len(term))), term...)
		last := int64(0)
		for _, rowid := range rowids[term] {
			b = append(varint(b, rowid-last), 0)
			last = rowid
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	last := 0
	for _, off := range at {
		b = varint(b, int64(off-last))
		last = off
	}
	return b
}

// textTrees returns the pages of a table and its full-text index of two segments.
func textTrees() map[uint32][]byte {
	structure := []byte{0, 0, 0, 0, 1, 2, 0, 0, 2}
	for _, s := range []fulltext.Segment{segmentTwo, segmentOne} { // the oldest one comes first
		structure = append(structure, byte(s.ID), byte(s.First), byte(s.Last))
	}
	all := map[uint32][]byte{
		1:        schemaPage(map[string]uint32{"docs": rootDocs, "f_data": rootLeaves, "f_idx": rootTerms}),
		rootDocs: tableInner(100, pgnoRange(10, 29)...),
		rootTerms: indexLeaf(
			entry{1, []byte("g"), 2 << 1}, entry{1, []byte("m"), 3 << 1}, entry{1, []byte("t"), 4 << 1},
			entry{2, []byte("h"), 2 << 1}, entry{2, []byte("p"), 3 << 1},
		),
		30: tableLeaf(row{fulltext.StructureID, []any{fulltext.StructureID, structure}}),
	}
	var inner [][]byte
	for i := range 20 {
		all[uint32(10+i)] = tableLeaf(row{100*i + 50, []any{"a document"}})
	}
	add := func(pgno uint32, rowid int64) {
		inner = append(inner, varint(binary.BigEndian.AppendUint32(nil, pgno), rowid))
	}
	add(30, fulltext.StructureID)
	for i, s := range []fulltext.Segment{segmentOne, segmentTwo} {
		for page := s.First; page <= s.Last; page++ {
			pgno, id := uint32(30+4*i)+uint32(page), s.LeafID(page)
			blob := textLeaf([]string{"0term", "0word"}, map[string][]int64{"0term": {1950}, "0word": {50, 150, 450, 1150}})
			all[pgno] = tableLeaf(row{int(id), []any{nil, blob}})
			add(pgno, id)
		}
	}
	all[rootLeaves] = indexPage(byte(btree.InteriorTable), 38, inner...)
	all[38] = tableLeaf()
	return all
}

// textDescentOf returns a descent through the index.
func textDescentOf(w treeWalk) textDescent {
	return textDescent{w: w, x: &textIndex{leaves: rootLeaves, terms: rootTerms}, steps: maxSteps}
}

// The leaves of a segment that may have a term are those from the last one that begins
// with it, or before it, on.
func TestTextDescent_Leaves(t *testing.T) {
	for _, tc := range []struct {
		segment     fulltext.Segment
		least, most string
		n           int
		want        []int64
	}{
		{segmentOne, "a", "b", 3, []int64{1}},
		{segmentOne, "a", "h", 3, []int64{1, 2}},
		{segmentOne, "g", "h", 3, []int64{2}},
		{segmentOne, "h", "i", 3, []int64{2}},
		{segmentOne, "h", "n", 3, []int64{2, 3}},
		{segmentOne, "h", "m", 3, []int64{2}}, // most is not in the range
		{segmentOne, "z", "", 3, []int64{4}},
		{segmentOne, "", "", 3, nil}, // too many
		{segmentOne, "", "", 4, []int64{1, 2, 3, 4}},
		{segmentTwo, "a", "b", 3, []int64{1}},
		{segmentTwo, "q", "r", 3, []int64{3}},
		{segmentTwo, "", "", 3, []int64{1, 2, 3}},
		{fulltext.Segment{ID: 3, First: 2, Last: 9}, "a", "b", 3, []int64{2}}, // has no entries
	} {
		synctest.Test(t, func(t *testing.T) {
			_, _, w := openTrees(t, textTrees())
			d := textDescentOf(w)
			r := termRange{least: []byte(tc.least)}
			if tc.most != "" {
				r.most = []byte(tc.most)
			}
			if got := d.leavesOf(tc.segment, r, tc.n); !slices.Equal(got, tc.want) || len(d.missing) > 0 {
				t.Errorf("terms %q to %q are in leaves %v of segment %d, want %v", tc.least, tc.most, got, tc.segment.ID, tc.want)
			}
		})
	}
}

// Where an entry cannot be read, what comes before it is found.
func TestTextDescent_BadEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := textTrees()
		all[rootTerms] = indexLeaf(entry{1, []byte("g"), 2 << 1}, entry{"no segment", 1}, entry{5, []byte("h"), 2 << 1})
		_, _, w := openTrees(t, all)
		d := textDescentOf(w)
		if n := d.search(pageOf(t, w, rootTerms), func(e textEntry) bool { return e.segment < 3 }); n != 1 {
			t.Errorf("the first entry that is not before a place is %d, want 1", n)
		}
	})
}

// A term that SQLite looks up in one segment is looked up in the others, too. What is
// not known of the index is fetched first.
func TestTextIndexes_Lead(t *testing.T) {
	all := []uint32{1, rootDocs, rootLeaves, rootTerms, 30}
	without := func(pgno uint32) []uint32 {
		return slices.DeleteFunc(slices.Clone(all), func(p uint32) bool { return p == pgno })
	}
	for _, tc := range []struct {
		name  string
		known []uint32
		pgno  uint32 // that is missed
		want  []uint32
	}{
		{"from h to p, in segment 2", all, 36, []uint32{32, 33}},
		{"from t on, in segment 1", all, 34, []uint32{37}},
		{"the structure is not known", without(30), rootTerms, []uint32{30}},
		{"the terms are not known", without(rootTerms), 36, []uint32{rootTerms}},
		{"the table", all, 12, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, _, w := openTrees(t, textTrees(), tc.known...)
			var texts textIndexes
			got := texts.lead(w, tc.pgno)
			if slices.Sort(got); !slices.Equal(slices.Compact(got), tc.want) {
				t.Errorf("%s: page %d leads to %v, want %v", tc.name, tc.pgno, got, tc.want)
			}
		})
	}
}

// The rows of a term in a full-text index lead to an arrival, in either direction, or
// those of terms with a prefix.
func TestJoins_LearnFromText(t *testing.T) {
	word := map[string][]int64{"0term": {1950}, "0word": {50, 150, 450, 1150}}
	many := map[string][]int64{"0word": {50, 450}}
	manyTerms := []string{}
	for i := range 2 * maxTerms {
		term := "0no" + string(rune('a'+i))
		many[term] = []int64{250}
		manyTerms = append(manyTerms, term)
	}
	for _, tc := range []struct {
		terms           []string
		rowids          map[string][]int64
		before, arrival uint32
		next            int64 // row that the nest goes on with; 0: none
	}{
		{[]string{"0term", "0word"}, word, 10, 11, 150},
		{[]string{"0term", "0word"}, word, 14, 21, 1150},
		{[]string{"0term", "0word"}, word, 11, 10, 50},
		{[]string{"0term", "0word"}, word, 10, 28, 0},
		{[]string{"0tea", "0team"}, map[string][]int64{"0tea": {50}, "0team": {150}}, 10, 11, 150},
		{[]string{"0tea", "1team"}, map[string][]int64{"0tea": {50}, "1team": {150}}, 10, 11, 0}, // have no prefix in common
		{append(manyTerms, "0word"), many, 10, 14, 450},
	} {
		synctest.Test(t, func(t *testing.T) {
			trees := textTrees()
			trees[32] = tableLeaf(row{int(segmentOne.LeafID(2)), []any{nil, textLeaf(tc.terms, tc.rowids)}})
			_, _, w := openTrees(t, trees)
			j := &joins{work: maxWork}
			j.reads(w, 32, tc.before)
			n := j.learnFromText(w, j.arrives(t, w, tc.arrival, tc.before))
			if n == nil {
				if tc.next != 0 {
					t.Errorf("%v: nothing explains pages %d and %d", tc.rowids, tc.before, tc.arrival)
				}
				return
			}
			if len(j.links) != 1 || j.links[0].dst != rootDocs {
				t.Errorf("%v: links %+v", tc.rowids, j.links)
			}
			r, _, _ := n.rows.next()
			v, _ := r.key(0)
			if rowid, _ := v.Integer(); n.root != listRoot || rowid != tc.next {
				t.Errorf("%v: after pages %d and %d, it goes on with row %d, want %d", tc.rowids, tc.before, tc.arrival, rowid, tc.next)
			}
		})
	}
}

// An entry that cannot be read, or leads to no leaf, is none.
func TestEntryOf(t *testing.T) {
	for _, tc := range []struct {
		entry entry
		ok    bool
	}{
		{entry{1, []byte("g"), 2 << 1}, true}, {entry{1, []byte("g"), 2<<1 + 1}, true}, {entry{1, []byte("g"), 0}, false},
		{entry{1, []byte("g")}, false}, {entry{1, []byte("g"), "two"}, false}, {entry{1, "g", 2 << 1}, false}, {entry{"one", []byte("g"), 2 << 1}, false},
	} {
		page, ok := btree.Parse(indexLeaf(tc.entry), 2, bedPageSize)
		if !ok {
			t.Fatalf("%v: it is no page", tc.entry)
		}
		if e, ok := entryOf(page, 0); ok != tc.ok || ok && (e.segment != 1 || string(e.term) != "g" || e.page != 2) {
			t.Errorf("%v: %+v, %v, want %v", tc.entry, e, ok, tc.ok)
		}
	}
}
