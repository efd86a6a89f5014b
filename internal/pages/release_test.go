package pages

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
)

// bypassing returns a scan whose pages bypass the cache.
func bypassing() *scan { return &scan{pace: new(window), read: 1} }

// TestRelease_Owners prefetches a page in some ways and takes it. Its memory can be
// used again only if the reader that takes it is the only one that has it.
func TestRelease_Owners(t *testing.T) {
	const pgno = 20
	for _, tc := range []struct {
		name   string
		scan   *scan
		tier   Tier                                              // nil: none
		before func(t *testing.T, b *bed, v *view.View, key Key) // while the page is in flight
		after  func(t *testing.T, b *bed, v *view.View, key Key) // when it has landed
		owned  bool
	}{
		{name: "only one", scan: bypassing(), owned: true},
		{name: "the cache", scan: &scan{pace: &window{cacheable: 10}, read: 1}},
		{name: "a walk through trees", scan: bypassing(), after: func(t *testing.T, b *bed, _ *view.View, key Key) {
			if b.source.peek(key) == nil {
				t.Error("the page is not known")
			}
		}},
		{name: "a reader that waits", scan: bypassing(), before: func(_ *testing.T, b *bed, _ *view.View, key Key) {
			b.source.flights.join(key)
		}},
		{name: "a reader that has given up waiting", scan: bypassing(), before: func(t *testing.T, b *bed, v *view.View, _ Key) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, _ = b.source.Page(ctx, v, pgno) }()
			synctest.Wait()
			cancel()
		}},
		{name: "a local tier", scan: bypassing(), tier: keepingTier{}},
	} {
		inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
			client.open = func(view.Key, int64) error {
				time.Sleep(time.Second)
				return nil
			}
			loc, _ := v.Lookup(pgno)
			key := Key{loc.Version, pgno, v.Epoch}
			if tc.tier != nil {
				b.source.SetLocal(tc.tier)
			}
			b.prefetcher.Prefetch(v, []uint32{pgno}, 0, tc.scan)
			if tc.before != nil {
				tc.before(t, b, v, key)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if tc.after != nil {
				tc.after(t, b, v, key)
			}
			found := b.source.knownVersion(key)
			if owned := found.memory != nil; owned != tc.owned {
				t.Errorf("%s: the memory of the page can be used again: %v, want %v", tc.name, owned, tc.owned)
			}
		})
	}
}

// keepingTier is a tier that keeps the pages that it is offered.
type keepingTier struct{ noTier }

// TestRelease_Held holds pages that were found in all ways, while others are read
// into the memory that is free: none of them changes.
func TestRelease_Held(t *testing.T) {
	inBed(t, Options{CacheSize: 20 * (bedPageSize + cacheEntryOverhead)}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		held := make(map[uint32][]byte)
		hold := func(pgno uint32, page []byte) {
			if page != nil {
				held[pgno] = page
			}
		}
		for first := uint32(1); first < 3000; first += 50 {
			pgnos := pgnoRange(first, min(first+49, 3000))
			b.prefetcher.Prefetch(v, pgnos, 0, bypassing())
			waited := make(chan []byte)
			go func() {
				page, _ := b.source.Page(t.Context(), v, first+3)
				waited <- page
			}()
			hold(first+3, <-waited)
			synctest.Wait()
			for i, pgno := range pgnos {
				loc, _ := v.Lookup(pgno)
				if i%10 == 7 {
					hold(pgno, b.source.peek(Key{loc.Version, pgno, v.Epoch}))
				}
				found, ok := b.source.Known(v, pgno)
				switch {
				case !ok: // it was waited for
				case !bytes.Equal(found.Page, oddPage(pgno, 1)):
					t.Fatalf("page %d is another one", pgno)
				case i%10 == 5: // and not released
					hold(pgno, found.Page)
				default:
					b.source.Release(found)
				}
			}
			for pgno, page := range held {
				if !bytes.Equal(page, oddPage(pgno, 1)) {
					t.Fatalf("page %d has changed", pgno)
				}
			}
		}
		if len(held) < 500 {
			t.Errorf("%d pages are held", len(held))
		}
	})
}

// TestReadAhead_GapsOfScan reads through a gap for a scan. Only half of the cache
// takes pages of gaps.
func TestReadAhead_GapsOfScan(t *testing.T) {
	inBed(t, Options{CacheSize: 20 * (bedPageSize + cacheEntryOverhead)}, func(t *testing.T, _ *hookClient, b *bed, v *view.View) {
		s := &scan{pace: &window{cacheable: 1000}}
		for _, first := range []uint32{10, 100, 200} {
			b.prefetcher.Prefetch(v, []uint32{first, first + 30}, 0, s)
			synctest.Wait()
		}
		kept := 0
		for pgno := uint32(1); pgno <= v.Commit; pgno++ {
			loc, _ := v.Lookup(pgno)
			if _, ok := b.source.cache.Load().peek(Key{loc.Version, pgno, v.Epoch}); ok {
				kept++
			}
		}
		if kept != 10 {
			t.Errorf("%d pages of gaps are in the cache, want 10", kept)
		}
	})
}
