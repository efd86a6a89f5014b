package pages

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/btree/btreetest"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// hungryTier is a tier that has only the pages that it was offered.
type hungryTier struct {
	noTier
	busy  bool // it has room only for those who wait
	mu    *sync.Mutex
	pages map[Key][]byte
}

func newHungryTier() hungryTier { return hungryTier{mu: new(sync.Mutex), pages: make(map[Key][]byte)} }

func (hungryTier) Needs() Needs { return NeedsPages }

func (h *hungryTier) Offer(key Key, page []byte, verified bool) {
	if !h.busy {
		h.OfferWait(context.Background(), key, page, verified)
	}
}

func (h *hungryTier) OfferWait(_ context.Context, key Key, page []byte, _ bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages[key] = bytes.Clone(page)
}

func (h *hungryTier) Read(key Key) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pages[key]
}

func (h *hungryTier) Peek(key Key) []byte { return h.Read(key) }

func (h *hungryTier) Has(key Key) bool { return h.Read(key) != nil }

// wantHits expects that a number of lookups in the regions were spared a request.
func wantHits(t *testing.T, r *bedReader, want int) {
	t.Helper()
	n := 0
	for _, r := range r.predictor.wide.regions {
		n += r.hits
	}
	if n != want {
		t.Errorf("%d lookups were spared a request, want %d", n, want)
	}
}

// A page that a body has brought counts as a hit when it is read for the first time.
// These hits tell whether to go on.
func TestWidening_Hits(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		beginBody(t, b, r)
		time.Sleep(time.Minute)
		wantHits(t, r, 0)
		for _, g := range r.predictor.wide.regions {
			if g.use != goesOn {
				t.Errorf("a region of tree %d: %v, though the leaves lie together", g.root, g.use)
			}
		}
		body, before := b.source.bodies.mu.all[0], b.source.Counts().PrefetchHits
		for i, w := range body.wants[:20] {
			r.wantLeaf(t, w.key.Pgno)
			wantHits(t, r, i+1)
			if n := b.source.Counts().PrefetchHits - before; n != int64(i)+1 {
				t.Errorf("%d pages count as prefetched and read, want %d", n, i+1)
			}
			r.wantLeaf(t, w.key.Pgno) // again
			wantHits(t, r, i+1)
		}
	})
}

// A local file that has only the pages that it is offered gets all that bodies bring.
// The first body comes after few lookups then.
func TestWidening_LocalTier(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		tier := newHungryTier()
		b.source.SetLocal(&tier)
		leaves := randomLeaves(minMisses)
		for _, pgno := range leaves {
			r.wantLeaf(t, pgno)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(tier.pages); n < 10*minMisses {
			t.Errorf("the tier has %d pages after %d lookups", n, minMisses)
		}
		for key, page := range tier.pages {
			if key.Pgno >= firstLeaf && !bytes.Equal(page, leafPage(key.Pgno, 1)) {
				t.Errorf("page %d is another one", key.Pgno)
			}
		}
		requests := b.countReads()
		for key := range tier.pages {
			if !slices.Contains(leaves, key.Pgno) && key.Pgno >= firstLeaf {
				r.wantLeaf(t, key.Pgno)
			}
		}
		if n := b.countReads() - requests; n != 0 {
			t.Errorf("%d requests for pages that the tier has", n)
		}
	})
}

