package pages

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// TestPromise7_ReadAheadOfAnotherHistory has a request wait while the replica
// is replaced by another one with frames of the same sizes. The bytes that
// arrive then are of the new history, and not for views of the old one. Storage
// may tell the versions of files, or not.
func TestPromise7_ReadAheadOfAnotherHistory(t *testing.T) {
	for _, direct := range []bool{false, true} {
		for _, versions := range []bool{false, true} {
			inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
				if loc, _ := v.Lookup(15); !versions {
					loc.File.Version.Store(nil)
				}
				b.store.Limit = remote.NewLimiter(1)
				held := b.store.Limit.Enqueue(remote.Foreground)
				var page []byte
				var err error
				var reading sync.WaitGroup
				if direct {
					reading.Go(func() { page, err = b.source.Page(t.Context(), v, 15) })
				} else {
					b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, &scan{pace: new(window)})
				}
				synctest.Wait()
				time.Sleep(5 * time.Second)
				putOddAt(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3000, 7, pgnoRange(1, 3000), 777000)
				l := b.store.Limit
				b.store.Limit = nil // for replace only
				b.replace(t)
				b.store.Limit = l
				l.Done(held)
				synctest.Wait()
				for range 2 { // the read that waited, and a later one
					reading.Wait()
					if err == nil && bytes.Equal(page, oddPage(15, 7)) {
						t.Errorf("direct=%v, versions=%v: the view of the history before got a page of the new one", direct, versions)
					}
					page, err = b.source.Page(t.Context(), v, 15)
				}
			})
		}
	}
}

// TestReadAhead_CachedMeanwhile has a page come into the cache by another
// request, while its own is under way.
func TestReadAhead_CachedMeanwhile(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		loc, _ := v.Lookup(15)
		client.open = func(_ view.Key, off int64) error {
			if off == loc.Offset {
				time.Sleep(time.Second)
			}
			return nil
		}
		p := NewPredictor(b.prefetcher)
		p.at(v)
		s := &scan{pattern: &runPattern{pgno: 15, end: 20, dir: 1}, pace: &window{first: 8, cacheable: 1000}, limit: 100}
		p.scans = []*scan{s}
		p.extend(s, 0)
		// The span of another reader goes through the gap.
		other := &scan{pace: new(window)}
		b.prefetcher.Prefetch(v, []uint32{10, 25}, 0, other)
		synctest.Wait()
		giveUp(b, v, 10, 25)
		found, ok := b.source.Known(v, 15)
		if !ok || !found.Cached {
			t.Fatal("the page is not in the cache")
		}
		p.Hit(v, 15, found.Page, true)
		p.End()
		time.Sleep(time.Minute)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_UrgentIsCached prefetches around an urgent page that
// another reader has read meanwhile.
func TestReadAhead_UrgentIsCached(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		s := &scan{pace: new(window)}
		wantOdd(t, b, v, 1, 1, 10)
		b.prefetcher.Prefetch(v, []uint32{10, 11, 12}, 10, s)
		synctest.Wait()
		wantOdd(t, b, v, 1, 0, 10)
		giveUp(b, v, 10, 11, 12)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_LoadsLeaveRoom reads a page while a poll loads more files than
// there may be requests.
func TestReadAhead_LoadsLeaveRoom(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		for i := range 200 {
			putOdd(t, client, view.Key{Level: 0, MinTXID: ltx.TXID(i + 2), MaxTXID: ltx.TXID(i + 2)}, 3000, 3, pgnoRange(14, 15))
		}
		client.open = func(k view.Key, off int64) error {
			if k.MinTXID > 1 {
				time.Sleep(20 * time.Second)
			}
			return nil
		}
		files, err := b.store.ListAll(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := b.store.LoadFiles(t.Context(), files, func(*remote.Loaded) error { return nil }); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		start := time.Now()
		if _, err := b.source.Page(t.Context(), v, 1000); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("a page read waits %v for a poll's loads", d)
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestReadAhead_CountsOnce reads a page that is waited for together with others.
func TestReadAhead_CountsOnce(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.open = func(view.Key, int64) error { time.Sleep(time.Millisecond); return nil }
		before, requests := b.source.Counts(), b.countReads()
		b.prefetcher.Prefetch(v, pgnoRange(10, 30), 10, &scan{pace: new(window)})
		if _, err := b.source.Page(t.Context(), v, 10); err != nil {
			t.Error(err)
		}
		if n := b.countReads() - requests; n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		c := b.source.Counts()
		if h, m := c.Hits-before.Hits, c.Misses-before.Misses; h != 0 || m != 1 {
			t.Errorf("1 page: %d hits, %d misses", h, m)
		}
	})
}

// TestReadAhead_StalledBody has a body stall after the page that is waited for.
func TestReadAhead_StalledBody(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.through = func(ctx context.Context, off int64, r io.Reader) io.Reader {
			return breakAfter(r, 100<<10, func() error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		b.prefetcher.Prefetch(v, pgnoRange(10, 1000), 10, &scan{pace: new(window)})
		ctx, cancel := b.tasks.WithTimeout(bedReadTimeout)
		defer cancel()
		start := time.Now()
		_, err := b.source.Page(ctx, v, 10)
		if d := time.Since(start); err != nil || d > time.Second {
			t.Errorf("page 10 after %v: %v", d, err)
		}
		time.Sleep(time.Minute)
	})
}

// TestReadAhead_LimitOfOne has a place for one request only. The request that a
// reader waits for gets it.
func TestReadAhead_LimitOfOne(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.store.Limit = remote.NewLimiter(1)
		client.open = func(view.Key, int64) error { time.Sleep(time.Second); return nil }
		start := time.Now()
		b.prefetcher.Prefetch(v, pgnoRange(10, 40), 20, &scan{pace: new(window)})
		_, err := b.source.Page(t.Context(), v, 20)
		if d := time.Since(start); err != nil || d > time.Second {
			t.Errorf("page 20 after %v: %v", d, err)
		}
		time.Sleep(time.Minute)
	})
}

