package pages

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/view"
)

// TestWindow_Growth compares how far a scan is ahead with the pages that its reader
// has come to.
func TestWindow_Growth(t *testing.T) {
	w := &window{first: firstWindow}
	for _, tc := range []struct{ read, want int }{
		{0, 8}, {1, 32}, {7, 32}, {8, 128}, {16, 128}, {17, 136}, {63, 504}, {64, 1200}, {800, 1200}, {801, 1201}, {2000, 3000},
	} {
		if n := w.grown(tc.read); n != tc.want {
			t.Errorf("the window has %d pages when %d were read, want %d", n, tc.read, tc.want)
		}
	}
	last := 0
	for read := range 100_000 {
		n := w.grown(read)
		if n < last {
			t.Fatalf("the window shrinks from %d to %d pages when %d were read", last, n, read)
		}
		if read >= longWindow/2 && n > 2*read {
			t.Fatalf("the window has %d pages when %d were read", n, read)
		}
		last = n
	}
}

func TestRowLimit(t *testing.T) {
	ask := func(rows int, ok bool) func() (int, bool) {
		return func() (int, bool) { return rows, ok }
	}
	for _, tc := range []struct {
		name   string
		ask    func() (int, bool)
		leaves []int // rows of the leaves that were read
		want   int   // leaves; -1: not known
	}{
		{"not told", nil, []int{10}, -1},
		{"no limit", ask(0, false), []int{10}, -1},
		{"limit 0", ask(0, true), []int{10}, -1},
		{"nothing read", ask(100, true), nil, -1},
		{"one leaf", ask(100, true), []int{10}, 9 + 1 + 1},
		{"average", ask(100, true), []int{10, 30}, 3 + 1},
		{"all but one", ask(41, true), []int{20, 20}, 1},
		{"all", ask(40, true), []int{20, 20}, -1},
		{"more", ask(30, true), []int{20, 20}, -1},
		{"empty leaves", ask(8, true), []int{0, 0}, 8 + 1 + 1},
	} {
		l := newRowLimit(tc.ask)
		for _, rows := range tc.leaves {
			if l.isOpen() {
				l.saw(rows)
			}
		}
		n, ok := l.rest()
		if !ok {
			n = -1
		}
		if n != tc.want {
			t.Errorf("%s: %d leaves, want %d", tc.name, n, tc.want)
		}
		if none := tc.name == "no limit"; l.isNone() != none {
			t.Errorf("%s: there is no limit: %v, want %v", tc.name, l.isNone(), none)
		}
		if open := tc.ask != nil && (tc.leaves == nil || n >= 0); l.isOpen() != open {
			t.Errorf("%s: limit is open: %v, want %v", tc.name, l.isOpen(), open)
		}
	}
}

// TestWindow_Limit bounds a window by the rows of a LIMIT, until the reader has
// come to all of them.
func TestWindow_Limit(t *testing.T) {
	w := &window{first: firstWindow, limit: newRowLimit(func() (int, bool) { return 1000, true })}
	s := &scan{pace: w, limit: 5000}
	for leaf := 1; leaf < 100; leaf++ { // each has 20 rows
		w.limit.saw(20)
		s.read++
		left := max(0, 50-leaf)
		want := min(w.grown(s.read), max(firstWindow, left+left/8+1))
		if left == 0 {
			want = w.grown(s.read)
		}
		if n := w.size(s); n != want {
			t.Fatalf("the window has %d pages after %d leaves, want %d", n, leaf, want)
		}
	}
}

// TestWindow_NoLimit goes faster if the statement is known to have no LIMIT, and
// fetches three times what it needs at most if the program closes its rows after
// some pages.
func TestWindow_NoLimit(t *testing.T) {
	w := &window{first: firstWindow, limit: newRowLimit(func() (int, bool) { return 0, false })}
	w.limit.saw(20)
	for _, tc := range []struct{ read, want int }{{0, 8}, {1, 32}, {63, 504}, {64, 1800}, {900, 1800}, {1000, 2000}, {2500, 5000}, {5000, 5000}} {
		if n := w.size(&scan{pace: w, limit: 5000, read: tc.read}); n != tc.want {
			t.Errorf("the window has %d pages when %d were read, want %d", n, tc.read, tc.want)
		}
	}
}

// TestReadAhead_EachPageOnce scans a file from page 1 up to pages in it. A page is
// fetched once, and not many of those that the reader does not come to.
func TestReadAhead_EachPageOnce(t *testing.T) {
	for _, end := range []uint32{5, 20, 50, 400, 1000, 2000, 3000} {
		inBed(t, Options{CacheSize: 20 * (bedPageSize + cacheEntryOverhead)}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
			r := b.reader()
			_, before := b.store.TotalReads()
			var used int64
			for pgno := uint32(1); pgno <= end; pgno++ {
				if _, err := r.read(pgno); err != nil {
					t.Fatal(err)
				}
				loc, _ := v.Lookup(pgno)
				used += int64(loc.Size)
			}
			b.close() // requests under way end
			_, bytes := b.store.TotalReads()
			bytes -= before
			first, _ := v.Lookup(1)
			ahead := int64(min((&window{first: firstWindow}).grown(int(end)), 3000-int(end))) * int64(first.Size+64)
			if bytes < used || bytes > used+ahead {
				t.Errorf("%d pages: %d bytes read, want %d and at most %d more", end, bytes, used, ahead)
			}
			r.predictor.End()
			if n := unclaimedIn(b); n != 0 {
				t.Errorf("%d pages: %d are still kept for the scan", end, n)
			}
		})
	}
}
