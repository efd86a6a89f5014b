package view_test

import (
	"context"
	"errors"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// slotPages is the number of pages whose places are kept together.
const slotPages = 512

// TestDense_Contradictions adds two parts of an index. They have to agree where they
// overlap and where they touch, and must not lie the wrong way round.
func TestDense_Contradictions(t *testing.T) {
	e := viewtest.EncodeDenseOfSizes(t, 1, 4096, 3*slotPages, func(uint32) uint64 { return 100 })
	part := func(first uint32, offset int64, sizes ...uint32) ltxio.Window {
		return ltxio.Window{Start: ltxio.Anchor{Pgno: first, Offset: offset}, Sizes: sizes}
	}
	same := func(n int) (sizes []uint32) {
		for range n {
			sizes = append(sizes, 100)
		}
		return sizes
	}
	at := func(pgno uint32) int64 { return ltx.HeaderSize + 100*int64(pgno-1) }
	for name, c := range map[string]struct {
		a, b ltxio.Window
		ok   bool
	}{
		"one within the other":             {part(10, at(10), same(20)...), part(15, at(15), same(5)...), true},
		"the same":                         {part(10, at(10), same(20)...), part(10, at(10), same(20)...), true},
		"they overlap":                     {part(10, at(10), same(20)...), part(20, at(20), same(20)...), true},
		"they touch":                       {part(10, at(10), same(20)...), part(30, at(30), same(20)...), true},
		"pages between them":               {part(10, at(10), same(20)...), part(40, at(40), same(19)...), true}, // the longer one stays
		"slots that touch":                 {part(slotPages, at(slotPages), 100), part(slotPages+1, at(slotPages+1), 100), true},
		"pages between slots":              {part(slotPages-2, at(slotPages-2), 100), part(slotPages+3, at(slotPages+3), 100), true},
		"another offset within":            {part(10, at(10), same(20)...), part(15, at(15)+1, same(5)...), false},
		"another size within":              {part(10, at(10), same(20)...), part(15, at(15), 100, 101, 100), false},
		"another size of the last page":    {part(10, at(10), same(20)...), part(28, at(28), 100, 101), false},
		"another offset of the last page":  {part(10, at(10), same(20)...), part(29, at(29)-1, 101), false},
		"another place where they touch":   {part(10, at(10), same(20)...), part(30, at(30)+1, same(5)...), false},
		"another place where slots touch":  {part(slotPages, at(slotPages), 100), part(slotPages+1, at(slotPages+1)+1, 100), false},
		"another place of the last slot":   {part(2*slotPages, at(2*slotPages), 100), part(2*slotPages+1, at(2*slotPages+1)+1, 100), false},
		"a gap where slots touch":          {part(slotPages, at(slotPages), 99), part(slotPages+1, at(slotPages+1), 100), false},
		"slots the wrong way round":        {part(slotPages-2, at(slotPages)+1000, 100), part(slotPages+3, at(slotPages+3), 100), false},
		"slots of which one is in between": {part(slotPages-2, at(slotPages+9), 100), part(2*slotPages+3, at(slotPages), 100), true}, // they are not next to each other
	} {
		for order, parts := range [][2]ltxio.Window{{c.a, c.b}, {c.b, c.a}} {
			d := e.Unread(t, nil).Dense
			if err := d.Add(parts[0]); err != nil {
				t.Fatal(err)
			}
			if err := d.Add(parts[1]); (err == nil) != c.ok || err != nil && !errors.Is(err, ltxio.ErrCorrupt) {
				t.Errorf("%s, order %d: %v", name, order, err)
			}
			stays := parts[0]
			if c.ok {
				stays = c.a
			}
			if offset, size := d.Find(stays.Start.Pgno); offset != stays.Start.Offset || size != stays.Sizes[0] {
				t.Errorf("%s, order %d: page %d is at %d with %d bytes", name, order, stays.Start.Pgno, offset, size)
			}
		}
	}
}

// TestDense_SmallBudget reads an index whose budget has no room for any part of it. Pages
// are found between the marks of the parts that were read before.
func TestDense_SmallBudget(t *testing.T) {
	const commit = 50_000
	e := viewtest.EncodeDense(t, 1, 4096, commit)
	file := e.Unread(t, view.NewBudget(1))
	d := file.Dense
	for from := d.Start; from < d.End; from += 10_000 {
		if err := d.Add(e.Window(t, d, max(d.Start, from-100), min(d.End, from+10_000))); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for range 100 {
		pgno := 1 + rng.Uint32N(commit)
		if from, to := d.Probe(pgno).Range(d.End); to-from > (ltxio.MarkEvery+1)*14 {
			t.Fatalf("page %d is looked for in %d bytes of %d", pgno, to-from, d.End-d.Start)
		}
		find(t, e, view.Loc{Source: view.Source{File: file, Version: 1}}, pgno, 9000)
	}
	// All frames are as large as any, so that the mean and the deviation of others say
	// where a frame is, between two marks.
	right, given := 0, 0
	for range 300 {
		pgno := 1 + rng.Uint32N(commit)
		if _, size := d.Find(pgno); size != 0 {
			continue
		}
		guess, ok := d.Estimate(pgno, 1<<20)
		loc, _ := find(t, e, view.Loc{Source: view.Source{File: e.Unread(t, nil), Version: 1}}, pgno, 9000)
		if given++; ok && guess.Holds(loc.Offset, loc.Size) {
			right++
		}
	}
	if right*100 < given*95 {
		t.Errorf("%d of %d estimates are right", right, given)
	}
	if pgno := d.Finish(); pgno != 0 || d.IsComplete() {
		t.Errorf("an index with a bound is complete: %v; page %d is missing", d.IsComplete(), pgno)
	}
}

// TestDense_Finish reads an index whole but for some pages, which it tells. One that has
// all is complete. One goroutine at a time does that.
func TestDense_Finish(t *testing.T) {
	const commit = 3*slotPages + 100
	e := viewtest.EncodeDenseOfSizes(t, 1, 4096, commit, func(uint32) uint64 { return 50 })
	for _, missing := range []uint32{0, 1, 2, slotPages, slotPages + 1, 2*slotPages + 7, commit - 1, commit} {
		file := e.Unread(t, nil)
		d := file.Dense
		v := viewtest.Advance(t, new(view.View), file, ltxio.Index{})
		for pgno := uint32(1); pgno <= commit; pgno++ {
			last := min(commit, (pgno-1)/slotPages*slotPages+slotPages) // of its slot
			if missing >= pgno && missing <= last {
				last = missing - 1
			}
			if last >= pgno {
				sizes := slices.Repeat([]uint32{50}, int(last-pgno)+1)
				if err := d.Add(ltxio.Window{Start: ltxio.Anchor{Pgno: pgno, Offset: ltx.HeaderSize + 50*int64(pgno-1)}, Sizes: sizes}); err != nil {
					t.Fatal(err)
				}
			}
			if pgno = last; missing == last+1 { // the rest of its slot is left out, too
				pgno = min(commit, (missing-1)/slotPages*slotPages+slotPages)
			}
		}
		end, err := d.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Begin(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("another goroutine begins meanwhile: %v", err)
		}
		if got := d.Finish(); got != missing || d.IsComplete() != (missing == 0) {
			t.Errorf("page %d is missing, want %d; complete: %v", got, missing, d.IsComplete())
		}
		end()
		if end, err = d.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		end()
		if isUnread := len(v.Unread()) > 0; isUnread != (missing > 0) {
			t.Errorf("page %d is missing: unread %v", missing, isUnread)
		}
	}
}

// The first page of a slot may be the only one that is missing.
func TestDense_FinishLacksFirst(t *testing.T) {
	d := viewtest.EncodeDenseOfSizes(t, 1, 4096, 2*slotPages, func(uint32) uint64 { return 50 }).Unread(t, nil).Dense
	for first, n := range map[uint32]int{1: slotPages, slotPages + 2: slotPages - 1} {
		if err := d.Add(ltxio.Window{Start: ltxio.Anchor{Pgno: first, Offset: ltx.HeaderSize + 50*int64(first-1)}, Sizes: slices.Repeat([]uint32{50}, n)}); err != nil {
			t.Fatal(err)
		}
	}
	if pgno := d.Finish(); pgno != slotPages+1 || d.IsComplete() {
		t.Errorf("page %d is missing, want %d", pgno, slotPages+1)
	}
}

// TestBudget_Bounds reads indexes with budgets of several sizes. The parts that are kept
// fit in, and nearly fill the budget.
func TestBudget_Bounds(t *testing.T) {
	const commit = 100_000
	e := viewtest.EncodeDenseOfSizes(t, 1, 4096, commit, func(uint32) uint64 { return 50 })
	for _, limit := range []int64{50_000, 100_000, 200_000} {
		budget := view.NewBudget(limit)
		d := e.Unread(t, budget).Dense
		for range 2 {
			for from := d.Start; from < d.End; from += 20_000 {
				if err := d.Add(e.Window(t, d, max(d.Start, from-100), min(d.End, from+20_000))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if guess, ok := d.Estimate(5000, 1<<20); !ok || !guess.Holds(ltx.HeaderSize+50*4999, 50) {
			t.Errorf("a frame of many that are alike: %+v, %v", guess, ok)
		}
		known := int64(0)
		for pgno := uint32(1); pgno <= commit; pgno++ {
			if _, size := d.Find(pgno); size != 0 {
				known++
			}
		}
		if known*4 > limit || known*4 < limit/2 || budget.Used() > limit || budget.Used() < limit/2 {
			t.Errorf("with %d bytes, the places of %d pages are known, which take %d", limit, known, budget.Used())
		}
	}
}

// An index that nobody has any more gives back its part of the budget.
func TestBudget_Released(t *testing.T) {
	const commit = 500_000
	budget := view.NewBudget(1 << 20)
	empty := budget.Used()
	d := view.NewDense(ltxio.Dense{Commit: commit, LockPgno: ltx.LockPgno(4096)}, budget)
	if n := budget.Used() - empty; n < commit/512*8 || n > commit/32 {
		t.Errorf("an index of %d pages without any part takes %d bytes", commit, n)
	}
	runtime.KeepAlive(d)
	for end := time.Now().Add(20 * time.Second); budget.Used() != empty; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are in use, which were %d", budget.Used(), empty)
		}
	}
}

// TestProbe_Misled looks for an entry that is never where it is expected. After some
// guesses the search halves what is left.
func TestProbe_Misled(t *testing.T) {
	e := viewtest.EncodeDense(t, 1, 4096, 400_000)
	d := e.Unread(t, nil).Dense
	const size, pgno = 1000, 200_000
	most := 5 + bits.Len64(uint64((d.End-d.Start)/(size/2)))
	for _, hidden := range []int64{d.Start + 10, d.Start + 10*size, (d.Start + d.End) / 2, d.End - 30*size, d.End - 10} {
		p := d.Probe(pgno)
		parts := 0
		for ; ; parts++ {
			from, to := p.Range(size)
			if from <= hidden && hidden < to {
				break
			}
			if to-from > size || parts > 1000 {
				t.Fatalf("part %d is at %d to %d", parts, from, to)
			}
			// The entries that are found always seem to be right before the page, or after it.
			w := ltxio.Window{Start: ltxio.Anchor{Pgno: pgno - 2, At: from}, Next: ltxio.Anchor{Pgno: pgno - 1, At: to, Offset: 2 * to}}
			if hidden < from {
				w.Start = ltxio.Anchor{Pgno: pgno + 1, At: from, Offset: 2 * from}
			}
			if _, n := p.Take(w); n != 0 {
				t.Fatal("a page is found where it is not")
			}
		}
		if parts > most {
			t.Errorf("an entry at %d of %d takes %d parts, want %d at most", hidden-d.Start, d.End-d.Start, parts, most)
		}
	}
}

// TestDense_Relocate relocates pages to a file that has fewer pages than there are in the
// one before. The others stay where they are.
func TestDense_Relocate(t *testing.T) {
	const commit = 2 * view.ChunkLen
	for name, c := range map[string]struct {
		pages   uint32   // in the other file
		changed []uint32 // pages of a later version
		moved   int
	}{
		"all":                         {commit, nil, commit},
		"all but one":                 {commit - 1, nil, commit - 1},
		"half":                        {commit / 2, nil, commit / 2},
		"one":                         {1, nil, 1},
		"changed ones stay":           {commit / 2, []uint32{1, commit / 2, commit}, commit/2 - 2},
		"the last one was changed":    {commit - 1, []uint32{commit}, commit - 1},
		"it has changed ones only":    {3, []uint32{1, 2, 3}, 0},
		"it has all, and one changed": {commit, []uint32{9}, commit - 1},
	} {
		a, b := viewtest.EncodeDense(t, 5, 4096, commit).Unread(t, nil), viewtest.EncodeDense(t, 5, 4096, c.pages).Unread(t, nil)
		b.Level = 9
		v := viewtest.Advance(t, new(view.View), a, ltxio.Index{})
		isChanged := make(map[uint32]bool)
		if len(c.changed) > 0 {
			f, index := viewtest.File(t, 6, 6, 4096, commit, func(yield func(uint32) bool) {
				for _, pgno := range c.changed {
					isChanged[pgno] = true
					yield(pgno)
				}
			})
			v = viewtest.Advance(t, v, f, index)
		}
		next, n, err := v.Relocate(b, ltxio.Index{})
		if err != nil || n != c.moved || (next == v) != (c.moved == 0) {
			t.Errorf("%s: %d pages are moved, %v, want %d", name, n, err, c.moved)
			continue
		}
		counted := 0
		next.EachSource(func(s view.Source, pages int) {
			if s.File == b {
				counted += pages
			}
		})
		if counted != c.moved || next.Pages.Len() != commit || next.Pages.End() != commit {
			t.Errorf("%s: %d pages count for the file, of %d up to %d", name, counted, next.Pages.Len(), next.Pages.End())
		}
		for pgno := uint32(1); pgno <= commit+1; pgno++ {
			loc, ok := next.Lookup(pgno)
			if ok != (pgno <= commit) || ok && !isChanged[pgno] && (loc.File == b) != (pgno <= c.pages) || ok && isChanged[pgno] != (loc.Version == 6) {
				t.Fatalf("%s: page %d is in %+v, %v", name, pgno, loc, ok)
			}
		}
	}
}

// A file whose index is not read has no page beyond its end, whatever is in the state.
func TestRelocate_SmallerDense(t *testing.T) {
	const commit = 300
	f, index := viewtest.File(t, 1, 3, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), f, index)
	f, index = viewtest.File(t, 4, 4, 4096, commit, slices.Values([]uint32{1, 100, 101, commit}))
	v = viewtest.Advance(t, v, f, index)
	f, index = viewtest.File(t, 5, 5, 4096, commit, slices.Values([]uint32{2, commit}))
	v = viewtest.Advance(t, v, f, index)
	dense := viewtest.EncodeDense(t, 4, 4096, 100).Unread(t, nil)
	next, n, err := v.Relocate(dense, ltxio.Index{})
	if err != nil || n != 99 { // all of its pages but the second, which is of a later version
		t.Errorf("%d pages are moved, %v", n, err)
	}
	for pgno := uint32(1); pgno <= commit; pgno++ {
		before, _ := v.Lookup(pgno)
		loc, ok := next.Lookup(pgno)
		if !ok || loc.Version != before.Version || (loc.File == dense) != (pgno <= 100 && pgno != 2) {
			t.Fatalf("page %d is in %s, version %d, %v", pgno, loc.File, loc.Version, ok)
		}
	}
	if got := next.Unread(); len(got) != 1 || got[0] != dense {
		t.Errorf("files that are unread: %v", got)
	}
	if got := v.Unread(); len(got) != 0 {
		t.Errorf("files that were unread before: %v", got)
	}
}

// A state of which a file has no page is not moved.
func TestState_NothingToMove(t *testing.T) {
	f, index := viewtest.File(t, 1, 1, 4096, 10, viewtest.AllPages(4096, 10))
	v := viewtest.Advance(t, new(view.View), f, index)
	f, index = viewtest.File(t, 2, 2, 4096, 10, viewtest.Scattered(3, 100, 10))
	v = viewtest.Advance(t, v, f, index)
	state := new(view.State)
	f, index = viewtest.File(t, 2, 2, 4096, 10, viewtest.Scattered(4, 100, 10))
	if err := state.Relocate(v, f, index); err != nil || state.Moved.Load() != nil {
		t.Errorf("a file without any page of the state: %v, moved %v", err, state.Moved.Load() != nil)
	}
	f, index = viewtest.File(t, 2, 2, 4096, 10, viewtest.Scattered(3, 100, 10))
	if err := state.Relocate(v, f, index); err != nil || state.Moved.Load() == nil {
		t.Errorf("a file with a page of the state: %v, moved %v", err, state.Moved.Load() != nil)
	}
}
