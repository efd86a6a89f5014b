package pages

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream/internal/btree"
)

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

// A lookup that waits for a page goes on when the page is known.
func TestNest_Blocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := joinTrees([]row{{1, []any{150}}, {2, []any{250}}})
		all[11], all[12] = tableLeaf(row{150, []any{1250}}), tableLeaf(row{250, []any{1350}})
		_, b, w := openTrees(t, all, 1, rootT, rootO, rootU, 40)
		j := &joins{links: []*link{{src: rootO, col: 0, dst: rootT, depth: 1, times: 1}, {src: rootT, col: 0, dst: rootU, depth: 1, times: 1}}}
		n := newNest(w, j, rootO, &leafRows{w: w, leaf: 40, page: pageOf(t, w, 40), dir: 1}, 2)
		for _, tc := range []struct {
			comes   uint32
			want    []uint32
			blocked int
		}{{0, []uint32{11, 12}, 2}, {0, nil, 2}, {12, []uint32{73}, 1}, {11, []uint32{72}, 0}} {
			if tc.comes != 0 {
				if _, err := b.source.Page(t.Context(), w.v, tc.comes); err != nil {
					t.Fatal(err)
				}
			}
			if got, _ := n.next(100); !slices.Equal(got, tc.want) || len(n.blocked) != tc.blocked {
				t.Errorf("after page %d: rows lead to pages %v, and %d lookups wait; want %v and %d", tc.comes, got, len(n.blocked), tc.want, tc.blocked)
			}
		}
	})
}

// With the rows that the reader comes to, the window grows.
func TestNest_Follow(t *testing.T) {
	n := &nest{window: firstRows, leaves: map[uint32]prediction{11: {row: 3}}, row: 16}
	s := &scan{pending: []uint32{10, 11, 12}}
	if _, ok := n.follow(s, 99); ok || s.read != 0 {
		t.Error("a page that was not predicted is followed")
	}
	if _, ok := n.follow(s, 11); !ok || s.read != 1 || n.reader != 3 || n.window != nextRows || n.mark != 16 {
		t.Errorf("followed: %v; the reader has come to %d pages and to row %d; the window has %d rows, after row %d", ok, s.read, n.reader, n.window, n.mark)
	}
}
