package view

import (
	"maps"
	"math/rand/v2"
	"testing"
)

func TestBitmap_missingIn(t *testing.T) {
	b := NewBitmap(200)
	for pgno := uint32(1); pgno <= 200; pgno += 3 {
		b.Set(pgno)
	}
	for _, r := range [][2]uint32{{1, 200}, {1, 1}, {2, 2}, {64, 65}, {60, 130}, {199, 5000}, {0, 10}, {7, 3}} {
		var want, got []uint32
		for pgno := r[0]; pgno >= 1 && pgno <= min(r[1], 256); pgno++ {
			if !b.Has(pgno) {
				want = append(want, pgno)
			}
		}
		b.missingIn(r[0], r[1], func(pgno uint32) bool { got = append(got, pgno); return true })
		if len(got) != len(want) || len(got) > 0 && (got[0] != want[0] || got[len(got)-1] != want[len(want)-1]) {
			t.Errorf("%v: got %v, want %v", r, got, want)
		}
	}
}

func TestBitmap_Count(t *testing.T) {
	b := NewBitmap(20_000) // of which leaves in the middle are missing
	for _, pgno := range []uint32{1, 2, 63, 64, 65, 128, 4096, 4097, 5000, 19_999, 20_000} {
		b.Set(pgno)
	}
	for _, r := range [][2]uint32{{1, 20_000}, {0, 1 << 31}, {1, 1}, {2, 64}, {64, 64}, {65, 128}, {66, 127}, {4096, 4097}, {4098, 19_998}, {5000, 5000}, {20_001, 30_000}, {7, 3}} {
		var want uint32
		for pgno := max(1, r[0]); pgno <= min(r[1], 30_000); pgno++ {
			if b.Has(pgno) {
				want++
			}
		}
		if got := b.Count(r[0], r[1]); got != want {
			t.Errorf("%v: %d, want %d", r, got, want)
		}
	}
}

// A bitmap has no pages beyond its limit, also where that is the end of its memory.
func TestBitmap_Limit(t *testing.T) {
	for _, pages := range []uint32{1, 64, 4096, nodeWords * 64} {
		b := NewBitmap(pages)
		for pgno, want := range map[uint32]bool{0: false, 1: true, pages: true, pages + 64: false, 1<<32 - 1: false} {
			if b.Set(pgno); b.Has(pgno) != want {
				t.Errorf("page %d of %d: %v", pgno, pages, !want)
			}
		}
		want := uint32(2)
		if pages == 1 {
			want = 1
		}
		for _, last := range []uint32{pages, pages + 1, pages + 64, 1<<32 - 1} {
			if got := b.Count(0, last); got != want {
				t.Errorf("%d of %d pages up to %d, want %d", got, pages, last, want)
			}
		}
	}
}

// TestBitmap_Model compares a bitmap and its clone with sets, while only one of them
// changes.
func TestBitmap_Model(t *testing.T) {
	const size = 20_000
	b, model := NewBitmap(size), make(map[uint32]bool)
	rng := rand.New(rand.NewPCG(1, 2))
	page := func() uint32 { // few leaves, so that some are missing
		return 1 + rng.Uint32N(3)*8192 + rng.Uint32N(200)
	}
	compare := func(what string, b *Bitmap, model map[uint32]bool) {
		t.Helper()
		for pgno := uint32(1); pgno <= size; pgno++ {
			if b.Has(pgno) != model[pgno] {
				t.Fatalf("%s: page %d: %v, want %v", what, pgno, b.Has(pgno), model[pgno])
			}
		}
	}
	for range 20 {
		clone, before := b.Clone(), maps.Clone(model)
		for range 100 {
			pgno := page()
			if rng.IntN(3) == 0 {
				if changed := b.Clear(pgno); changed != model[pgno] {
					t.Fatalf("clear page %d: %v, want %v", pgno, changed, model[pgno])
				}
				delete(model, pgno)
			} else {
				if changed := b.Set(pgno); changed == model[pgno] {
					t.Fatalf("set page %d: %v, want %v", pgno, changed, !model[pgno])
				}
				model[pgno] = true
			}
		}
		compare("a bitmap", b, model)
		compare("a clone that did not change", clone, before)
	}
}

// A set of pages of the largest database takes no memory before it has pages.
func TestBitmap_Largest(t *testing.T) {
	const last = 1<<32 - 2
	b := NewBitmap(last)
	if n := 8 * len(b.nodes); n > 16<<10 {
		t.Errorf("an empty set takes %d bytes", n)
	}
	for _, pgno := range []uint32{1, 4096, 4097, 1 << 22, 1<<22 + 1, last} {
		if b.Has(pgno) || !b.Set(pgno) || !b.Has(pgno) || b.Set(pgno) {
			t.Errorf("page %d cannot be added", pgno)
		}
	}
	c := b.Clone()
	if !b.Clear(last) || b.Has(last) || !c.Has(last) || !c.Has(1<<22+1) {
		t.Error("a copy changes with the set")
	}
	if n := c.Count(1, last); n != 6 {
		t.Errorf("the copy has %d pages", n)
	}
	larger := NewBitmap(100).RoomFor(last)
	if !larger.Set(last) || larger.Count(last, last) != 1 {
		t.Error("there is no room")
	}
}