// openTree opens a database with a tree of few leaves, whose root is page 2, or of
// many, and with requests that take a time.
func openTree(t *testing.T, leaves []uint32, latency time.Duration) (*bed, *bedReader) {
	t.Helper()
	client := newHookClient()
	pages := map[uint32][]byte{1: fakePage(1, 1)}
	for _, pgno := range leaves {
		pages[pgno] = leafPage(pgno, 1)
	}
	inner := []uint32{2}
	if len(leaves) <= bedFanOut {
		pages[2] = btreetest.Interior(bedPageSize, leaves...)
	} else {
		inner = pgnoRange(2, 2+uint32(len(leaves)/bedFanOut))
		pages[2] = btreetest.Interior(bedPageSize, inner[1:]...)
		for i, pgno := range inner[1:] {
			pages[pgno] = btreetest.Interior(bedPageSize, leaves[i*bedFanOut:(i+1)*bedFanOut]...)
		}
	}
	putPages(t, client, treeFile, slices.Max(leaves), 1000, pages)
	b := openBed(t, client, Options{})
	b.store.Limit = remote.NewLimiter(bedRequests)
	client.open = func(view.Key, int64) error {
		time.Sleep(latency)
		return nil
	}
	b.dropCache()
	b.store.Speed = remote.Speed{} // what was read so far took no time
	r := b.reader()
	for _, pgno := range inner {
		if _, err := b.source.Page(t.Context(), r.v, pgno); err != nil {
			t.Fatal(err)
		}
	}
	return b, r
}

// Lookups are widened in a tree whose root leads to its leaves, too, and only where
// enough comes in the time of a request.
func TestWidening_SmallTree(t *testing.T) {
	for _, tc := range []struct {
		latency time.Duration
		widens  bool
	}{
		{25 * time.Millisecond, true},
		{minFree * time.Second / assumedBandwidth, true},
		{minFree*time.Second/assumedBandwidth - time.Microsecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, r := openTree(t, pgnoRange(3, 2+bedFanOut), tc.latency)
			tier := newHungryTier()
			b.source.SetLocal(&tier)
			before := b.countReads()
			// They are read in an order that is no scan.
			lookups := int64(0)
			for i := range uint32(bedFanOut) {
				if leaf := (10 + i*21) % bedFanOut; leaf > 0 && leaf < bedFanOut-1 {
					r.wantLeaf(t, 3+leaf)
					lookups++
				}
				time.Sleep(time.Second)
			}
			n := b.countReads() - before
			if widens := n < lookups; widens != tc.widens {
				t.Errorf("requests take %v: %d requests for %d leaves", tc.latency, n, lookups)
			}
			r.predictor.End()
		})
	}
}

// assumedBandwidth is that of a store of which nothing is known, in bytes a second.
const assumedBandwidth = 20e6

// The leaves of a tree may lie anywhere in its file. Then the pages of the file that
// lie near one that is looked up are fetched in place of its neighbours in the tree.
func TestWidening_Scattered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const first = firstLeaf
		leaves := make([]uint32, bedLeaves)
		for i, k := range rand.New(rand.NewPCG(5, 6)).Perm(bedLeaves) {
			leaves[i] = first + uint32(k)
		}
		b, r := openTree(t, leaves, 25*time.Millisecond)
		before := b.countReads()
		const lookups = 600
		for _, i := range rand.New(rand.NewPCG(7, 8)).Perm(bedLeaves)[:lookups] {
			r.wantLeaf(t, first+uint32(i))
		}
		n := b.countReads() - before
		if n < minPassing || n > minPassing+40 {
			t.Errorf("%d requests for %d lookups", n, lookups)
		}
		for _, g := range r.predictor.wide.regions {
			if want := map[bool]regionUse{true: scattered, false: goesOn}[g.file == nil]; g.use != want {
				t.Errorf("a region of tree %d: %v, want %v", g.root, g.use, want)
			}
		}
		r.predictor.End()
	})
}

// The leaves on both sides of one are its neighbours, the nearest ones first.
func TestNeighbours_BothSides(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		for _, tc := range []struct {
			leaf        uint32
			first, last uint32
		}{
			{firstLeaf + 500, firstLeaf + 494, firstLeaf + 506},
			{firstLeaf + 2, firstLeaf, firstLeaf + 12},
			{lastLeaf - 2, lastLeaf - 12, lastLeaf},
		} {
			r.predictor.at(r.v)
			at, ok := r.predictor.walk().place(tc.leaf)
			if !ok {
				t.Fatalf("the place of page %d is not known", tc.leaf)
			}
			near := neighbours{&r.predictor, 12, nil}
			near.leaves(r.predictor.walk(), at)
			var got []uint32
			for _, w := range near.wants {
				got = append(got, w.key.Pgno)
			}
			slices.Sort(got)
			want := slices.DeleteFunc(pgnoRange(tc.first, tc.last), func(pgno uint32) bool { return pgno == tc.leaf })
			if !slices.Equal(got, want) {
				t.Errorf("neighbours of page %d are %v, want %v", tc.leaf, got, want)
			}
		}
	})
}

