package hydrate

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// TestCopyPlan_PartSize has more or less of a file be local. Parts keep their
// size.
func TestCopyPlan_PartSize(t *testing.T) {
	const commit = 200_000
	file, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), file, index)
	set := func(from, to uint32) func(*view.Bitmap) {
		return func(b *view.Bitmap) {
			for pgno := from; pgno < to; pgno++ {
				b.Set(pgno)
			}
		}
	}
	none := func(*view.Bitmap) {}
	for name, local := range map[string]struct{ before, meanwhile func(*view.Bitmap) }{
		"nothing":          {none, none},
		"the begin":        {set(1, 4000), none},
		"the end":          {set(commit-4000, commit+1), none},
		"the middle":       {set(50_000, 54_000), none},
		"half":             {set(1, commit/2), none},
		"a scan was ahead": {none, set(300, 199_000)},
	} {
		present := view.NewBitmap(commit)
		local.before(present)
		plan := newCopyPlan(new(places), v, present, 8)
		local.meanwhile(present)
		missing := make(map[uint32]bool)
		for pgno := uint32(1); pgno <= commit; pgno++ {
			if !present.Has(pgno) {
				missing[pgno] = true
			}
		}
		for _, batch := range plan.batches() {
			for _, p := range batch {
				if p.size() > 2*partSize || p.size() <= 0 {
					t.Errorf("%s: a part of %d bytes", name, p.size())
				}
				for pgno := p.first; pgno != 0 && pgno <= p.last; pgno++ {
					delete(missing, pgno)
				}
			}
		}
		if len(missing) > 0 {
			t.Errorf("%s: %d pages are in no part", name, len(missing))
		}
	}
}

// planned returns the batches for a database of pages whose frames have a size. The
// pages of other are of another file, and local.
func planned(t *testing.T, commit uint32, size uint64, other []uint32, concurrency int) [][]part {
	t.Helper()
	f, index := viewtest.FileOfSizes(t, 1, 1, 65536, commit, viewtest.AllPages(65536, commit), func(uint32) uint64 { return size })
	v := viewtest.Advance(t, new(view.View), f, index)
	present := view.NewBitmap(commit)
	if len(other) > 0 {
		file, index := viewtest.File(t, 2, 2, 65536, commit, slices.Values(other))
		v = viewtest.Advance(t, v, file, index)
		for _, pgno := range other {
			present.Set(pgno)
		}
	}
	return newCopyPlan(new(places), v, present, concurrency).batches()
}

// every returns each n-th page up to a last one.
func every(n, last uint32) (pgnos []uint32) {
	for pgno := n; pgno <= last; pgno += n {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// As many bytes as all streams read in a round are read in one, with requests of the
// largest size.
func TestCopyPlan_Rounds(t *testing.T) {
	for _, tt := range []struct {
		pages   uint32 // of 64 KiB
		batches int
	}{{64, 4}, {32, 4}, {128, 8}, {16, 4}} {
		if batches := planned(t, tt.pages, 64<<10, nil, 4); len(batches) != tt.batches {
			t.Errorf("%d MiB are read with %d requests, want %d", tt.pages/16, len(batches), tt.batches)
		}
	}
}

// Small gaps between pages are read through, as long as they are a small share of all.
// Others are not.
func TestCopyPlan_Gaps(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nth   uint32 // page that is not wanted, of the first thousand
		parts int
	}{{"a ninetieth", 90, 5}, {"a fifth", 5, 200}} {
		// The second thousand is local, so that the checksum is not of interest.
		other := every(tt.nth, 1000)
		for pgno := uint32(1001); pgno <= 2000; pgno++ {
			other = append(other, pgno)
		}
		batches := planned(t, 2000, 1000, other, 4)
		parts, wanted := 0, 0
		for _, batch := range batches {
			for _, p := range batch {
				parts++
				wanted += p.pages
			}
		}
		if want := 1000 - int(1000/tt.nth); parts != tt.parts || wanted != want {
			t.Errorf("%s: %d parts with %d pages, want %d with %d", tt.name, parts, wanted, tt.parts, want)
		}
	}
}

// Small parts go into a batch together, up to a number of them.
func TestCopyPlan_Batches(t *testing.T) {
	other := make([]uint32, 0, 12_000)
	for pgno := uint32(1); pgno <= 12_000; pgno++ {
		if pgno%1000 != 0 {
			other = append(other, pgno)
		}
	}
	batches := planned(t, 12_000, 1000, other, 4)
	var sizes []int
	for _, batch := range batches {
		sizes = append(sizes, len(batch))
	}
	if want := []int{maxBatch, 4}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %d parts, want %d", sizes, want)
	}
}

