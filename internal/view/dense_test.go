package view_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// find looks a page up as a reader does: it reads parts of the page index of so
// many bytes until one has the page. It returns how many parts it read.
func find(t testing.TB, e *viewtest.Encoded, loc view.Loc, pgno uint32, size int64) (found view.Loc, parts int) {
	t.Helper()
	d := loc.File.Dense
	for p := d.Probe(pgno); loc.IsUnread(); parts++ {
		from, to := p.Range(size)
		if from >= to || parts > 100 {
			t.Fatalf("page %d is not between %d and %d after %d parts", pgno, from, to, parts)
		}
		w := e.Window(t, d, from, to)
		if err := d.Add(w); err != nil {
			t.Fatal(err)
		}
		loc.Offset, loc.Size = p.Take(w)
	}
	return loc, parts
}

// TestDense_RandomHistories plays random histories with files whose page indexes
// are read as needed, and the same ones with files that were read whole. The views
// are the same at any time, and so are their differences.
func TestDense_RandomHistories(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			pageSize := uint32(4096)
			most := uint32(5000)
			if seed%8 == 0 { // the lock page is in the middle
				pageSize, most = 65536, ltx.LockPgno(65536)+3000
			}
			budget := view.NewBudget(rng.Int64N(2) * 20_000)
			encoded := make(map[view.Key]*viewtest.Encoded)
			full, lazy := new(view.View), new(view.View)
			var fulls, lazies []*view.View
			commit := most
			dense := func(txid ltx.TXID, commit uint32) (whole, unread *view.File, index ltxio.Index) {
				e := viewtest.EncodeDense(t, txid, pageSize, commit)
				whole, unread = e.Whole(), e.Unread(t, budget)
				encoded[unread.Key()] = e
				return whole, unread, e.Index
			}
			commits := []uint32{0}
			for txid := ltx.TXID(1); txid <= 20; txid++ {
				if rng.IntN(3) == 0 {
					commit = max(most-2500, min(most+500, commit+rng.Uint32N(1000)-500))
				}
				var err error
				if txid == 1 || rng.IntN(8) == 0 {
					whole, unread, index := dense(txid, commit)
					full = viewtest.Advance(t, full, whole, index)
					lazy = viewtest.Advance(t, lazy, unread, ltxio.Index{})
				} else {
					var pgnos []uint32
					for pgno := 1 + rng.Uint32N(2000); pgno <= commit; pgno += 1 + rng.Uint32N(1+rng.Uint32N(500)) {
						pgnos = append(pgnos, pgno)
					}
					for pgno := commits[len(commits)-1] + 1; pgno <= commit; pgno++ {
						pgnos = append(pgnos, pgno)
					}
					slices.Sort(pgnos)
					pgnos = slices.DeleteFunc(slices.Compact(pgnos), func(pgno uint32) bool { return pgno == ltx.LockPgno(pageSize) })
					f, index := viewtest.File(t, txid, txid, pageSize, commit, slices.Values(pgnos))
					full = viewtest.Advance(t, full, f, index)
					lazy = viewtest.Advance(t, lazy, f, index)
				}
				commits = append(commits, commit)
				fulls, lazies = append(fulls, full), append(lazies, lazy)
				if rng.IntN(4) == 0 { // a snapshot of an earlier state or this one
					at := 1 + ltx.TXID(rng.Uint64N(uint64(txid)))
					whole, unread, index := dense(at, commits[at])
					n, m := 0, 0
					if full, n, err = full.Relocate(whole, index); err != nil {
						t.Fatal(err)
					}
					if lazy, m, err = lazy.Relocate(unread, ltxio.Index{}); err != nil || n != m {
						t.Fatalf("%d pages were moved, want %d: %v", m, n, err)
					}
					fulls, lazies = append(fulls, full), append(lazies, lazy)
				}
				for range rng.IntN(4) {
					pgno := 1 + rng.Uint32N(commit)
					if loc, ok := lazy.Lookup(pgno); ok && loc.IsUnread() {
						find(t, encoded[loc.File.Key()], loc, pgno, 9000)
					}
				}
			}
			for i := range fulls {
				compareViews(t, i, fulls[i], lazies[i], encoded)
			}
			for range 20 {
				i, k := rng.IntN(len(fulls)), rng.IntN(len(fulls))
				var want, got []uint32
				view.EachDifference(&fulls[i].Pages, &fulls[k].Pages, func(pgno uint32) { want = append(want, pgno) })
				view.EachDifference(&lazies[i].Pages, &lazies[k].Pages, func(pgno uint32) { got = append(got, pgno) })
				if !slices.Equal(got, want) {
					t.Fatalf("views %d and %d differ in %d pages, want %d", i, k, len(got), len(want))
				}
			}
			if limit := budget.Limit(); budget.Used() > limit {
				t.Errorf("the page indexes take %d bytes of %d", budget.Used(), limit)
			}
		})
	}
}

