package pages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/btree/btreetest"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// The tree of these tests has its root at page 2, interior pages after that, and then
// the leaves.
const (
	bedInner  = 48
	bedFanOut = 50
	firstLeaf = 3 + bedInner
	bedLeaves = bedInner * bedFanOut
	lastLeaf  = firstLeaf + bedLeaves - 1
)

// leafPage returns a leaf of a table that differs from all others.
func leafPage(pgno uint32, fill byte) []byte {
	page := oddPage(pgno, fill)
	page[0] = 13
	clear(page[1:8])
	return page
}

// putTree stores a file with the tree.
func putTree(t testing.TB, client *hookClient, k view.Key, fill byte, timestamp int64) {
	t.Helper()
	pages := map[uint32][]byte{1: fakePage(1, fill)}
	var inner []uint32
	for i := range uint32(bedInner) {
		var leaves []uint32
		for j := range uint32(bedFanOut) {
			pgno := firstLeaf + i*bedFanOut + j
			leaves = append(leaves, pgno)
			pages[pgno] = leafPage(pgno, fill)
		}
		inner = append(inner, 3+i)
		pages[3+i] = btreetest.Interior(bedPageSize, leaves...)
	}
	pages[2] = btreetest.Interior(bedPageSize, inner...)
	putPages(t, client, k, lastLeaf, timestamp, pages)
}

var treeFile = view.Key{Level: 9, MinTXID: 1, MaxTXID: 1}

// inTree runs a test with a tree whose interior pages are in the cache. Requests take
// 25 ms.
func inTree(t *testing.T, opts Options, do func(t *testing.T, client *hookClient, b *bed, r *bedReader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := newHookClient()
		putTree(t, client, treeFile, 1, 1000)
		b := openBed(t, client, opts)
		b.store.Limit = remote.NewLimiter(bedRequests)
		client.open = func(view.Key, int64) error {
			time.Sleep(25 * time.Millisecond)
			return nil
		}
		b.dropCache()
		r := b.reader()
		for pgno := uint32(2); pgno < firstLeaf; pgno++ {
			if _, err := b.source.Page(t.Context(), r.v, pgno); err != nil {
				t.Fatal(err)
			}
		}
		do(t, client, b, r)
		r.predictor.End()
		time.Sleep(time.Minute)
		synctest.Wait()
		wantNothingPrefetched(t, b)
		if n := b.source.bodies.held.Load(); n != 0 || len(b.source.bodies.mu.of) > 0 {
			t.Errorf("%d bytes are held after the transaction", n)
		}
	})
}

// wantLeaf reads a leaf, and compares it.
func (r *bedReader) wantLeaf(t testing.TB, pgno uint32) {
	t.Helper()
	page, err := r.read(pgno)
	if err != nil {
		t.Errorf("page %d: %v", pgno, err)
	} else if !bytes.Equal(page, leafPage(pgno, 1)) {
		t.Errorf("page %d is not what was written", pgno)
	}
}

// randomLeaves returns leaves that lie apart, each once.
func randomLeaves(n int) (leaves []uint32) {
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(bedLeaves)[:n] {
		leaves = append(leaves, firstLeaf+uint32(i))
	}
	return leaves
}

// Lookups at random fetch all of the tree when there have been many, and none of it
// before.
func TestWidening_Random(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		leaves := randomLeaves(600)
		before := b.countReads()
		for i, pgno := range leaves {
			if n := b.countReads() - before; i <= minPassing-1 && n != int64(i) {
				t.Fatalf("%d lookups took %d requests", i, n)
			}
			r.wantLeaf(t, pgno)
		}
		synctest.Wait()
		n := b.countReads() - before
		t.Logf("%d requests for %d lookups, %+v", n, len(leaves), b.source.Counts())
		if n > minPassing+30 {
			t.Errorf("%d requests for %d lookups", n, len(leaves))
		}
	})
}

