package pages

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/btree/btreetest"
	"github.com/ltxvfs/litestream/internal/view"
)

// A run gives as many pages as are asked for, up to its end and in its direction.
func TestRunPattern(t *testing.T) {
	for _, tc := range []struct {
		run  runPattern
		n    int
		want []uint32
	}{
		{runPattern{10, 20, 1}, 3, []uint32{10, 11, 12}},
		{runPattern{10, 20, 1}, 0, nil},
		{runPattern{10, 12, 1}, 5, []uint32{10, 11}},
		{runPattern{3, 0, -1}, 2, []uint32{3, 2}},
		{runPattern{3, 0, -1}, 9, []uint32{3, 2, 1}},
	} {
		run := tc.run
		if got, needs := run.next(tc.n); !slices.Equal(got, tc.want) || needs != nil {
			t.Errorf("%+v: %d pages are %v and need %v, want %v", tc.run, tc.n, got, needs, tc.want)
		}
	}
}

// A walk through the leaves of a tree needs the interior pages that lead to twice as
// many leaves as it goes, in its direction.
func TestTreePattern_Needs(t *testing.T) {
	for _, tc := range []struct {
		name      string
		leaf      int // that the walk begins at
		dir, n    int
		pgnos     []uint32
		needs     []uint32
		knownAlso []uint32
	}{
		{"far from the end", 0, 1, 10, pgnoRange(firstLeaf+1, firstLeaf+10), nil, nil},
		{"nearer", 0, 1, 17, pgnoRange(firstLeaf+1, firstLeaf+17), []uint32{4}, nil},
		{"just enough are left", 0, 1, 16, pgnoRange(firstLeaf+1, firstLeaf+16), []uint32(nil), nil},
		{"several", 9, 1, 40, pgnoRange(firstLeaf+10, firstLeaf+49), []uint32{4, 5}, nil},
		{"one is known", 9, 1, 40, pgnoRange(firstLeaf+10, firstLeaf+49), []uint32{5}, []uint32{4}},
		{"it ends where a page is not known", 9, 1, 50, pgnoRange(firstLeaf+10, firstLeaf+49), []uint32{4}, nil},
		{"down", 49, -1, 20, descending(firstLeaf+48, firstLeaf+29), nil, nil},
		{"on to the next parent", 40, 1, 20, pgnoRange(firstLeaf+41, firstLeaf+60), []uint32{5}, []uint32{4}},
		{"back to the parent before", 55, -1, 10, descending(firstLeaf+54, firstLeaf+45), nil, []uint32{4}},
		{"down to the beginning", 40, -1, 60, descending(firstLeaf+39, firstLeaf), nil, nil},
	} {
		inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
			b.dropCache()
			for _, pgno := range append([]uint32{2, 3}, tc.knownAlso...) {
				if _, err := b.source.Page(t.Context(), r.v, pgno); err != nil {
					t.Fatal(err)
				}
			}
			w := treeWalk{b.source, r.v}
			at, ok := w.place(uint32(firstLeaf + tc.leaf))
			if !ok {
				t.Fatal("the place of the leaf is not known")
			}
			pgnos, needs := (&treePattern{w, at, tc.dir}).next(tc.n)
			if !slices.Equal(pgnos, tc.pgnos) || !slices.Equal(needs, tc.needs) {
				t.Errorf("%s: pages %v, which need %v; want %v and %v", tc.name, pgnos, needs, tc.pgnos, tc.needs)
			}
		})
	}
}

// descending returns the pages from first down to last.
func descending(first, last uint32) []uint32 {
	pgnos := pgnoRange(last, first)
	slices.Reverse(pgnos)
	return pgnos
}

// A reader follows a scan if it comes to one of the next pages.
func TestWindow_Follow(t *testing.T) {
	for _, tc := range []struct {
		pgno    uint32
		skipped int
		ok      bool
	}{
		{100, 0, true}, {101, 1, true}, {100 + maxSkip - 1, maxSkip - 1, true}, {100 + maxSkip, 0, false}, {99, 0, false},
	} {
		w := new(window)
		s := &scan{pace: w, pending: pgnoRange(100, 199)}
		skipped, ok := w.follow(s, tc.pgno)
		if len(skipped) != tc.skipped || ok != tc.ok {
			t.Errorf("page %d: %d pages are left out, %v; want %d, %v", tc.pgno, len(skipped), ok, tc.skipped, tc.ok)
		}
		if left := 100 - tc.skipped - 1; ok && (len(s.pending) != left || s.pending[0] != tc.pgno+1 || s.read != 1) {
			t.Errorf("page %d: %d pages are pending, want %d; the reader has come to %d", tc.pgno, len(s.pending), left, s.read)
		}
	}
}

