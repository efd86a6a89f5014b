package pages

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/btree"
)

// These are the roots of the trees of joinTrees.
const (
	rootT = 2 // a table with leaves 10 to 29, each of a hundred rowids
	rootO = 3 // a table with leaves 40 to 42, each of three rows
	rootX = 4 // an index with leaves 50 to 52
	rootU = 5 // a table like T, with leaves 60 to 79
)

// joinTrees returns pages of trees. The rows of O have a number, in rows, and the first
// leaf of X has entries.
func joinTrees(rows []row, entries ...entry) map[uint32][]byte {
	all := map[uint32][]byte{
		1:     schemaPage(map[string]uint32{"t": rootT, "o": rootO, "u": rootU, "x:o": rootX}),
		rootT: tableInner(100, pgnoRange(10, 29)...), rootU: tableInner(100, pgnoRange(60, 79)...),
		rootO: tableInner(3, 40, 41, 42),
		rootX: indexInner([]uint32{50, 51, 52}, entry{"m", 5000}, entry{"t", 5001}),
		50:    indexLeaf(entries...), 51: indexLeaf(entry{"n", 5002}, entry{"o", 5003}), 52: indexLeaf(entry{"u", 5004}),
	}
	for i := range 20 {
		all[uint32(10+i)] = tableLeaf(row{100*i + 50, []any{"of T"}})
		all[uint32(60+i)] = tableLeaf(row{100*i + 50, []any{"of U"}})
	}
	for i := range 3 {
		all[uint32(40+i)] = tableLeaf(rows[min(3*i, len(rows)):min(3*i+3, len(rows))]...)
	}
	return all
}

// keys returns rows whose first two columns lead to rows of T and U.
func keys(ofT, ofU []int) (rows []row) {
	for i, key := range ofT {
		rows = append(rows, row{i + 1, []any{key, ofU[i]}})
	}
	return rows
}

// inJoin runs a test with trees all of which are known.
func inJoin(t *testing.T, rows []row, entries []entry, do func(w treeWalk, j *joins)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, _, w := openTrees(t, joinTrees(rows, entries...))
		do(w, &joins{work: maxWork})
	})
}

// reads notes leaves that were read.
func (j *joins) reads(w treeWalk, leaves ...uint32) {
	for _, leaf := range leaves {
		j.note(leaf)
	}
	j.fold(w)
}

// arrives returns the arrival at a leaf, after another one of its tree.
func (j *joins) arrives(t *testing.T, w treeWalk, pgno, before uint32) arrival {
	t.Helper()
	a, ok := j.arrive(w, pgno)
	at, ok2 := w.place(before)
	if !ok || !ok2 {
		t.Fatalf("the places of pages %d and %d are known: %v, %v", pgno, before, ok, ok2)
	}
	a.before = w.bounds(at)
	return a
}

// pageOf returns a known page.
func pageOf(t *testing.T, w treeWalk, pgno uint32) btree.Page {
	t.Helper()
	p, ok := w.page(pgno)
	if !ok {
		t.Fatalf("page %d is not known", pgno)
	}
	return p
}

// wantRows compares the rows that a nest goes on with.
func wantRows(t *testing.T, n *nest, root, leaf uint32, k, dir int, only string) {
	t.Helper()
	if n == nil {
		t.Error("there is no nest")
		return
	}
	rows, ok := n.rows.(*leafRows)
	if !ok {
		t.Errorf("the rows are %T", n.rows)
		return
	}
	text, _ := rows.only.Text()
	if n.root != root || rows.leaf != leaf || rows.k != k || rows.dir != dir || string(text) != only {
		t.Errorf("goes on with row %d of page %d of tree %d, in direction %d, with key %q; want row %d of page %d of tree %d, %d, %q",
			rows.k, rows.leaf, n.root, rows.dir, text, k, leaf, root, dir, only)
	}
}

