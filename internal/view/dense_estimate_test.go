package view_test

import (
	"math/rand/v2"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestDense_Estimate estimates the places of frames from parts of the index, of
// databases whose frames differ in various ways.
func TestDense_Estimate(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	const (
		pages = 200_000
		part  = 32 << 10
		most  = 64 << 10
	)
	for name, tc := range map[string]struct {
		sizeOf       func(rng *rand.Rand, pgno uint32) uint64
		far          bool    // pages anywhere, or near a part of the index that is known
		right, given float64 // least share of the estimates that are right, and of the pages that have one
	}{
		"all alike":          {func(*rand.Rand, uint32) uint64 { return 300 }, true, 1, 0.9},
		"at random":          {func(rng *rand.Rand, _ uint32) uint64 { return 30 + rng.Uint64N(100) }, true, 0.95, 0.9},
		"larger and larger":  {func(_ *rand.Rand, pgno uint32) uint64 { return 100 + uint64(pgno)/500 }, false, 0.8, 0.7},
		"two kinds by turns": {func(rng *rand.Rand, pgno uint32) uint64 { return 100 + uint64(pgno%3)*900 + rng.Uint64N(50) }, false, 0.95, 0.9},
		"one kind after another": {func(rng *rand.Rand, pgno uint32) uint64 {
			return 200 + uint64(pgno/30_000%2)*1500 + rng.Uint64N(100)
		}, false, 0.8, 0.8},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 17))
			e := viewtest.EncodeDenseOfSizes(t, 1, 4096, pages, func(pgno uint32) uint64 { return tc.sizeOf(rng, pgno) })
			file := e.Unread(t, nil)
			right, given, unread := 0, 0, 0
			for i := range 400 {
				if i%20 == 0 {
					file = e.Unread(t, nil)
				}
				pgno := 1 + rng.Uint32N(pages)
				near := view.Loc{Source: view.Source{File: file, Version: 1}}
				if !tc.far {
					find(t, e, near, pgno, part)
					away := 2000 + rng.Uint32N(8000)
					if isAfter := i%40 < 20; isAfter {
						pgno = min(pages, pgno+away)
					} else {
						pgno -= min(pgno-1, away)
					}
				}
				d := file.Dense
				if _, size := d.Find(pgno); size != 0 {
					continue
				}
				unread++
				guess, ok := d.Estimate(pgno, most)
				if ok {
					checkBeside(t, d, pgno, guess)
				}
				loc, _ := find(t, e, near, pgno, part)
				if !ok {
					continue
				}
				given++
				if guess.To-guess.From > most+2*d.MaxFrame() {
					t.Fatalf("an estimate of %d bytes", guess.To-guess.From)
				}
				if guess.Holds(loc.Offset, loc.Size) {
					right++
				}
			}
			t.Logf("%d estimates for %d pages, %d right", given, unread, right)
			if float64(right) < tc.right*float64(given) || float64(given) < tc.given*float64(unread) {
				t.Errorf("%d estimates for %d pages, %d right", given, unread, right)
			}
		})
	}
}

// checkBeside checks that an estimate for a page has no frame whose place is known.
func checkBeside(t *testing.T, d *view.Dense, pgno uint32, guess view.Estimate) {
	t.Helper()
	for below := pgno - 1; below > 0; below-- {
		if offset, size := d.Find(below); size != 0 {
			if end := offset + int64(size); guess.From < end {
				t.Fatalf("an estimate for page %d from %d on, in spite of page %d, which ends at %d", pgno, guess.From, below, end)
			}
			break
		}
	}
	for above := pgno + 1; above <= d.Commit; above++ {
		if offset, size := d.Find(above); size != 0 {
			if guess.To > offset {
				t.Fatalf("an estimate for page %d up to %d, in spite of page %d, which begins at %d", pgno, guess.To, above, offset)
			}
			break
		}
	}
}

// TestDense_EstimateOfNothing estimates places before any part of an index was read.
func TestDense_EstimateOfNothing(t *testing.T) {
	d := viewtest.EncodeDense(t, 1, 4096, 50_000).Unread(t, nil).Dense
	for pgno := range uint32(50_000) {
		if e, ok := d.Estimate(pgno+1, 1<<20); ok {
			t.Fatalf("page %d: %v", pgno+1, e)
		}
	}
}

// TestDense_EstimateOfOneSide estimates the place of a frame from few known ones that are
// all before it or all after it, whichever side is nearer.
func TestDense_EstimateOfOneSide(t *testing.T) {
	const pages, size = 8 * slotPages, 100
	e := viewtest.EncodeDenseOfSizes(t, 1, 4096, pages, func(uint32) uint64 { return size })
	at := func(pgno uint32) int64 { return ltx.HeaderSize + size*int64(pgno-1) }
	for _, known := range []uint32{1, 700, pages / 2, pages - 9} {
		for pgno := uint32(1); pgno <= pages; pgno += 50 {
			d := e.Unread(t, nil).Dense
			w := ltxio.Window{Start: ltxio.Anchor{Pgno: known, Offset: at(known)}, Sizes: []uint32{size, size, size, size, size, size, size, size, size, size}}
			if err := d.Add(w); err != nil {
				t.Fatal(err)
			}
			if _, n := d.Find(pgno); n != 0 {
				continue
			}
			if guess, ok := d.Estimate(pgno, 1<<20); !ok || !guess.Holds(at(pgno), size) || guess.To-guess.From > d.MaxFrame()+4 {
				t.Errorf("page %d, with frames from page %d on: %+v, %v", pgno, known, guess, ok)
			}
		}
	}
}