// A scan that may have one page ahead fetches the next one only when that is read.
func TestWindow_OnePage(t *testing.T) {
	w := &window{first: firstWindow}
	s := &scan{pace: w, limit: 1, read: 3, pending: []uint32{7}}
	if w.isDue(s) {
		t.Error("pages are due while there is no room for one")
	}
	if s.pending = nil; !w.isDue(s) {
		t.Error("no page is due while there is room for one")
	}
}

// A reader that begins at either end of a tree most likely goes on to the other.
func TestPredict_Ends(t *testing.T) {
	for _, tc := range []struct {
		first uint32
		want  []uint32
	}{
		{firstLeaf, pgnoRange(firstLeaf+1, firstLeaf+firstWindow)},
		{lastLeaf, descending(lastLeaf-1, lastLeaf-firstWindow)},
	} {
		inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
			r.wantLeaf(t, tc.first)
			if len(r.predictor.scans) != 1 || !slices.Equal(r.predictor.scans[0].pending, tc.want) {
				t.Errorf("page %d: scans are %+v, want one with pages %v", tc.first, r.predictor.scans, tc.want)
			}
		})
	}
}

// A tree of two leaves shows no direction in which it is read. That of three does.
func TestPredict_FewLeaves(t *testing.T) {
	for _, leaves := range []uint32{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			all := map[uint32][]byte{2: tableInner(100, pgnoRange(3, 2+leaves)...)}
			for i := range leaves {
				all[3+i] = tableLeaf(row{100*int(i) + 1, []any{"a row"}})
			}
			_, b, _ := openTrees(t, all, 1, 2)
			r := b.reader()
			if _, err := r.read(3); err != nil {
				t.Fatal(err)
			}
			if n := len(r.predictor.scans); n != int(leaves)-2 {
				t.Errorf("a tree of %d leaves: %d scans, want %d", leaves, n, leaves-2)
			}
			r.predictor.End()
		})
	}
}

// The schema lists the roots of tables and indexes, and views, which have none.
func TestTreeWalk_Schema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, w := openTrees(t, map[uint32][]byte{1: schemaPage(map[string]uint32{"t": 2, "u": 3, "v": 0, "w": 1, "x": 99}), 9: nil})
		if roots, missing := w.schema(); !slices.Equal(roots, []uint32{2, 3}) || len(missing) > 0 {
			t.Errorf("the roots are %v, and pages %v are missing; want 2 and 3", roots, missing)
		}
	})
}

// The rows of all leaves of a scan count against the LIMIT of its statement, those of
// the one with which it begins, too.
func TestPredictor_CountsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[uint32][]byte{2: tableInner(100, pgnoRange(3, 42)...)}
		for i := range 40 {
			all[uint32(3+i)] = tableLeaf(row{100*i + 1, []any{"a row"}}, row{100*i + 2, []any{"another"}})
		}
		_, b, _ := openTrees(t, all, 1, 2)
		r := b.reader()
		r.predictor.SetStatement(func() string { return "SELECT * FROM t LIMIT 1000" })
		for i := range uint32(5) {
			if _, err := r.read(3 + i); err != nil {
				t.Fatal(err)
			}
			if len(r.predictor.scans) != 1 {
				t.Fatalf("%d scans", len(r.predictor.scans))
			}
			if l := r.predictor.scans[0].rowLimit(); l.rows != 2*int(i)+2 || l.leaves != int(i)+1 {
				t.Errorf("%d rows of %d leaves count after %d leaves with 2 rows", l.rows, l.leaves, i+1)
			}
		}
		r.predictor.End()
	})
}