// TestReadAhead_IdleReader scans while another connection, which does not go
// on, holds most of what may be read ahead.
func TestReadAhead_IdleReader(t *testing.T) {
	for _, two := range []bool{false, true} {
		inBed(t, Options{PrefetchSize: 256 * bedPageSize}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
			if two {
				b.prefetcher.Prefetch(v, pgnoRange(2500, 2700), 0, &scan{pace: new(window)}) // an idle reader's
			}
			synctest.Wait()
			client.opens.Store(0)
			r := b.reader()
			for pgno := uint32(10); pgno < 2000; pgno++ {
				if _, err := r.read(pgno); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			r.predictor.End()
			if n := client.opens.Load(); n > 400 {
				t.Errorf("%d requests for 1990 pages, with an idle reader: %v", n, two)
			}
			time.Sleep(time.Minute)
		})
	}
}

// indexPage makes a page of a b-tree with these cells.
func indexPage(kind byte, right uint32, cells ...[]byte) []byte {
	p := make([]byte, bedPageSize)
	p[0] = kind
	header := 8
	if right != 0 {
		header = 12
		binary.BigEndian.PutUint32(p[8:], right)
	}
	at := len(p)
	for i, c := range cells {
		at -= len(c)
		copy(p[at:], c)
		binary.BigEndian.PutUint16(p[header+2*i:], uint16(at))
	}
	binary.BigEndian.PutUint16(p[3:], uint16(len(cells)))
	binary.BigEndian.PutUint16(p[5:], uint16(at))
	return p
}