// The bodies keep to their share of the limit, and what they take is missing for
// scans. A tree that is much larger than that is left alone.
func TestPromise8_Widening(t *testing.T) {
	for _, size := range []int64{64 << 10, 600 << 10, 1500 << 10, 4 << 20} {
		inTree(t, Options{PrefetchSize: size, CacheSize: 128 << 10}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
			all, most := r.predictor.limit(r.v), int64(0)
			for _, pgno := range randomLeaves(600) {
				r.wantLeaf(t, pgno)
				held := b.source.bodies.held.Load()
				most = max(most, held)
				if held > size*3/4 {
					t.Fatalf("%d bytes are held, of %d", held, size)
				}
				if n := r.predictor.limit(r.v); n != all-int((held+bedPageSize-1)/bedPageSize) {
					t.Fatalf("a scan may have %d pages of %d, beside %d bytes", n, all, held)
				}
			}
			if large := size < 1<<20; large == (most > 0) {
				t.Errorf("%d bytes: at most %d bytes were held", size, most)
			}
		})
	}
}

// A body that breaks off leaves pages that are fetched by themselves.
func TestWidening_BreaksOff(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		client.through = func(_ context.Context, _ int64, body io.Reader) io.Reader {
			return breakAfter(body, 2000, func() error { return errors.New("connection reset") })
		}
		for _, pgno := range randomLeaves(minPassing + 80) {
			r.wantLeaf(t, pgno)
		}
	})
}

// beginBody has a transaction look up so much that a body is under way, and returns
// one of the pages that are in it.
func beginBody(t *testing.T, b *bed, r *bedReader) (pgno uint32) {
	t.Helper()
	for _, leaf := range randomLeaves(minPassing) {
		r.wantLeaf(t, leaf)
	}
	s := b.source.bodies
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.all) != 1 || s.mu.all[0].ended {
		t.Fatalf("%d bodies", len(s.mu.all))
	}
	return s.mu.all[0].wants[20].key.Pgno
}

// A reader waits for a page that is on its way, or until its time is over.
func TestWidening_WaitedFor(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		pgno := beginBody(t, b, r)
		before := b.countReads()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.source.Page(ctx, r.v, pgno); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reader that left: %v", err)
		}
		r.wantLeaf(t, pgno)
		if n := b.countReads() - before; n > 1 { // the body itself may have begun meanwhile
			t.Errorf("%d requests for a page that was on its way", n)
		}
	})
}

// A body of a replica that was replaced is not used, and neither is one whose
// transaction has ended before its request began.
func TestPromise7_WideningOfAnotherHistory(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		var slow atomic.Bool
		client.fetch = func(view.Key, int64) {
			if slow.Load() {
				time.Sleep(time.Second)
			}
		}
		pgno := beginBody(t, b, r)
		slow.Store(true)
		synctest.Wait()
		old := r.v
		b.Current.Store(&view.View{Epoch: old.Epoch + 1, PageSize: old.PageSize})
		time.Sleep(2 * time.Second)
		if page, err := b.source.Page(t.Context(), old, pgno); !errors.Is(err, errs.ErrStateGone) {
			t.Errorf("a page of the history before: %d bytes, %v", len(page), err)
		}
		b.Current.Store(old)
	})
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		b.store.Limit = remote.NewLimiter(1)
		pgno := beginBody(t, b, r)
		held := b.store.Limit.Enqueue(remote.Foreground)
		before := b.countReads()
		r.predictor.End()
		b.store.Limit.Done(held)
		time.Sleep(time.Second)
		if n := b.countReads() - before; n > 1 {
			t.Errorf("%d requests after the transaction", n)
		}
		r.wantLeaf(t, pgno)
	})
}

// A frame of a body that is damaged is read again by itself, and the error says
// where it is.
func TestWidening_CorruptFrame(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		damaged := uint32(firstLeaf + 700)
		loc, _ := r.v.Lookup(damaged)
		client.through = func(_ context.Context, off int64, body io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) {
				n, err := body.Read(p)
				if at := loc.Offset + 1 - off; at >= 0 && at < int64(n) {
					p[at] ^= 0xff
				}
				off += int64(n)
				return n, err
			})
		}
		for _, pgno := range randomLeaves(400) {
			if pgno != damaged {
				r.wantLeaf(t, pgno)
			}
		}
		synctest.Wait()
		if _, err := r.read(damaged); !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("the damaged page: %v", err)
		}
	})
}