// Pages that the reader has left out do not count against what may be prefetched.
func TestPredictor_SkippedPages(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		r.wantLeaf(t, firstLeaf)
		time.Sleep(time.Second)
		for _, leaf := range []uint32{firstLeaf + 1, firstLeaf + 4, firstLeaf + 5, firstLeaf + 20} {
			r.wantLeaf(t, leaf)
			time.Sleep(time.Second)
			if n, pending := unclaimedIn(b), len(r.predictor.scans[0].pending); n != pending {
				t.Errorf("%d pages are kept for a scan that has %d ahead", n, pending)
			}
		}
	})
}

// listPattern is pages in any order.
type listPattern []uint32

func (p *listPattern) next(n int) (pgnos, _ []uint32) {
	pgnos = (*p)[:min(n, len(*p))]
	*p = (*p)[len(pgnos):]
	return pgnos, nil
}

// Pages of a scan whose request has failed are requested once more when the reader
// comes to them, and not while it waits for others.
func TestPredictor_FailedRequest(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		far, _ := v.Lookup(2000)
		fails := true
		client.open = func(_ view.Key, off int64) error {
			if fails && off == far.Offset {
				return errors.New("connection reset")
			}
			time.Sleep(time.Second)
			return nil
		}
		p := NewPredictor(b.prefetcher)
		p.at(v)
		pgnos := listPattern(append(pgnoRange(10, 13), pgnoRange(2000, 2003)...))
		s := &scan{pattern: &pgnos, pace: &window{first: 8}, limit: 100}
		p.scans = []*scan{s}
		p.extend(s, 0)
		synctest.Wait()
		if n := client.opens.Load(); n != 2 {
			t.Fatalf("%d requests, want 2", n)
		}
		p.Miss(v, 10) // comes in a second
		synctest.Wait()
		if n := client.opens.Load(); n != 2 {
			t.Errorf("%d requests after a page that is in flight, want 2", n)
		}
		time.Sleep(time.Minute)
		fails = false
		p.Miss(v, 2000)
		if _, err := b.source.Page(t.Context(), v, 2000); err != nil {
			t.Error(err)
		}
		if n := client.opens.Load(); n != 3 {
			t.Errorf("%d requests after a page whose request had failed, want 3", n)
		}
		wantOdd(t, b, v, 1, 0, pgnoRange(2001, 2003)...)
		p.End()
		time.Sleep(time.Minute)
	})
}

// When a second interior page of a level is needed, the whole level is fetched, but
// not with the first one if there are many.
func TestPrefetchSiblings(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		b.dropCache()
		for _, pgno := range []uint32{2, 10} {
			if _, err := r.read(pgno); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		level := func() (n int) {
			for pgno := uint32(3); pgno < firstLeaf; pgno++ {
				loc, _ := r.v.Lookup(pgno)
				if b.source.peek(Key{loc.Version, pgno, r.v.Epoch}) != nil {
					n++
				}
			}
			return n
		}
		if n := level(); n != 1 {
			t.Errorf("%d interior pages are known after the first one", n)
		}
		if _, err := r.read(30); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := level(); n != bedInner {
			t.Errorf("%d interior pages are known after the second one, want %d", n, bedInner)
		}
	})
}

// twoDeepTables returns two tables with three levels. Their roots are pages 2 and 3, and
// the pages below these are 10 to 39 and 50 to 79.
func twoDeepTables() map[uint32][]byte {
	all := map[uint32][]byte{1: schemaPage(map[string]uint32{"t": 2, "u": 3}), 200: nil}
	for pgno := range uint32(10) { // no request reads through that
		all[40+pgno] = oddPage(40+pgno, 1)
	}
	for root, first := range map[uint32]uint32{2: 10, 3: 50} {
		all[root] = tableInner(1000, pgnoRange(first, first+29)...)
		for i := range uint32(30) {
			leaf := 80 + 2*(first-10) + 2*i
			all[first+i] = tableInnerFrom(1000*int(i), 500, leaf, leaf+1)
		}
	}
	return all
}

// knownIn returns how many of some pages are known.
func knownIn(w treeWalk, first, last uint32) (n int) {
	for pgno := first; pgno <= last; pgno++ {
		if w.raw(pgno) != nil {
			n++
		}
	}
	return n
}

// neededRows are rows of an outermost loop that need pages to go on.
type neededRows []uint32