// TestPromise7_IndexInCircles follows an index whose interior pages have
// children twice, so that the way to its end leads back.
func TestPromise7_IndexInCircles(t *testing.T) {
	cell := func(child byte, rest ...byte) []byte { return append([]byte{0, 0, 0, child}, rest...) }
	all := map[uint32][]byte{
		1: fakePage(1, 1), 2: fakePage(2, 1),
		3: indexPage(5, 9, cell(8, 100)),
		4: indexPage(2, 7, cell(6, 3, 2, 1, 5)), 5: indexPage(2, 4, cell(4, 3, 2, 1, 5)),
		6: indexPage(10, 0, []byte{3, 2, 1, 5}), 7: indexPage(10, 0, []byte{3, 2, 1, 6}),
		8: indexPage(13, 0), 9: indexPage(13, 0),
	}
	client := newHookClient()
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 9, 1000, all)
	b := openBed(t, client, Options{})
	v := b.Current.Load()
	b.source.trees.usable.Store(bedPageSize)
	for pgno := range uint32(9) {
		if _, err := b.source.Page(t.Context(), v, pgno+1); err != nil {
			t.Fatal(err)
		}
		b.source.trees.learn(pgno+1, all[pgno+1])
		b.source.trees.usable.Store(bedPageSize)
	}
	w := treeWalk{pages: b.source, v: v}
	entries, ok := w.page(6)
	if !ok {
		t.Fatal("page 6 is no leaf")
	}
	j := &joins{links: []*link{{src: 4, col: 0, dst: 3, depth: 1}, {src: 3, col: btree.Rowid, dst: 3, depth: 1}}}
	n := newNest(w, j, 4, &leafRows{w: w, leaf: 6, page: entries, dir: 1}, firstRows)
	for range 100 {
		if pgnos, _ := n.next(10); len(pgnos) > 2 {
			t.Fatalf("predicted pages %v", pgnos)
		}
	}
	n.eachRow(func(uint32, outerRow, path) bool { return true })
}

// TestTreeWalk_KeepsWhatItGoesBy fills the cache with pages that are used
// twice, while a pattern passes an interior page that SQLite asks for at the
// end only.
func TestTreeWalk_KeepsWhatItGoesBy(t *testing.T) {
	client := newHookClient()
	cell := func(child byte, rest ...byte) []byte { return append([]byte{0, 0, 0, child}, rest...) }
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 4, 1000, map[uint32][]byte{
		1: fakePage(1, 1), 2: indexPage(5, 4, cell(3, 100)), 3: indexPage(13, 0), 4: indexPage(13, 0),
	})
	b := openBed(t, client, Options{CacheSize: 100 * (bedPageSize + cacheEntryOverhead)})
	v := b.Current.Load()
	w := treeWalk{pages: b.source, v: v}
	cache := b.source.cache.Load()
	for i := range uint32(10 * cache.size()) {
		key := Key{Version: 9, Pgno: i + 1}
		cache.add(key, make([]byte, bedPageSize))
		cache.get(key)
		if _, ok := w.page(2); !ok {
			t.Fatalf("the interior page is gone after %d pages", i)
		}
	}
}

// TestCache_ReadAheadIsNoUse has a page that the cache holds be read ahead,
// and used once: a scan displaces it like any other.
func TestCache_ReadAheadIsNoUse(t *testing.T) {
	inBed(t, Options{CacheSize: 100 * (bedPageSize + cacheEntryOverhead)}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		cache := b.source.cache.Load()
		key := Key{Version: 1, Pgno: 10, Epoch: 0}
		cache.add(key, oddPage(10, 1))
		b.prefetcher.Prefetch(v, []uint32{10}, 0, &scan{pace: new(window)})
		b.source.flights.use(key)
		wantNothingPrefetched(t, b)
		for i := range uint32(2 * cache.size()) {
			cache.add(Key{Version: 9, Pgno: i + 1}, make([]byte, bedPageSize))
		}
		if _, ok := cache.peek(key); ok {
			t.Error("a page that was used once outlives a scan")
		}
	})
}