// Lookups end to be widened where what is fetched is not read.
func TestWidening_InVain(t *testing.T) {
	r := &region{}
	for i := range uint32(minMisses) {
		r.missed(i, 500, float64(i%2), 1000)
	}
	for pgno := range uint32(500) {
		r.unread.add(1000 + pgno)
	}
	for i := range 100 {
		r.missed(uint32(i), 500, float64(i%2), 1000)
		if in := r.use == inVain; in != (r.expected > maxVain) {
			t.Fatalf("after %d misses: %v, %.1f hits are expected", i, r.use, r.expected)
		}
	}
	if r.use != inVain {
		t.Errorf("%v, %.1f hits were expected", r.use, r.expected)
	}
	// With half of the hits, it goes on.
	r = &region{pages: 1000}
	for pgno := range uint32(500) {
		r.unread.add(pgno)
	}
	for i := range uint32(200) {
		r.missed(2000+i, 500, float64(i%2), 1000)
		if i%2 == 0 {
			r.looked()
			r.unread.remove(i)
			r.hits++
		}
	}
	if r.use != goesOn {
		t.Errorf("%v after %d hits, %.1f were expected", r.use, r.hits, r.expected)
	}
}

// A region is due when its misses have cost the time in which it can be read.
func TestWidening_Due(t *testing.T) {
	for _, tc := range []struct {
		misses      int
		least, most float64
		free        int64
		due         bool
	}{
		{1, 0, 1, 2 << 20, false},
		{minMisses, 0, 1, 2 << 20, false},
		{48, 0, 1, 2 << 20, true}, // 100 MB
		{46, 0, 1, 2 << 20, false},
		{190, 0, 1, 500_000, false},
		{201, 0, 1, 500_000, true},
		{20, 0.5, 0.55, 500_000, true}, // some 5 MB
		{20, 0.1, 0.5, 500_000, false},
	} {
		r := new(region)
		for i := range tc.misses {
			r.missed(uint32(i), 2000, []float64{tc.least, tc.most}[i%2], 50_000)
		}
		if got := r.isDue(tc.free); got != tc.due {
			t.Errorf("%+v: %v, %.0f pages", tc, got, r.pages)
		}
	}
}

// Leaves that lie apart are not fetched together.
func TestWidening_Stretches(t *testing.T) {
	file := new(view.File)
	at := func(offsets ...int64) (wants []want) {
		for _, off := range offsets {
			wants = append(wants, want{loc: view.Loc{Source: view.Source{File: file}, Offset: off, Size: 1000}})
		}
		return wants
	}
	var dense, sparse, far []int64
	for i := range int64(20) {
		dense = append(dense, 1500*(20-i))
		sparse = append(sparse, 100_000+4000*i)
		far = append(far, 1_000_000+100_000*i)
	}
	for _, tc := range []struct {
		name    string
		offsets []int64
		lengths []int
	}{
		{"none", nil, nil},
		{"together", dense, []int{20}},
		{"few", dense[:minBody-1], nil},
		{"with large gaps", sparse, nil},
		{"apart", far, nil},
		{"some", append(append([]int64(nil), far...), dense...), []int{20}},
	} {
		var lengths []int
		for _, s := range stretches(at(tc.offsets...)) {
			lengths = append(lengths, len(s))
		}
		if len(lengths) != len(tc.lengths) || len(lengths) > 0 && lengths[0] != tc.lengths[0] {
			t.Errorf("%s: %v, want %v", tc.name, lengths, tc.lengths)
		}
	}
}

func TestPageSet(t *testing.T) {
	var s pageSet
	model := make(map[uint32]bool)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		pgno := rng.Uint32N(9000)
		if rng.IntN(3) == 0 {
			s.remove(pgno)
			delete(model, pgno)
		} else {
			s.add(pgno)
			model[pgno] = true
		}
		if s.n != len(model) || s.has(pgno) != model[pgno] {
			t.Fatalf("%d pages, want %d; %d is in: %v", s.n, len(model), pgno, s.has(pgno))
		}
	}
}