// Entries of an index lead to an arrival where those before them with the same key lead
// to leaves that were read. Without such entries, the first ones that lead there do.
func TestJoins_LearnFrom(t *testing.T) {
	for _, tc := range []struct {
		name    string
		entries []entry
		patient bool
		k       int // 0: nothing is learned
		only    string
	}{
		{"all before them would have been read", []entry{{"a", 50}, {"a", 150}}, false, 1, "a"},
		{"none is explained", []entry{{"a", 1950}, {"a", 50}, {"a", 150}, {"b", 1850}, {"b", 51}, {"b", 151}}, false, 2, "a"},
		{"the second is explained", []entry{{"a", 1950}, {"a", 50}, {"a", 150}, {"b", 51}, {"b", 151}}, false, 4, "b"},
		{"two are, with one key", []entry{{"a", 50}, {"a", 150}, {"a", 60}}, true, 1, "a"},
		{"two are, with two keys", []entry{{"a", 50}, {"a", 150}, {"b", 51}, {"b", 151}}, true, 0, ""},
	} {
		inJoin(t, nil, tc.entries, func(w treeWalk, j *joins) {
			j.reads(w, 50, 10)
			t.Log(tc.name)
			n := j.learnFrom(w, j.arrives(t, w, 11, 10), rootX, 50, pageOf(t, w, 50), tc.patient)
			if tc.k > 0 {
				wantRows(t, n, rootX, 50, tc.k, 1, tc.only)
			} else if n != nil {
				t.Errorf("a nest goes on with %+v", n.rows)
			}
		})
	}
}

// A list explains an arrival if its values between lead to leaves that were read, as long
// as these are not too many to look at.
func TestJoins_Along(t *testing.T) {
	for _, tc := range []struct {
		between int
		ok      bool
	}{{0, true}, {1000, true}, {maxWork/searchWork + 1, false}} {
		inJoin(t, nil, nil, func(w treeWalk, j *joins) {
			j.reads(w, 12, 10)
			values := []btree.Value{btree.IntegerValue(50)}
			for range tc.between {
				values = append(values, btree.IntegerValue(250))
			}
			values = append(values, btree.IntegerValue(150))
			a := j.arrives(t, w, 11, 10)
			if k, ok := j.along(w, a, values); ok != tc.ok || ok && k != tc.between+1 {
				t.Errorf("with %d values between: value %d, %v, want value %d, %v", tc.between, k, ok, tc.between+1, tc.ok)
			}
			j.work = maxWork
			if _, ok := j.along(w, a, []btree.Value{btree.IntegerValue(50), btree.IntegerValue(350), btree.IntegerValue(150)}); ok {
				t.Error("a value leads to a leaf that was not read, and the list explains the arrival")
			}
		})
	}
}

// SQLite asks for the entries with one key if those on either side have it.
func TestJoins_OnlyKey(t *testing.T) {
	inJoin(t, nil, []entry{{"a", 1}, {"a", 2}, {"b", 3}, {"c", 4}, {"c", 5}}, func(w treeWalk, j *joins) {
		page := pageOf(t, w, 50)
		for _, tc := range []struct {
			i, k int
			want string
		}{
			{0, 1, "a"}, {1, 2, ""}, {2, 3, ""}, {1, 0, "a"}, {0, -1, "a"}, {4, 5, "c"}, {3, 2, ""},
		} {
			only := j.onlyKey(rootX, page, tc.i, tc.k)
			if got, _ := only.Text(); string(got) != tc.want {
				t.Errorf("entries %d and %d: key %q, want %q", tc.i, tc.k, got, tc.want)
			}
		}
	})
}

// Two entries of an index have the same key if their first columns are the same.
func TestSameFirst(t *testing.T) {
	inJoin(t, keys([]int{7, 7}, []int{1, 1}), []entry{{"a", 1}, {"a", 2}, {"b", 2}, {nil, 2}, {nil, 2}}, func(w treeWalk, _ *joins) {
		page := pageOf(t, w, 50)
		for _, tc := range []struct {
			i, j int
			want bool
		}{
			{0, 1, true}, {1, 0, true}, {1, 2, false}, {3, 4, false}, {-1, 0, false}, {4, 5, false},
		} {
			if got := sameFirst(page, tc.i, tc.j); got != tc.want {
				t.Errorf("entries %d and %d: %v, want %v", tc.i, tc.j, got, tc.want)
			}
		}
		if sameFirst(pageOf(t, w, 40), 0, 1) {
			t.Error("rows of a table have the same key")
		}
	})
}