func (r *neededRows) next() (_ outerRow, more bool, missing uint32) { return outerRow{}, false, 0 }

func (r *neededRows) ahead(int) []uint32 { return *r }

func (r *neededRows) fork() outerRows { return r }

// Nested loops that have needed many interior pages fetch the whole level of the last
// one, and a scan does not.
func TestPredictor_ManyNeeds(t *testing.T) {
	for _, tc := range []struct {
		nested   bool
		needs    []uint32
		ofT, ofU int // interior pages that are known then
	}{
		{true, pgnoRange(10, 10+manyNeeds-2), manyNeeds - 1, 0},
		{true, pgnoRange(10, 10+manyNeeds-1), 30, 0},
		{true, append(pgnoRange(10, 10+manyNeeds-2), 50), manyNeeds - 1, 30},
		{false, pgnoRange(10, 10+manyNeeds-1), manyNeeds, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, b, w := openTrees(t, twoDeepTables(), 1, 2, 3)
			p := NewPredictor(b.prefetcher)
			p.at(w.v)
			rows := neededRows(tc.needs)
			n := newNest(w, new(joins), 2, &rows, firstRows)
			s := &scan{pattern: n, pace: n, limit: 100}
			if !tc.nested {
				s.pattern, s.pace = plainPattern{n}, &window{first: firstWindow}
			}
			p.scans = []*scan{s}
			p.extend(s, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			if ofT, ofU := knownIn(w, 10, 39), knownIn(w, 50, 79); ofT != tc.ofT || ofU != tc.ofU {
				t.Errorf("nested: %v, %d needs: %d and %d interior pages are known, want %d and %d", tc.nested, len(tc.needs), ofT, ofU, tc.ofT, tc.ofU)
			}
			p.End()
		})
	}
}

// plainPattern is a pattern of another kind.
type plainPattern struct{ pattern }

// An interior page right below a root leads to the tables of the schema, with the one
// that it belongs to. A page below it does not.
func TestTreeWalk_Top(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, w := openTrees(t, twoDeepTables(), 1, 2, 3, 10, 55)
		for pgno, table := range map[uint32]uint32{12: 2, 39: 2, 51: 3, 80: 0, 2: 0, 199: 0} {
			at, all, own := w.top(pgno)
			if own.table != table {
				t.Errorf("page %d is of table %d, want %d", pgno, own.table, table)
			}
			if table != 0 && (at.parent != table || len(all) != 2) {
				t.Errorf("page %d is below page %d, of %d tables", pgno, at.parent, len(all))
			}
		}
	})
}

// More interior pages are fetched at once for a statement with several tables.
func TestPrefetchTop_Tables(t *testing.T) {
	for _, tc := range []struct {
		statement string
		most      int // interior pages of t that are fetched with the first one
	}{
		{"SELECT * FROM t", 1}, {"SELECT * FROM t, u", 12},
	} {
		synctest.Test(t, func(t *testing.T) {
			all := twoDeepTables()
			all[2] = tableInner(1000, pgnoRange(10, 21)...)
			_, b, w := openTrees(t, all, 1, 2, 3)
			r := b.reader()
			r.predictor.SetStatement(func() string { return tc.statement })
			for _, pgno := range []uint32{12} {
				if _, ok := b.source.Known(r.v, pgno); ok {
					t.Fatalf("page %d is known", pgno)
				}
				r.predictor.Miss(r.v, pgno)
				if _, err := b.source.Page(t.Context(), r.v, pgno); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := knownIn(w, 10, 21); n != tc.most {
				t.Errorf("%s: %d interior pages are known, want %d", tc.statement, n, tc.most)
			}
			r.predictor.End()
		})
	}
}

// Interior pages whose places would have to be read first are not fetched ahead, nor
// pages that are not in the view.
func TestTreeWalk_UnknownChildren(t *testing.T) {
	inUnread(t, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		page, ok := btree.Parse(btreetest.Interior(bedPageSize, 1500, 1501, 5000), 7, bedPageSize)
		if !ok {
			t.Fatal("it is no page")
		}
		w := treeWalk{b.source, v}
		if pgnos := w.appendUnknown(nil, page); len(pgnos) > 0 {
			t.Errorf("pages %v are fetched ahead", pgnos)
		}
		wantPages(t, b, v, 1500) // reads a part of the index, which has the others
		b.dropCache()
		if pgnos := w.appendUnknown(nil, page); !slices.Equal(pgnos, []uint32{1500, 1501}) {
			t.Errorf("pages %v are fetched ahead, want 1500 and 1501", pgnos)
		}
	})
}