// compareViews compares view i with the same one of files that were read whole.
func compareViews(t *testing.T, i int, full, lazy *view.View, encoded map[view.Key]*viewtest.Encoded) {
	t.Helper()
	type source struct {
		view.Key
		version ltx.TXID
	}
	counts := make(map[source]int)
	full.EachSource(func(s view.Source, pages int) { counts[source{s.File.Key(), s.Version}] += pages })
	lazy.EachSource(func(s view.Source, pages int) { counts[source{s.File.Key(), s.Version}] -= pages })
	for s, n := range counts {
		if n != 0 {
			t.Fatalf("view %d: pages of version %d in %s are miscounted by %d", i, s.version, s.Key, n)
		}
	}
	if full.Pages.End() != lazy.Pages.End() || full.Pages.Len() != lazy.Pages.Len() {
		t.Fatalf("view %d has %d pages up to %d, want %d up to %d", i, lazy.Pages.Len(), lazy.Pages.End(), full.Pages.Len(), full.Pages.End())
	}
	var pgnos []uint32
	lazy.Pages.EachMissing(nil, 1, math.MaxUint32, func(pgno uint32, _ view.Loc) bool {
		pgnos = append(pgnos, pgno)
		return true
	})
	k := 0
	for pgno := uint32(0); pgno <= full.Pages.End()+2; pgno++ {
		want, ok := full.Lookup(pgno)
		got, known := lazy.Lookup(pgno)
		if ok != known {
			t.Fatalf("view %d: page %d is there: %v, want %v", i, pgno, known, ok)
		}
		if !ok {
			continue
		}
		if k == len(pgnos) || pgnos[k] != pgno {
			t.Fatalf("view %d: EachMissing leaves out page %d", i, pgno)
		}
		k++
		if got.IsUnread() && pgno%31 != 0 {
			got.Offset, got.Size = want.Offset, want.Size
		} else if got.IsUnread() {
			got, _ = find(t, encoded[got.File.Key()], got, pgno, 9000)
		}
		if got.File.Key() != want.File.Key() || got.Version != want.Version || got.Offset != want.Offset || got.Size != want.Size {
			t.Fatalf("view %d: page %d is at %+v, want %+v", i, pgno, got, want)
		}
	}
	if k != len(pgnos) {
		t.Fatalf("view %d: EachMissing has %d pages, want %d", i, len(pgnos), k)
	}
}

// A page of a large file is found with one or two reads of its index.
func TestDense_Probes(t *testing.T) {
	e := viewtest.EncodeDense(t, 1, 4096, 400_000)
	rng := rand.New(rand.NewPCG(8, 8))
	total := 0
	for range 100 {
		v := viewtest.Advance(t, new(view.View), e.Unread(t, nil), ltxio.Index{})
		pgno := 1 + rng.Uint32N(400_000)
		loc, ok := v.Lookup(pgno)
		if pgno == ltx.LockPgno(4096) {
			continue
		}
		if !ok || !loc.IsUnread() {
			t.Fatalf("page %d: %+v, %v", pgno, loc, ok)
		}
		_, parts := find(t, e, loc, pgno, 32<<10)
		total += parts
	}
	if total > 120 {
		t.Errorf("100 pages take %d reads of the index", total)
	}
}