// When the outer loop begins anew, the nested loops go on from the first entry with a
// key that leads to the arrival, in the direction in which tables are mostly read. The
// rows that lead to that entry are those of the outermost loop, if there are any.
func TestJoins_Resume(t *testing.T) {
	entries := []entry{{"a", 50}, {"a", 60}, {"b", 150}, {"b", 160}, {"b", 250}}
	fromX := &link{src: rootX, col: 1, dst: rootT, depth: 1, times: 1}
	inJoin(t, nil, entries, func(w treeWalk, j *joins) {
		j.reads(w, 10, 50)
		j.links = []*link{fromX}
		wantRows(t, j.resume(w, j.arrives(t, w, 11, 10), nil), rootX, 50, 2, 1, "b")
	})
	rows := []row{{1, []any{"z"}}, {2, []any{"b"}}, {3, []any{"y"}}}
	inJoin(t, rows, entries, func(w treeWalk, j *joins) {
		j.reads(w, 10, 40, 50)
		j.links = []*link{fromX, {src: rootO, col: 0, dst: rootX, depth: 1, times: 1}}
		wantRows(t, j.resume(w, j.arrives(t, w, 11, 10), nil), rootO, 40, 1, 1, "")
	})
}

// Nested loops go on beyond the last entry with a key where the next one leads to the
// arrival, and nowhere else.
func TestNest_RunOn(t *testing.T) {
	entries := []entry{{"a", 50}, {"a", 60}, {"b", 150}, {"c", 250}}
	for _, tc := range []struct {
		name    string
		k       int
		arrival uint32
		list    bool
		want    bool
	}{
		{"the next key", 2, 11, false, true},
		{"another key", 2, 12, false, false},
		{"the same key", 1, 10, false, false},
		{"the end of the leaf", 4, 11, false, false},
		{"a list", 2, 11, true, false},
	} {
		inJoin(t, nil, entries, func(w treeWalk, j *joins) {
			j.reads(w, 50, 13)
			j.links = []*link{
				{src: rootO, col: 0, dst: rootT, depth: 1, times: 1}, {src: rootX, col: 0, dst: rootU, depth: 1, times: 1},
				{src: rootX, col: 1, dst: rootT, depth: 1, times: 1},
			}
			rows := outerRows(&leafRows{w: w, leaf: 50, page: pageOf(t, w, 50), k: tc.k, dir: 1, only: btree.TextValue("a")})
			root := uint32(rootX)
			if tc.list {
				rows, root = &listRows{values: []btree.Value{btree.IntegerValue(150)}}, listRoot
			}
			n := newNest(w, j, root, rows, firstRows)
			if got := j.resume(w, j.arrives(t, w, tc.arrival, 13), []*nest{n}) == n; got != tc.want {
				t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			}
			if only := j.onlyKey(rootX, pageOf(t, w, 50), 0, 1); only.IsNone() != tc.want { // from now on
				t.Errorf("%s: SQLite asks for one key: %v, want %v", tc.name, !only.IsNone(), !tc.want)
			}
			if r, ok := rows.(*leafRows); ok && r.only.IsNone() != tc.want {
				t.Errorf("%s: the rows have any key: %v, want %v", tc.name, r.only.IsNone(), tc.want)
			}
		})
	}
}

// The first arrival in a tree is explained by the one entry that leads to it and begins
// those with its key. If the page that has arrived is most likely an interior one, the
// leaves are one level further down.
func TestJoins_LearnFirst(t *testing.T) {
	for _, tc := range []struct {
		entries []entry
		depth   int // of the arrival
		k, dir  int // k < 0: no nest
		below   int // how many levels below the root the link leads
	}{
		{[]entry{{"a", 150}, {"a", 1250}, {"b", 1950}}, 1, 0, 1, 2},
		{[]entry{{"a", 150}, {"a", 1250}, {"b", 1950}}, 2, 0, 1, 2},
		{[]entry{{"a", 1950}, {"b", 1250}, {"b", 150}}, 1, 2, -1, 2},
		{[]entry{{"a", 150}, {"b", 1250}}, 1, -1, 0, 0}, // no other entry has the key
		{[]entry{{"a", 150}, {"a", 1250}, {"b", 160}, {"b", 1950}}, 1, -1, 0, 0},
	} {
		inJoin(t, nil, tc.entries, func(w treeWalk, j *joins) {
			j.reads(w, 50)
			a, _ := j.arrive(w, 11)
			a.depth = tc.depth
			n := j.learnFirst(w, a)
			if tc.k < 0 {
				if n != nil {
					t.Errorf("%v: a nest goes on with %+v", tc.entries, n.rows)
				}
				return
			}
			only, _ := tc.entries[tc.k][0].(string)
			wantRows(t, n, rootX, 50, tc.k, tc.dir, only)
			if len(j.links) != 1 || j.links[0].depth != tc.below || j.links[0].dst != rootT || j.links[0].col != 1 {
				t.Errorf("%v: links %+v", tc.entries, j.links)
			}
		})
	}
	inJoin(t, nil, nil, func(w treeWalk, j *joins) {
		a, _ := j.arrive(w, 11)
		if n := j.learnFirst(w, a); n != nil {
			t.Error("an arrival before which nothing was read is explained")
		}
	})
}

