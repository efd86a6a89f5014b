package litestream

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// putOddAt is putOdd with a timestamp.
func putOddAt(t testing.TB, client ReplicaClient, k view.Key, commit uint32, fill byte, pgnos []uint32, ts int64) {
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		pages[pgno] = oddPage(pgno, fill)
	}
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: fakePageSize, Commit: commit, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID, Timestamp: ts}, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

// TestPromise7_ReadAheadOfAnotherHistory has a request wait while the replica
// is replaced by another, in which frames are as large. What it brings then is
// of the new history, and not for views of the old one.
func TestPromise7_ReadAheadOfAnotherHistory(t *testing.T) {
	for _, direct := range []bool{false, true} {
		inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
			db.store.Limit = remote.NewLimiter(1)
			held := db.store.Limit.Enqueue(remote.Foreground)
			if !direct {
				db.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, new(pages.Scan))
				synctest.Wait()
			}
			time.Sleep(5 * time.Second)
			putOddAt(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3000, 7, pgnoRange(1, 3000), 777000)
			files, err := (&remote.Store{Client: client}).ListAll(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			l := db.store.Limit
			db.store.Limit = nil // for restart only
			if err := db.restart(t.Context(), v, files); err != nil {
				t.Fatal(err)
			}
			db.store.Limit = l
			if db.Current.Load().Epoch == v.Epoch {
				t.Fatal("the replica was not replaced")
			}
			l.Done(held)
			synctest.Wait()
			page, err := db.pages.Page(t.Context(), v, 15)
			if err == nil && bytes.Equal(page, oddPage(15, 7)) {
				t.Errorf("direct=%v: the view of the history before got a page of the new one", direct)
			}
		})
	}
}

// TestReadAhead_CachedMeanwhile has a page come into the cache by another
// request, while its own is under way.
func TestReadAhead_CachedMeanwhile(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		loc, _ := v.Lookup(15)
		client.open = func(_ view.Key, off int64) error {
			if off == loc.Offset {
				time.Sleep(time.Second)
			}
			return nil
		}
		p := pages.NewPredictor(db.prefetcher)
		p.At(v)
		s := &pages.Scan{Pattern: &pages.RunPattern{Pgno: 15, End: 20, Dir: 1}, Window: 8, Limit: 100, Cacheable: 1000}
		p.Scans = []*pages.Scan{s}
		p.Extend(s, 0)
		// somebody else's span goes through the gap
		other := new(pages.Scan)
		db.prefetcher.Prefetch(v, []uint32{10, 25}, 0, other)
		synctest.Wait()
		giveUp(db, v, 10, 25)
		page, cached, ok := db.pages.Known(v, 15)
		if !ok || !cached {
			t.Fatal("the page is not in the cache")
		}
		p.Hit(v, 15, page, cached)
		p.End()
		time.Sleep(time.Minute)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_UrgentIsCached asks for a page that somebody else has read by now.
func TestReadAhead_UrgentIsCached(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		s := new(pages.Scan)
		wantOdd(t, db, v, 1, 1, 10)
		db.prefetcher.Prefetch(v, []uint32{10, 11, 12}, 10, s)
		synctest.Wait()
		wantOdd(t, db, v, 1, 0, 10)
		giveUp(db, v, 10, 11, 12)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_LoadsLeaveRoom reads a page while a poll loads more files than
// there may be requests.
func TestReadAhead_LoadsLeaveRoom(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		for i := range 200 {
			putOdd(t, client, view.Key{Level: 0, MinTXID: ltx.TXID(i + 2), MaxTXID: ltx.TXID(i + 2)}, 3000, 3, pgnoRange(14, 15))
		}
		client.open = func(k view.Key, off int64) error {
			if k.MinTXID > 1 {
				time.Sleep(20 * time.Second)
			}
			return nil
		}
		go db.refresh(t.Context())
		synctest.Wait()
		start := time.Now()
		if _, err := db.pages.Page(t.Context(), v, 1000); err != nil {
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
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		client.open = func(view.Key, int64) error { time.Sleep(time.Millisecond); return nil }
		before, requests := db.stats(), countReads(db.store)
		db.prefetcher.Prefetch(v, pgnoRange(10, 30), 10, new(pages.Scan))
		if _, err := db.pages.Page(t.Context(), v, 10); err != nil {
			t.Error(err)
		}
		if n := countReads(db.store) - requests; n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		s := db.stats()
		if h, m := s.CacheHits-before.CacheHits, s.CacheMisses-before.CacheMisses; h != 0 || m != 1 {
			t.Errorf("1 page: %d hits, %d misses", h, m)
		}
	})
}

// TestReadAhead_StalledBody has a body stall after the page that is waited for.
func TestReadAhead_StalledBody(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		client.through = func(ctx context.Context, off int64, r io.Reader) io.Reader {
			return breakAfter(r, 100<<10, func() error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		db.prefetcher.Prefetch(v, pgnoRange(10, 1000), 10, new(pages.Scan))
		ctx, cancel := db.tasks.WithTimeout(db.opts.ReadTimeout)
		defer cancel()
		start := time.Now()
		_, err := db.pages.Page(ctx, v, 10)
		if d := time.Since(start); err != nil || d > time.Second {
			t.Errorf("page 10 after %v: %v", d, err)
		}
		time.Sleep(time.Minute)
	})
}

// TestReadAhead_LimitOfOne has places for one request only: that which is waited for.
func TestReadAhead_LimitOfOne(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		db.store.Limit = remote.NewLimiter(1)
		client.open = func(view.Key, int64) error { time.Sleep(time.Second); return nil }
		start := time.Now()
		db.prefetcher.Prefetch(v, pgnoRange(10, 40), 20, new(pages.Scan))
		_, err := db.pages.Page(t.Context(), v, 20)
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
		inReadAhead(t, Options{ReadAheadSize: 256 * fakePageSize}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
			if two {
				db.prefetcher.Prefetch(v, pgnoRange(2500, 2700), 0, new(pages.Scan)) // an idle reader's
			}
			synctest.Wait()
			client.opens.Store(0)
			c := connOf(db, nil)
			_ = c.BeginRead()
			page := make([]byte, fakePageSize)
			for pgno := uint32(10); pgno < 2000; pgno++ {
				if _, err := c.ReadAt(page, int64(pgno-1)*fakePageSize); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			c.EndRead()
			if n := client.opens.Load(); n > 400 {
				t.Errorf("%d requests for 1990 pages, with an idle reader: %v", n, two)
			}
			time.Sleep(time.Minute)
		})
	}
}