// Pages lie together if half of them come in bodies.
func TestNeighbours_LieTogether(t *testing.T) {
	file := new(view.File)
	for _, tc := range []struct {
		together, apart int
		want            bool
	}{
		{10, 0, true}, {10, 9, true}, {10, 10, true}, {10, 11, false}, {0, 1, false}, {0, 10, false}, {minBody - 1, 0, false},
	} {
		var n neighbours
		for i := range tc.together + tc.apart {
			off := int64(1000 * i)
			if i >= tc.together {
				off += int64(i) << 20
			}
			n.wants = append(n.wants, want{loc: view.Loc{Source: view.Source{File: file}, Offset: off, Size: 1000}})
		}
		if got := n.lieTogether(); got != tc.want {
			t.Errorf("%d pages together and %d apart: %v, want %v", tc.together, tc.apart, got, tc.want)
		}
	}
}

// A region that is too large for the bodies is left alone, unless the pages that came
// spare at least as many requests as there are.
func TestRegion_Pays(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		g := new(region)
		for i := range uint32(100) {
			g.missed(i, 500, float64(i%2), 1e6)
		}
		const free = 1 << 20
		if n := g.room(&r.predictor, free); n != 0 {
			t.Errorf("%d pages are fetched of a large region", n)
		}
		for pgno := range uint32(300) {
			g.unread.add(1000 + pgno)
		}
		hit := func() {
			g.looked()
			g.unread.remove(1000 + uint32(g.hits))
			g.hits++
		}
		for i := range uint32(40) {
			g.missed(200+i, 500, float64(i%2), 1e6)
			if i > 10 { // from now on, more lookups hit than miss
				hit()
				hit()
			}
			if got, want := g.room(&r.predictor, free) > 0, g.hits >= int(i)+1; got != want {
				t.Errorf("after %d hits and %d misses, more is fetched: %v, want %v", g.hits, i+1, got, want)
			}
		}
	})
}

// The map of parents does not have all leaves of a large tree. Lookups of its other
// leaves are widened all the same, as their rowids tell where they are.
func TestWidening_ForgottenParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const inner, fanOut, step = 40, 40, 10
		first := uint32(3 + inner)
		all := map[uint32][]byte{2: tableInner(fanOut*step, pgnoRange(3, 2+inner)...)}
		for i := range inner {
			at := first + uint32(i*fanOut)
			all[uint32(3+i)] = tableInnerFrom(i*fanOut*step, step, pgnoRange(at, at+fanOut-1)...)
			for k := range fanOut {
				all[at+uint32(k)] = tableLeaf(row{(i*fanOut+k)*step + 5, []any{string(oddPage(at+uint32(k), 1)[120:420])}})
			}
		}
		client, b, w := openTrees(t, all, append([]uint32{1}, pgnoRange(2, first-1)...)...)
		tier := newHungryTier()
		b.source.SetLocal(&tier)
		client.open = func(view.Key, int64) error {
			time.Sleep(25 * time.Millisecond)
			return nil
		}
		b.store.Speed = remote.Speed{}
		r := b.reader()
		for n, i := range rand.New(rand.NewPCG(1, 2)).Perm(inner * fanOut)[:minMisses] {
			if n == 1 { // one lookup has shown which tree it is
				m := &b.source.trees.treeMap.mu
				m.Lock()
				for pgno := range m.young {
					if pgno >= first {
						delete(m.young, pgno)
					}
				}
				m.Unlock()
				if _, ok := w.place(first + 77); ok {
					t.Fatal("the place of a leaf is known")
				}
			}
			pgno := first + uint32(i)
			if page, err := r.read(pgno); err != nil || !bytes.Equal(page, all[pgno]) {
				t.Fatalf("page %d: %v", pgno, err)
			}
			if _, ok := w.place(pgno); !ok {
				t.Errorf("the place of page %d is not known after lookup %d", pgno, n+1)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(tier.pages); n < 10*minMisses {
			t.Errorf("%d pages have come after %d lookups", n, minMisses)
		}
		r.predictor.End()
	})
}