// A page whose entries take too much work to compare explains nothing: what was not
// looked at could lead to the arrival, too.
func TestJoins_LearnFirstTooMuch(t *testing.T) {
	const size = 64 << 10
	for _, tc := range []struct {
		groups int
		learns bool
	}{{100, true}, {2300, false}} {
		inJoin(t, nil, nil, func(w treeWalk, j *joins) {
			page := make([]byte, size)
			end := size
			put := func(values ...any) (off uint16) {
				rec := record(values...)
				cell := append(varint(nil, int64(len(rec))), rec...)
				end -= len(cell)
				copy(page[end:], cell)
				return uint16(end)
			}
			wide := func(key string) []any {
				values := []any{key}
				for range btree.MaxColumns {
					values = append(values, "")
				}
				return values
			}
			first, second, b, c := put("a", 150), put("a", 1250), put(wide("b")...), put(wide("c")...)
			cells := []uint16{first, second}
			for i := range tc.groups {
				of := []uint16{b, c}[i%2]
				cells = append(cells, of, of)
			}
			page[0] = byte(btree.LeafIndex)
			binary.BigEndian.PutUint16(page[3:], uint16(len(cells)))
			binary.BigEndian.PutUint16(page[5:], uint16(8+2*len(cells)))
			for i, off := range cells {
				binary.BigEndian.PutUint16(page[8+2*i:], off)
			}
			j.reads(w, 50)
			a, _ := j.arrive(w, 11)
			loc, _ := w.v.Lookup(50)
			w.pages.cache.Load().add(Key{loc.Version, 50, w.v.Epoch}, page)
			w.pages.trees.usable.Store(size)
			if n := j.learnFirst(w, a); (n != nil) != tc.learns {
				t.Errorf("%d groups of entries: they explain the arrival: %v, want %v", tc.groups, n != nil, tc.learns)
			}
		})
	}
}

// The rows of a table or an index go on from leaf to leaf in either direction. An entry
// of an index between two leaves comes between them. The entries with one key end where
// it does, wherever the next one is.
func TestLeafRows(t *testing.T) {
	ofO := make([]int, 9)
	entries := []entry{{"m", 1}, {"m", 2}}
	for _, tc := range []struct {
		name string
		leaf uint32
		k    int
		dir  int
		only string
		want []int64 // rowids, or second columns
	}{
		{"a table", 40, 0, 1, "", []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"from the middle", 41, 1, 1, "", []int64{5, 6, 7, 8, 9}},
		{"down", 42, 2, -1, "", []int64{9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{"an index", 50, 0, 1, "", []int64{1, 2, 5000, 5002, 5003, 5001, 5004}},
		{"an index, down", 52, 0, -1, "", []int64{5004, 5001, 5003, 5002, 5000, 2, 1}},
		{"one key", 50, 0, 1, "m", []int64{1, 2, 5000}},
		{"one key that ends with the leaf", 51, 1, 1, "o", []int64{5003}},
		{"one key, down", 51, 0, -1, "n", []int64{5002}},
	} {
		inJoin(t, keys(ofO, ofO), entries, func(w treeWalk, _ *joins) {
			rows := &leafRows{w: w, leaf: tc.leaf, page: pageOf(t, w, tc.leaf), k: tc.k, dir: tc.dir}
			col := 1
			if tc.leaf < 50 {
				col = btree.Rowid
			}
			if tc.only != "" {
				rows.only = btree.TextValue(tc.only)
			}
			var got []int64
			for len(got) < 20 {
				r, more, missing := rows.next()
				if !more || missing != 0 {
					break
				}
				v, _ := r.key(col)
				i, _ := v.Integer()
				got = append(got, i)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: rows %v, want %v", tc.name, got, tc.want)
			}
		})
	}
}

// Nested loops follow as many rows ahead of the reader as the window has, and no more.
func TestNest_Window(t *testing.T) {
	inJoin(t, keys([]int{150, 250, 350, 450, 550, 650, 750, 850, 950}, make([]int, 9)), nil, func(w treeWalk, j *joins) {
		j.links = []*link{{src: rootO, col: 0, dst: rootT, depth: 1, times: 1}}
		n := newNest(w, j, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), dir: 1}, 3)
		for _, tc := range []struct {
			reader int
			want   []uint32
		}{{0, []uint32{11, 12, 13}}, {0, nil}, {2, []uint32{14, 15}}} {
			n.reader = tc.reader
			if got, _ := n.next(100); !slices.Equal(got, tc.want) {
				t.Errorf("the reader is at row %d: pages %v, want %v", tc.reader, got, tc.want)
			}
		}
	})
}

