package pages

import (
	"encoding/binary"
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
// Nested loops follow as many rows ahead of the reader as the window has, and no more.
// The window of nested loops grows with the rows that were read, up to a bound.
// Pages of rows that the reader has passed are given up, and count against the links
// that have led to them. Pages of its row are not.
// A page that had no room is taken off the backlog when the reader comes to it. Nested
// loops explain it.
// More pages are due when a part of the window is missing, when pages had no room, and
// from time to time while lookups wait for pages.
// Before a row was followed, there are none to look back at.
// A column that holds no rowid leads nowhere, and the next column of the row does. An
// index leads to the leaf that has a key.
// A row leads on by each of its columns, whatever is known of the pages to which the
// others lead.
// The rows of an outermost loop that lie far behind the reader are forgotten.
// The leaves that hold the next rows are needed, as far as the rows go on there.
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

// A link that is learned again is the same one. If too many of its leaves were not read,
// it explains nothing any more.
func TestJoins_KnownLinks(t *testing.T) {
	inJoin(t, nil, []entry{{"a", 50}, {"a", 150}}, func(w treeWalk, j *joins) {
		l := func() *link { return &link{src: rootX, col: 1, dst: rootT, depth: 1, times: 1} }
		if !j.add(l()) || j.add(l()) || len(j.links) != 1 {
			t.Errorf("a link that was learned twice is %d links", len(j.links))
		}
		if j.isWrong(l()) || j.isWrong(&link{src: rootO}) {
			t.Error("a link is wrong before anything was read by it")
		}
		j.reads(w, 50, 10)
		a := j.arrives(t, w, 11, 10)
		if j.learnFrom(w, a, rootX, 50, pageOf(t, w, 50), false) == nil {
			t.Error("a link that is known explains nothing")
		}
		for range firstUnread + 1 {
			j.links[0].count(false)
		}
		if !j.isWrong(l()) {
			t.Error("a link by which nothing was read is right")
		}
		if n := j.learnFrom(w, a, rootX, 50, pageOf(t, w, 50), false); n != nil {
			t.Error("a link that is wrong explains an arrival")
		}
	})
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
