package hydrate

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream/internal/pages"
)

// Offers are taken as long as there is room, for their bytes and for their number. They
// come out in the same order.
func TestOfferQueue(t *testing.T) {
	for _, tt := range []struct{ size, want int }{{1 << 20, maxOffered >> 20}, {1, maxOffers}} {
		q := newOfferQueue(make(chan struct{}, 1))
		for i := range tt.want + 1 {
			if took := q.put(offer{key: pages.Key{Pgno: uint32(i + 1)}, page: make([]byte, tt.size)}); took != (i < tt.want) {
				t.Fatalf("offer %d of %d bytes: %v", i, tt.size, took)
			}
		}
		for i := range tt.want {
			if o, ok := q.take(); !ok || o.key.Pgno != uint32(i+1) {
				t.Fatalf("offer %d is %d, %v", i, o.key.Pgno, ok)
			}
		}
		if _, ok := q.take(); ok || q.bytes.Load() != 0 {
			t.Errorf("%d bytes are left, another offer %v", q.bytes.Load(), ok)
		}
	}
}

// Many goroutines offer more pages than the queue holds, and wait. None is lost.
func TestTier_OfferWait(t *testing.T) {
	for _, mode := range []Mode{All, Pages} {
		tier := newLocalTier(func() bool { return false }, mode)
		tier.offers.set(offersTaken)
		page := make([]byte, 64<<10)
		const offering, each = 16, 100 // 100 MiB in all
		var wg sync.WaitGroup
		for i := range offering {
			wg.Go(func() {
				for j := range each {
					tier.OfferWait(t.Context(), pages.Key{Version: 1, Pgno: uint32(i*each + j + 1)}, page, false)
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		seen := make(map[uint32]bool)
		for more := true; more; {
			select {
			case <-tier.wake:
			case <-done:
				more = false
			}
			for o, ok := tier.offers.take(); ok; o, ok = tier.offers.take() {
				seen[o.key.Pgno] = true
			}
			if n := tier.offers.bytes.Load(); n < 0 || n > maxOffered+offering*int64(len(page)) {
				t.Fatalf("%d bytes are queued", n)
			}
		}
		if len(seen) != offering*each {
			t.Errorf("mode %s: %d of %d pages came", mode, len(seen), offering*each)
		}
	}
}

// A goroutine that waits for room gives up when its context ends, and does not wait
// while offers are not taken.
func TestTier_OfferWaitEnds(t *testing.T) {
	tier := newLocalTier(func() bool { return false }, Pages)
	page := make([]byte, 1<<20)
	tier.offers.set(offersTaken)
	offer := func(ctx context.Context, n int) {
		for i := range n {
			tier.OfferWait(ctx, pages.Key{Version: 1, Pgno: uint32(i + 1)}, page, false)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	offer(ended, 2*maxOffered>>20)
	if n := len(tier.offers.offers); n != maxOffered>>20 {
		t.Errorf("%d pages are queued", n)
	}
	tier.offers.set(offersPaused)
	offer(t.Context(), 3)
	tier.offers.refuse()
	offer(t.Context(), 3)
	if n := len(tier.offers.offers); n != 0 {
		t.Errorf("%d pages are queued", n)
	}
}

// All goroutines that wait go on when hydration pauses or ends, and those that there is
// room for when it has taken offers.
func TestOfferQueue_WakesAll(t *testing.T) {
	const waiting, size = 16, 1 << 20
	for name, wake := range map[string]func(q *offerQueue){
		"pause":   func(q *offerQueue) { q.set(offersPaused) },
		"refusal": func(q *offerQueue) { q.refuse() },
		"room":    func(q *offerQueue) { q.take() }, // which none of them takes
	} {
		synctest.Test(t, func(t *testing.T) {
			q := newOfferQueue(make(chan struct{}, 1))
			q.set(offersTaken)
			for q.put(offer{page: make([]byte, size)}) {
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var went atomic.Int32
			for range waiting {
				go func() {
					if q.wait(ctx, size) {
						went.Add(1)
					}
				}()
			}
			synctest.Wait()
			if n := went.Load(); n != 0 {
				t.Fatalf("%s: %d go on before it", name, n)
			}
			wake(&q)
			synctest.Wait()
			if n := went.Load(); n != waiting {
				t.Errorf("%s: %d of %d go on", name, n, waiting)
			}
		})
	}
}

// Before hydration takes offers, they are kept, and nobody waits for room.
func TestTier_OfferWaitBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := newLocalTier(func() bool { return false }, Pages)
		for i := range 2 * maxOffered >> 20 {
			tier.OfferWait(t.Context(), pages.Key{Version: 1, Pgno: uint32(i + 1)}, make([]byte, 1<<20), false)
		}
		if n := len(tier.offers.offers); n != maxOffered>>20 {
			t.Errorf("%d pages are queued", n)
		}
	})
}