// The window of nested loops grows with the rows that were read, up to a bound.
func TestNest_Grow(t *testing.T) {
	for _, tc := range []struct {
		root         uint32
		reader, want int
	}{
		{rootO, 1, nextRows}, {rootO, 100, 100}, {listRoot, 100, 200}, {rootO, 5000, maxRows}, {listRoot, 600, maxRows},
	} {
		n := &nest{root: tc.root, reader: tc.reader, window: firstRows}
		if n.grow(); n.window != tc.want {
			t.Errorf("tree %d: the window has %d rows when %d were read, want %d", tc.root, n.window, tc.reader, tc.want)
		}
	}
	n := &nest{reader: 100, window: firstRows, limit: newRowLimit(func() (int, bool) { return 130, true })}
	if n.grow(); n.window != 30 {
		t.Errorf("the window has %d rows when 30 are left of the LIMIT", n.window)
	}
}

// Pages of rows that the reader has passed are given up, and count against the links
// that have led to them. Pages of its row are not.
func TestNest_Passed(t *testing.T) {
	l := &link{}
	n := &nest{leaves: make(map[uint32]prediction)}
	for row := range 10 {
		n.leaves[uint32(100+row)] = prediction{row: row, by: l}
	}
	n.leaves[110] = prediction{row: 5, by: l}
	s := &scan{pending: append(pgnoRange(100, 104), pgnoRange(106, 110)...)}
	n.mark = 1 << 20
	passed := n.read(s, 105)
	if want := pgnoRange(100, 104); !slices.Equal(passed, want) {
		t.Errorf("pages %v are passed, want %v", passed, want)
	}
	if l.read != 1 || l.unread != 5 {
		t.Errorf("%d pages count as read and %d as not read, want 1 and 5", l.read, l.unread)
	}
	if n.isPassed(106) || n.isPassed(110) {
		t.Error("a page of a later row is passed, or one of the same row")
	}
	l.wrong = true
	if !n.isPassed(106) {
		t.Error("a page that a wrong link has led to is waited for")
	}
}

// A page that had no room is taken off the backlog when the reader comes to it. Nested
// loops explain it.
func TestNest_Take(t *testing.T) {
	inJoin(t, nil, nil, func(w treeWalk, j *joins) {
		j.vain = 5
		n := newNest(w, j, listRoot, new(listRows), firstRows)
		n.leaves[11] = prediction{row: 1, by: &link{}}
		s := &scan{pattern: n, pace: n, limit: 100, backlog: []uint32{12, 11}}
		if _, ok := n.take(s, 11, false); ok {
			t.Error("a page that is known is taken off the backlog")
		}
		if _, ok := n.take(s, 11, true); !ok || !slices.Equal(s.backlog, []uint32{12}) || s.read != 1 || n.reader != 1 {
			t.Errorf("taken: %v; the backlog is %v; the reader has come to %d pages, and to row %d", ok, s.backlog, s.read, n.reader)
		}
		if j.vain != 0 {
			t.Errorf("%d misses count as not explained", j.vain)
		}
		if _, ok := n.take(s, 12, true); !ok || len(s.backlog) > 0 {
			t.Errorf("taken: %v; the backlog is %v", ok, s.backlog)
		}
		if _, ok := n.take(s, 13, true); ok {
			t.Error("a page that is not in the backlog is taken off")
		}
	})
}