// A batch of parts reads no more than one part may.
func TestCopyPlan_BatchSize(t *testing.T) {
	var other []uint32
	for pgno := uint32(1); pgno <= 12_000; pgno++ {
		if pgno/128%2 == 1 {
			other = append(other, pgno)
		}
	}
	for _, batch := range planned(t, 12_000, 1000, other, 4) {
		size := int64(0)
		for _, p := range batch {
			size += p.size()
		}
		if size > partSize || len(batch) == maxBatch {
			t.Errorf("%d parts of %d bytes", len(batch), size)
		}
	}
}

// Where the checksum is not of interest, the last part ends with the last page that is
// wanted.
func TestCopyPlan_End(t *testing.T) {
	other := every(100, 2000)
	for pgno := uint32(1); pgno <= 1000; pgno++ {
		other = append(other, pgno)
	}
	slices.Sort(other)
	last := int64(0)
	for _, batch := range planned(t, 2000, 1000, slices.Compact(other), 4) {
		for _, p := range batch {
			last = max(last, p.end)
		}
	}
	if want := int64(ltx.HeaderSize + 1999*1000); last != want {
		t.Errorf("it reads up to %d, want %d", last, want)
	}
}

// A query that waits for a page gets the batch that it is in, once. The others follow
// in order.
func TestCopyWork(t *testing.T) {
	f := new(view.File)
	of := func(first, last uint32) []part { return []part{{file: f, first: first, last: last}} }
	w := newCopyWork([][]part{of(1, 10), append(of(11, 20), of(41, 50)...), of(21, 30), of(0, 0), of(31, 40)})
	for _, tt := range []struct{ pgno, want uint32 }{{45, 11}, {15, 0}, {51, 0}, {31, 31}, {40, 0}, {0, 1}, {10, 0}, {0, 21}, {30, 0}} {
		var batch []part
		if tt.pgno != 0 {
			batch = w.near(tt.pgno)
		} else {
			batch = w.next()
		}
		if got := firstOf(batch); got != tt.want {
			t.Errorf("page %d: the batch from page %d, want %d", tt.pgno, got, tt.want)
		}
	}
	if batch := w.next(); len(batch) != 1 || batch[0].first != 0 {
		t.Errorf("the batch without pages is %+v", batch)
	}
	if batch := w.next(); batch != nil {
		t.Errorf("after the last, there is %+v", batch)
	}
}

func firstOf(batch []part) uint32 {
	if len(batch) == 0 {
		return 0
	}
	return batch[0].first
}

// The missing pages of a part are read with requests that go on over gaps of a size.
func TestMissingParts(t *testing.T) {
	sizes := map[uint32]uint64{2: pages.MaxGap, 4: pages.MaxGap + 1}
	f, index := viewtest.FileOfSizes(t, 1, 1, 65536, 8, viewtest.AllPages(65536, 8), func(pgno uint32) uint64 { return max(sizes[pgno], 100) })
	other, otherIndex := viewtest.File(t, 2, 2, 65536, 8, slices.Values([]uint32{6}))
	v := viewtest.Advance(t, viewtest.Advance(t, new(view.View), f, index), other, otherIndex)
	present := view.NewBitmap(8)
	for _, pgno := range []uint32{2, 4} {
		present.Set(pgno)
	}
	at := func(pgno uint32) int64 {
		loc, _ := v.Lookup(pgno)
		return loc.Offset
	}
	parts := missingParts(new(places), v, present, part{file: f, first: 1, last: 7})
	want := []part{
		{file: f, offset: at(1), end: at(3) + 100, first: 1, last: 3},
		{file: f, offset: at(5), end: at(7) + 100, first: 5, last: 7},
	}
	if !slices.Equal(parts, want) {
		t.Errorf("parts %+v, want %+v", parts, want)
	}
}

// Nothing is known of the files of a recalled state but their names. None is read whole.
func TestCopyPlan_Recalled(t *testing.T) {
	r := view.Recalled{TXID: 1, Commit: 10, PageSize: 4096, Files: []view.RecalledFile{{Key: view.Key{Level: 9, MinTXID: 1, MaxTXID: 1}, Size: 1000, Commit: 10}}}
	v, err := r.NewView(func(fn func(first, pages uint32, version ltx.TXID)) { fn(1, 10, 1) })
	if err != nil {
		t.Fatal(err)
	}
	present := view.NewBitmap(10)
	for pgno := uint32(1); pgno <= 9; pgno++ {
		present.Set(pgno)
	}
	pages := 0
	for _, batch := range newCopyPlan(new(places), v, present, 8).batches() {
		for _, p := range batch {
			if pages += p.pages; p.whole {
				t.Errorf("%s is read whole", p.file)
			}
		}
	}
	if pages != 1 {
		t.Errorf("%d pages are read", pages)
	}
}