// indexPage makes a page of a b-tree with these cells.
func indexPage(kind byte, right uint32, cells ...[]byte) []byte {
	p := make([]byte, fakePageSize)
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
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 9, all)
	db := openHere(t, client, Options{PollInterval: -1})
	v := db.Current.Load()
	db.pages.Trees.Usable.Store(fakePageSize)
	for pgno := range uint32(9) {
		if _, err := db.pages.Page(t.Context(), v, pgno+1); err != nil {
			t.Fatal(err)
		}
		db.pages.Trees.Learn(pgno+1, all[pgno+1])
		db.pages.Trees.Usable.Store(fakePageSize)
	}
	w := pages.TreeWalk{Pages: db.pages, V: v}
	entries, ok := w.Page(6)
	if !ok {
		t.Fatal("page 6 is no leaf")
	}
	rows := &pages.RowsPattern{W: w, Root: 3, Depth: 1, Leaf: 6, Entries: entries, Dir: 1, Last: 8}
	if pgnos, _ := rows.Next(10); len(pgnos) != 0 {
		t.Errorf("predicted pages %v", pgnos)
	}
}

// TestTreeWalk_KeepsWhatItGoesBy fills the cache with pages that are used
// twice, while a pattern passes an interior page that SQLite asks for at the end only.
func TestTreeWalk_KeepsWhatItGoesBy(t *testing.T) {
	client := newHookClient()
	cell := func(child byte, rest ...byte) []byte { return append([]byte{0, 0, 0, child}, rest...) }
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 4, map[uint32][]byte{
		1: fakePage(1, 1), 2: indexPage(5, 4, cell(3, 100)), 3: indexPage(13, 0), 4: indexPage(13, 0),
	})
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: 100 * (fakePageSize + pages.CacheEntryOverhead)})
	v := db.Current.Load()
	w := pages.TreeWalk{Pages: db.pages, V: v}
	cache := db.pages.Cache.Load()
	for i := range uint32(10 * cache.Size()) {
		key := pages.Key{Version: 9, Pgno: i + 1}
		cache.Add(key, make([]byte, fakePageSize))
		cache.Get(key)
		if _, ok := w.Page(2); !ok {
			t.Fatalf("the interior page is gone after %d pages", i)
		}
	}
}

// TestCache_ReadAheadIsNoUse has a page that the cache holds be read ahead,
// and used once: a scan displaces it like any other.
func TestCache_ReadAheadIsNoUse(t *testing.T) {
	inReadAhead(t, Options{CacheSize: 100 * (fakePageSize + pages.CacheEntryOverhead)}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		cache := db.pages.Cache.Load()
		key := pages.Key{Version: 1, Pgno: 10, Epoch: 0}
		cache.Add(key, oddPage(10, 1))
		db.prefetcher.Prefetch(v, []uint32{10}, 0, new(pages.Scan))
		db.pages.Flights.Use(key)
		wantNothingAhead(t, db)
		for i := range uint32(2 * cache.Size()) {
			cache.Add(pages.Key{Version: 9, Pgno: i + 1}, make([]byte, fakePageSize))
		}
		if _, ok := cache.Peek(key); ok {
			t.Error("a page that was used once outlives a scan")
		}
	})
}