// More pages are due when a part of the window is missing, when pages had no room, and
// from time to time while lookups wait for pages.
func TestNest_Due(t *testing.T) {
	for _, tc := range []struct {
		name                            string
		window, row                     int // the reader is at row 100
		pending, backlog, blocked, read int
		want                            bool
	}{
		{"all rows are followed", 16, 116, 0, 0, 0, 16, false},
		{"few are missing", 16, 113, 0, 0, 0, 17, false},
		{"a quarter is missing", 16, 112, 0, 0, 0, 17, true},
		{"no row of a small window is missing", 3, 103, 0, 0, 0, 17, false},
		{"a row of a small window is missing", 3, 102, 0, 0, 0, 17, true},
		{"pages had no room", 16, 116, 0, 1, 0, 17, true},
		{"lookups wait", 16, 116, 0, 0, 1, 17, false},
		{"lookups have waited", 16, 116, 0, 0, 1, 2 * blockedEvery, true},
		{"hardly any room", 16, 112, 76, 1, 1, 16, false},
		{"enough room", 16, 112, 75, 1, 1, 16, true},
	} {
		n := &nest{reader: 100, window: tc.window, row: tc.row, blocked: make([]lookup, tc.blocked)}
		s := &scan{limit: 100, pending: make([]uint32, tc.pending), backlog: make([]uint32, tc.backlog), read: tc.read}
		if got := n.isDue(s); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Before a row was followed, there are none to look back at.
func TestNest_NoRecentRows(t *testing.T) {
	inJoin(t, keys([]int{150}, []int{0}), nil, func(w treeWalk, j *joins) {
		n := newNest(w, j, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), dir: 1}, 3)
		n.eachRow(func(root uint32, _ outerRow, _ path) bool {
			t.Errorf("a row of tree %d was followed", root)
			return false
		})
		n.next(100)
		rows := 0
		n.eachRow(func(uint32, outerRow, path) bool { rows++; return true })
		if rows != 1 {
			t.Errorf("%d rows were followed, want 1", rows)
		}
	})
}

// A column that holds no rowid leads nowhere, and the next column of the row does. An
// index leads to the leaf that has a key.
func TestDescent_Follow(t *testing.T) {
	rows := []row{{1, []any{"no rowid", 150}}, {2, []any{"a", 250}}, {3, []any{"n", 350}}}
	inJoin(t, rows, []entry{{"a", 1}}, func(w treeWalk, j *joins) {
		j.links = []*link{{src: rootO, col: 0, dst: rootT, depth: 1, times: 1}, {src: rootO, col: 1, dst: rootT, depth: 1, times: 1}}
		n := newNest(w, j, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), dir: 1}, 3)
		if got, _ := n.next(100); !slices.Equal(got, []uint32{11, 12, 13}) {
			t.Errorf("rows lead to pages %v, want 11, 12 and 13", got)
		}
		j.links = []*link{{src: rootO, col: 0, dst: rootX, depth: 1, times: 1}}
		n = newNest(w, j, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), k: 1, dir: 1}, 3)
		if got, needs := n.next(100); !slices.Equal(got, []uint32{50, 51}) || len(needs) > 0 {
			t.Errorf("rows lead to pages %v and need %v, want 50 and 51", got, needs)
		}
	})
}

// A row leads on by each of its columns, whatever is known of the pages to which the
// others lead.
func TestDescent_AllColumns(t *testing.T) {
	toT, toU := &link{src: rootO, col: 0, dst: rootT, depth: 1, times: 1}, &link{src: rootO, col: 1, dst: rootU, depth: 1, times: 1}
	toX := &link{src: rootO, col: 2, dst: rootX, depth: 1, times: 1}
	rows := []row{{1, []any{150, 1250, "n"}}, {2, []any{250, 1350, "a"}}}
	for _, known := range [][]uint32{nil, {1, rootT, rootO, rootX, rootU, 40}} {
		for _, tc := range []struct {
			links []*link
			want  []uint32
		}{
			{[]*link{toT, toU}, []uint32{11, 72, 12, 73}}, {[]*link{toX, toT}, []uint32{51, 11, 50, 12}}, {[]*link{toU}, []uint32{72, 73}},
		} {
			synctest.Test(t, func(t *testing.T) {
				_, _, w := openTrees(t, joinTrees(rows, entry{"a", 1}), known...)
				n := newNest(w, &joins{links: tc.links}, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), dir: 1}, 2)
				if got, _ := n.next(100); !slices.Equal(got, tc.want) {
					t.Errorf("rows lead to pages %v, want %v", got, tc.want)
				}
			})
		}
	}
}

