package hydrate

import (
	"context"
	"sync"
	"testing"

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