// Pages that a scan needed are forgotten once there are too many, and only those that
// were fetched.
func TestScan_Needs(t *testing.T) {
	for _, tc := range []struct{ needs, requested, forgets int }{
		{maxNeeds, maxNeeds, 0}, {maxNeeds + 10, maxNeeds + 10, maxNeeds/2 + 10}, {maxNeeds + 10, 100, 100}, {maxNeeds + 10, 0, 0},
	} {
		s := &scan{needs: pgnoRange(1, uint32(tc.needs)), requested: tc.requested}
		if old := s.trimNeeds(); len(old) != tc.forgets || len(s.needs) != tc.needs-tc.forgets || s.requested != tc.requested-tc.forgets {
			t.Errorf("%+v: %d pages are forgotten, %d are left, %d of them requested", tc, len(old), len(s.needs), s.requested)
		}
	}
	for n, pending := range []int{0, 1, 2} {
		s := &scan{backlog: []uint32{7, 8, 9}}
		if s.fetching(n); len(s.pending) != pending || len(s.backlog) != 3-pending {
			t.Errorf("%d pages are fetched: %v are pending, %v are not fetched yet", n, s.pending, s.backlog)
		}
	}
}

// The overflow chain of a row that was just read is read up to its end.
func TestPredictor_Overflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const chain = 5
		value := make([]byte, bedPageSize-35-20+(chain-1)*(bedPageSize-4)) // fills most of the chain
		rec := record(value)
		minLocal := (bedPageSize-12)*32/255 - 23
		local := minLocal + (len(rec)-minLocal)%(bedPageSize-4)
		if local > bedPageSize-35 {
			local = minLocal
		}
		cell := append(varint(varint(nil, int64(len(rec))), 7), rec[:local]...)
		cell = append(cell, 0, 0, 0, 10) // the chain begins with page 10
		_, b, w := openTrees(t, map[uint32][]byte{2: indexPage(byte(btree.LeafTable), 0, cell), 40: nil}, 1, 2)
		r := b.reader()
		for _, pgno := range []uint32{2, 10} {
			if _, err := r.read(pgno); err != nil {
				t.Fatal(err)
			}
		}
		pages := (len(rec) - local + bedPageSize - 5) / (bedPageSize - 4)
		if s := r.predictor.scans; len(s) != 1 || !slices.Equal(s[0].pending, pgnoRange(11, uint32(9+pages))) {
			t.Errorf("scans are %+v, want one up to page %d", s, 9+pages)
		}
		r.predictor.End()
		time.Sleep(time.Minute)
		if n := knownIn(w, 11, 40); n != pages-1 {
			t.Errorf("%d pages are fetched ahead, want %d", n, pages-1)
		}
	})
}

// The rowids that a leaf may have are bounded by the keys beside it, in its parent or
// above. The first leaf and the last one have one bound.
func TestTreeWalk_Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, w := openTrees(t, twoDeepTables(), append([]uint32{1, 2}, pgnoRange(10, 39)...)...)
		for _, leaf := range []uint32{80, 81, 82, 95, 96, 138, 139} {
			at, ok := w.place(leaf)
			if !ok {
				t.Fatalf("the place of page %d is not known", leaf)
			}
			b, first, last := w.bounds(at), int64(leaf-80)*500+1, int64(leaf-80)*500+500
			for rowid, want := range map[int64]bool{first - 1: leaf == 80, first: true, last: true, last + 1: leaf == 139, 1 << 40: leaf == 139, -5: leaf == 80} {
				if got := b.contains(btree.IntegerValue(rowid)); got != want {
					t.Errorf("page %d may have row %d: %v, want %v", leaf, rowid, got, want)
				}
			}
			if b.contains(btree.TextValue("a")) {
				t.Errorf("page %d of a table may have a key that is no rowid", leaf)
			}
		}
	})
}