// The rows of an outermost loop that lie far behind the reader are forgotten.
func TestNest_Forget(t *testing.T) {
	values := make([]btree.Value, 20*maxRows)
	for i := range values {
		values[i] = btree.IntegerValue(int64(i))
	}
	inJoin(t, nil, nil, func(w treeWalk, j *joins) {
		n := newNest(w, j, listRoot, &listRows{values: values}, maxRows)
		for n.row < len(values) {
			n.next(100)
			if most := 3*maxRows + rowsBack; len(n.trail) > most {
				t.Fatalf("%d rows are remembered, want %d at most", len(n.trail), most)
			}
			if n.forgotten+len(n.trail) != n.row {
				t.Fatalf("%d rows are forgotten and %d remembered of %d", n.forgotten, len(n.trail), n.row)
			}
			rows, ok := n.recent()
			if !ok {
				t.Fatal("no row is remembered")
			}
			r, _, _ := rows.next()
			if k, _ := r.value.Integer(); k != int64(max(0, n.reader-1-rowsBack)) {
				t.Fatalf("the reader is at row %d; rows are remembered from %d on", n.reader, k+1)
			}
			n.reader = n.row
		}
	})
}

// The leaves that hold the next rows are needed, as far as the rows go on there.
func TestLeafRows_Ahead(t *testing.T) {
	ofO := make([]int, 9)
	entries := []entry{{"a", 1}, {"m", 1}, {"m", 2}}
	for _, tc := range []struct {
		leaf   uint32
		k, dir int
		only   string
		n      int
		want   []uint32
	}{
		{40, 0, 1, "", 3, nil}, {40, 0, 1, "", 4, []uint32{41}}, {40, 0, 1, "", 6, []uint32{41}}, {40, 0, 1, "", 7, []uint32{41, 42}},
		{40, 2, 1, "", 2, []uint32{41}}, {42, 2, -1, "", 3, nil}, {42, 2, -1, "", 4, []uint32{41}},
		{50, 0, 1, "m", 9, []uint32{51, 52}}, {50, 0, 1, "a", 9, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, _, w := openTrees(t, joinTrees(keys(ofO, ofO), entries...), 1, rootT, rootO, rootX, tc.leaf)
			rows := &leafRows{w: w, leaf: tc.leaf, page: pageOf(t, w, tc.leaf), k: tc.k, dir: tc.dir}
			if tc.only != "" {
				rows.only = btree.TextValue(tc.only)
			}
			if got := rows.ahead(tc.n); !slices.Equal(got, tc.want) {
				t.Errorf("%+v: pages %v are needed", tc, got)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // leaves with one row each
		_, _, w := openTrees(t, joinTrees(nil), 1, rootT, 10)
		rows := &leafRows{w: w, leaf: 10, page: pageOf(t, w, 10), dir: 1}
		if got := rows.ahead(4); !slices.Equal(got, []uint32{11, 12, 13}) {
			t.Errorf("pages %v are needed for three rows more, want 11, 12 and 13", got)
		}
		if pgno := w.target(rootT, 1, btree.IntegerValue(450)); pgno != 14 {
			t.Errorf("row 450 is in page %d, want 14", pgno)
		}
		if pgno := w.target(rootT, 2, btree.IntegerValue(450)); pgno != 0 {
			t.Errorf("below a page that is not known, row 450 is in page %d", pgno)
		}
	})
	// The place of a leaf may not be known: then it ends, and nothing is needed.
	inJoin(t, nil, nil, func(w treeWalk, _ *joins) {
		rows := &leafRows{w: w, leaf: 7, page: pageOf(t, w, 40), k: 9, dir: 1}
		if _, more, missing := rows.next(); more || missing != 0 {
			t.Errorf("a leaf whose place is not known goes on: %v, and needs page %d", more, missing)
		}
	})
}

// A reader that waits is told of other pages only while nested loops wait for some.
func TestPredictor_Waiting(t *testing.T) {
	inJoin(t, nil, nil, func(w treeWalk, j *joins) {
		p := NewPredictor(NewPrefetcher(w.pages, nil, bedReadTimeout))
		p.at(w.v)
		n := newNest(w, j, listRoot, new(listRows), firstRows)
		p.scans = []*scan{{pattern: &runPattern{}, pace: new(window)}, {pattern: n, pace: n}}
		if p.Waiting() != nil {
			t.Error("nothing waits, and it is called")
		}
		n.blocked = make([]lookup, 1)
		if p.Waiting() == nil {
			t.Error("a lookup waits, and it is not called")
		}
	})
}

// Leaves that are read before the first miss are remembered, and all after it.
func TestJoins_Seen(t *testing.T) {
	inJoin(t, nil, nil, func(w treeWalk, j *joins) {
		j.note(11)
		j.note(12)
		j.fold(w)
		j.note(13)
		for pgno, want := range map[uint32]bool{11: true, 12: true, 13: true, 14: false} {
			if got := j.isSeen(pgno); got != want {
				t.Errorf("page %d was read: %v, want %v", pgno, got, want)
			}
		}
	})
}

// The pages that were read last are remembered, and a bounded number of them.
func TestRecentSet(t *testing.T) {
	var s recentSet
	for pgno := range uint32(10 * recentSetSize) {
		s.add(pgno + 1)
		s.add(1 + pgno/2) // again, or long ago
		if !s.has(pgno+1) || pgno > recentSetSize/2 && !s.has(pgno+2-recentSetSize/2) {
			t.Fatalf("pages shortly before %d are forgotten", pgno+1)
		}
		if n := len(s.young) + len(s.old); n > 2*recentSetSize {
			t.Fatalf("%d pages are remembered", n)
		}
	}
}

// Many misses in a row that nothing explains are looked at seldom.
func TestJoins_IsDue(t *testing.T) {
	var j joins
	due := 0
	for range alwaysDue {
		if !j.isDue() {
			t.Fatalf("miss %d is not looked at", j.vain)
		}
	}
	for range 100 * dueEvery {
		if j.isDue() {
			due++
		}
	}
	if due != 100 {
		t.Errorf("%d of %d further misses are looked at, want 100", due, 100*dueEvery)
	}
}

// Rows lead on if a link is known that begins at their tree.
func TestJoins_Leads(t *testing.T) {
	j := &joins{links: []*link{{src: rootO, dst: rootT, depth: 1, times: 1}}}
	for root, want := range map[uint32]bool{rootO: true, rootT: false, rootX: false} {
		if got := j.leads(root, path{}); got != want {
			t.Errorf("rows of tree %d lead on: %v, want %v", root, got, want)
		}
	}
}

// Nested loops that lead to another table only from the third row on are learned as a
// part of those that are known, and few leaves are read one by one.
func TestPredictor_ThreeTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ofT, ofU := []int{1150, 50, 1850, 450, 750, 1650, 250, 1450, 950}, []int{450, 1750, 150, 1250, 750, 50, 1050, 1950, 650}
		client, b, _ := openTrees(t, joinTrees(keys(ofT, ofU)), 1, rootT, rootO, rootX, rootU, 40, 41, 42)
		r := b.reader()
		read := func(pgno uint32) {
			t.Helper()
			if _, err := r.read(pgno); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for i := range ofT {
			if i%3 == 0 {
				read(uint32(40 + i/3))
			}
			read(uint32(10 + ofT[i]/100))
			if i >= 2 {
				read(uint32(60 + ofU[i]/100))
			}
		}
		if len(r.predictor.scans) != 1 || len(r.predictor.joins.links) != 2 {
			t.Errorf("%d scans with %d links, want 1 with 2", len(r.predictor.scans), len(r.predictor.joins.links))
		}
		if n := client.opens.Load(); n > 14 {
			t.Errorf("%d requests for %d leaves", n, 2*len(ofT)-2)
		}
		r.predictor.End()
		time.Sleep(time.Minute)
		wantNothingPrefetched(t, b)
	})
}