// The pages of a file on both sides of one are its neighbours there, and not those that
// are in another file.
func TestNeighbours_OfFile(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, _ *view.View) {
		putOdd(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 3000, 3, []uint32{999, 1002})
		b.advance(t)
		b.dropCache()
		v := b.Current.Load()
		for _, tc := range []struct {
			pgno uint32
			want []uint32
		}{
			{1000, []uint32{996, 997, 998, 1001, 1003, 1004}}, {2, []uint32{1, 3, 4, 5, 6, 7}}, {3000, pgnoRange(2994, 2999)},
		} {
			loc, _ := v.Lookup(tc.pgno)
			p := NewPredictor(b.prefetcher)
			p.at(v)
			near := neighbours{&p, 6, nil}
			near.frames(tc.pgno, loc.File)
			var got []uint32
			for _, w := range near.wants {
				got = append(got, w.key.Pgno)
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("neighbours of page %d in its file are %v, want %v", tc.pgno, got, tc.want)
			}
		}
	})
}

// A body takes a quarter of what all may take, or half of what is free, or what comes in
// the time of a request.
func TestRegion_Room(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		const size = 1000 - frameOverhead
		s := b.source.bodies
		s.most = 1 << 20
		g := new(region)
		g.missed(1, size, 0.2, 100)
		if g.missed(2, size, 0.4, 100); int(g.pages+0.5) != 60 {
			t.Errorf("two lookups that are a fifth of 100 pages apart are of %.1f pages, want 60", g.pages)
		}
		for _, tc := range []struct {
			free, held int64
			want       int
		}{
			{1 << 30, 0, 1 << 18 / 1000}, {50_000, 0, 50}, {1 << 30, 1<<20 - 300_000, 150}, {1 << 30, 1<<20 - 100_000, 0},
		} {
			s.held.Store(tc.held)
			if n := g.room(&r.predictor, tc.free); n != tc.want {
				t.Errorf("with %d bytes held, and %d in the time of a request: %d pages, want %d", tc.held, tc.free, n, tc.want)
			}
		}
		s.held.Store(0)
		// A body is stale after several lookups for each of its pages, if they were spread
		// evenly, and at once where a local file has its pages by then.
		if got, want := g.patience(&r.predictor, 10), int64(staleAfter*g.pages/10); got != want {
			t.Errorf("a body is stale after %d lookups, want %d", got, want)
		}
		tier := newHungryTier()
		if b.source.SetLocal(&tier); g.patience(&r.predictor, 10) >= 0 {
			t.Error("a body whose pages are in the local file is not stale at once")
		}
	})
}

// A lookup counts once, also if its page is fetched again for another reason.
func TestWidening_CountsOnce(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		const leaf = firstLeaf + 700
		r.wantLeaf(t, leaf)
		if n := b.source.bodies.clock.Load(); n != 1 {
			t.Errorf("%d lookups make bodies older, want 1", n)
		}
		r.predictor.Fetched(r.v, leaf, leafPage(leaf, 1))
		for _, g := range r.predictor.wide.regions {
			if g.misses != 1 {
				t.Errorf("%d lookups count, want 1", g.misses)
			}
		}
	})
}

// Nothing is widened where a local file fetches everything by itself.
func TestWidening_FullCopy(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		b.source.SetLocal(&viewTier{})
		before := b.countReads()
		leaves := randomLeaves(2 * minPassing)
		for _, pgno := range leaves {
			r.wantLeaf(t, pgno)
		}
		if n := b.countReads() - before; n < int64(len(leaves))*9/10 { // some lie beside each other
			t.Errorf("%d requests for %d lookups", n, len(leaves))
		}
		if n := b.source.bodies.held.Load(); n != 0 {
			t.Errorf("%d bytes are held", n)
		}
	})
}
