package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// oddPage is a page that looks like no other, and does not get smaller.
func oddPage(pgno uint32, fill byte) []byte {
	page := fakePage(pgno, fill)
	_, _ = rand.NewChaCha8([32]byte{fill, byte(pgno), byte(pgno >> 8)}).Read(page[120:])
	return page
}

// putOdd stores a file of odd pages in a database of commit pages.
func putOdd(t testing.TB, client ReplicaClient, k view.Key, commit uint32, fill byte, pgnos []uint32) {
	t.Helper()
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		pages[pgno] = oddPage(pgno, fill)
	}
	putPages(t, client, k, commit, pages)
}

// wantOdd reads pages of a view, in so many requests.
func wantOdd(t testing.TB, db *database, v *view.View, fill byte, requests int64, pgnos ...uint32) {
	t.Helper()
	before := countReads(db.store)
	for _, pgno := range pgnos {
		page, err := db.pages.Page(t.Context(), v, pgno)
		if err != nil {
			t.Errorf("page %d: %v", pgno, err)
		} else if !bytes.Equal(page, oddPage(pgno, fill)) {
			t.Errorf("page %d is not what was written", pgno)
		}
	}
	if n := countReads(db.store) - before; n != requests {
		t.Errorf("pages %v take %d requests, want %d", pgnos, n, requests)
	}
}

// wantNothingAhead wants that nothing is under way or kept for later.
func wantNothingAhead(t testing.TB, db *database) {
	t.Helper()
	flights := db.pages.Flights
	flights.Mu.Lock()
	defer flights.Mu.Unlock()
	if flights.Mu.Unclaimed != 0 || len(flights.Mu.Of) != 0 {
		t.Errorf("%d pages ahead, %d flights", flights.Mu.Unclaimed, len(flights.Mu.Of))
	}
	if l := db.store.Limit; l != nil {
		if running, waiting := l.Load(); running+waiting > 0 {
			t.Errorf("%d requests running, %d waiting", running, waiting)
		}
	}
}

// giveUp gives pages of a view up.
func giveUp(db *database, v *view.View, pgnos ...uint32) {
	p := pages.Predictor{Prefetcher: db.prefetcher, View: v}
	p.GiveUp(pgnos)
}

func aheadOf(db *database) int {
	db.pages.Flights.Mu.Lock()
	defer db.pages.Flights.Mu.Unlock()
	return db.pages.Flights.Mu.Unclaimed
}

// bodyClient reads bodies through a function.
type bodyClient struct {
	*hookClient
	through func(ctx context.Context, off int64, r io.Reader) io.Reader
}

func (c *bodyClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.hookClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil || c.through == nil {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{c.through(ctx, offset, r), r}, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// breakAfter is a reader that does something after n bytes.
func breakAfter(r io.Reader, n int64, then func() error) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), readerFunc(func([]byte) (int, error) { return 0, then() }))
}

// inReadAhead has a database of 3000 odd pages, none of them in the cache.
func inReadAhead(t *testing.T, opts Options, do func(t *testing.T, client *bodyClient, db *database, v *view.View)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := &bodyClient{hookClient: newHookClient()}
		putOdd(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3000, 1, pgnoRange(1, 3000))
		opts.PollInterval = -1
		db := openHere(t, client, opts)
		db.pages.Cache.Load().Lru.Purge()
		db.store.Limit = remote.NewLimiter(DefaultMaxConcurrentRequests)
		client.opens.Store(0)
		do(t, client, db, db.Current.Load())
	})
}

func TestSpans(t *testing.T) {
	snapshot := &view.File{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 9}
	small := &view.File{Level: 0, MinTXID: 10, MaxTXID: 10}
	at := func(f *view.File, pgno uint32, offset int64, size uint32) pages.Want {
		return pages.Want{Key: pages.Key{Version: f.MaxTXID, Pgno: pgno, Epoch: 0}, Loc: view.Loc{Source: view.Source{File: f, Version: f.MaxTXID}, Offset: offset, Size: size}, F: new(pages.Flight)}
	}
	const far = 1 << 30
	for _, tc := range []struct {
		name   string
		wants  []pages.Want
		urgent uint32
		want   string // a span is <level>:<pages>, with ! if it is of the foreground
	}{
		{"nothing", nil, 0, ""},
		{"nothing but urgent", nil, 7, ""},
		{"one", []pages.Want{at(small, 1, far, 9)}, 0, "0:1"},
		{"side by side", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 0, "0:1,2,3"},
		{"in any order", []pages.Want{at(small, 3, 120, 10), at(small, 1, 100, 10), at(small, 2, 110, 10)}, 0, "0:1,2,3"},
		{"of two files", []pages.Want{at(snapshot, 1, 100, 10), at(small, 2, 110, 10), at(snapshot, 3, 120, 10), at(small, 4, 130, 10)}, 0, "0:2,4 9:1,3"},
		{"largest gap", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110+pages.MaxGap, 10)}, 0, "0:1,2"},
		{"too large a gap", []pages.Want{at(small, 1, 100, 10), at(small, 2, 111+pages.MaxGap, 10)}, 0, "0:1 0:2"},
		{"many gaps", []pages.Want{at(small, 1, 0, 10), at(small, 2, pages.MaxGap, 10), at(small, 3, 2*pages.MaxGap, 10)}, 0, "0:1,2,3"},
		{"largest span", []pages.Want{at(small, 1, 0, pages.MaxSpan/2), at(small, 2, pages.MaxSpan/2, pages.MaxSpan/2), at(small, 3, pages.MaxSpan, 10)}, 0, "0:1,2 0:3"},
		{"too large a span", []pages.Want{at(small, 1, 0, pages.MaxSpan/2), at(small, 2, pages.MaxSpan/2, pages.MaxSpan/2+1), at(small, 3, pages.MaxSpan+1, 10)}, 0, "0:1 0:2,3"},
		{"one alone is larger", []pages.Want{at(small, 1, 0, 10), at(small, 2, 10, pages.MaxSpan+1), at(small, 3, pages.MaxSpan+11, 10)}, 0, "0:1 0:2 0:3"},
		{"urgent comes first", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110, 10)}, 1, "0:1,2!"},
		{"urgent in the middle", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 2, "0:1 0:2,3!"},
		{"urgent comes last", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 3, "0:1,2 0:3!"},
		{"urgent of another file", []pages.Want{at(small, 1, 100, 10), at(snapshot, 2, 110, 10), at(snapshot, 3, 120, 10)}, 3, "0:1 9:2 9:3!"},
		{"urgent begins the size anew", []pages.Want{at(small, 1, 0, pages.MaxSpan/2), at(small, 2, pages.MaxSpan/2, 10), at(small, 3, pages.MaxSpan/2+10, pages.MaxSpan/2)}, 2, "0:1 0:2,3!"},
		{"urgent is not among them", []pages.Want{at(small, 1, 100, 10), at(small, 2, 110, 10)}, 5, "0:1,2"},
	} {
		var got []string
		v, st := new(view.View), new(pages.Scan)
		for _, s := range pages.Spans(v, st, slices.Clone(tc.wants), tc.urgent) {
			var pgnos []string
			for _, w := range s.Wants {
				pgnos = append(pgnos, fmt.Sprint(w.Key.Pgno))
			}
			text := fmt.Sprintf("%d:%s", s.File().Level, strings.Join(pgnos, ","))
			switch s.Class {
			case remote.Foreground:
				text += "!"
			case remote.Loading:
				text += "?"
			}
			last := s.Wants[len(s.Wants)-1]
			if s.View != v || s.Scan != st || s.Offset() != s.Wants[0].Loc.Offset || s.Offset()+s.Size() != last.End() {
				t.Errorf("%s: span from %d of %d bytes", tc.name, s.Offset(), s.Size())
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestReadAhead_OneRequest reads pages of which some are far from the others.
func TestReadAhead_OneRequest(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		near, far := pgnoRange(10, 60), pgnoRange(1000, 1020)
		if n := db.prefetcher.Prefetch(v, append(near, far...), 0, new(pages.Scan)); n != 72 {
			t.Errorf("went through %d pages", n)
		}
		synctest.Wait()
		if n := db.store.Reads[remote.Speculative].Load(); n != 2 || client.opens.Load() != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		if n := aheadOf(db); n != 72 {
			t.Errorf("%d pages ahead", n)
		}
		wantOdd(t, db, v, 1, 0, near...)
		wantOdd(t, db, v, 1, 0, far...)
		wantOdd(t, db, v, 1, 1, 61, 61) // is beyond them
		wantNothingAhead(t, db)
		if s := db.stats(); s.Prefetched != 72 || s.AheadHits != 72 || s.PrefetchedUnused != 0 {
			t.Errorf("%d read ahead, %d used, %d not", s.Prefetched, s.AheadHits, s.PrefetchedUnused)
		}
	})
}

// TestReadAhead_Urgent has somebody wait for a page in the middle. It comes
// with the pages after it, first, and waits for none before it.
func TestReadAhead_Urgent(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		db.store.Limit = remote.NewLimiter(1)
		held := db.store.Limit.Enqueue(remote.Foreground)
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		db.prefetcher.Prefetch(v, pgnoRange(10, 40), 20, new(pages.Scan))
		if n := aheadOf(db); n != 30 {
			t.Errorf("%d pages ahead", n)
		}
		start := time.Now()
		db.store.Limit.Done(held)
		if page, err := db.pages.Page(t.Context(), v, 20); err != nil || !bytes.Equal(page, oddPage(20, 1)) {
			t.Errorf("page 20: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("the urgent page takes %v", d)
		}
		synctest.Wait()
		wantOdd(t, db, v, 1, 0, pgnoRange(21, 40)...)
		time.Sleep(2 * time.Second)
		wantOdd(t, db, v, 1, 0, pgnoRange(10, 20)...)
		if f, s := db.store.Reads[remote.Foreground].Load(), db.store.Reads[remote.Speculative].Load(); f != 1 || s != 1 {
			t.Errorf("%d requests of the foreground, %d of read-ahead", f, s)
		}
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_WaitedFor has somebody wait for a page of what queues last.
func TestReadAhead_WaitedFor(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		l := remote.NewLimiter(1)
		db.store.Limit = l
		held := l.Enqueue(remote.Foreground)
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		db.prefetcher.Prefetch(v, append(pgnoRange(10, 30), pgnoRange(1010, 1030)...), 0, new(pages.Scan))
		start := time.Now()
		got := make(chan time.Duration, 1)
		go func() {
			if _, err := db.pages.Page(t.Context(), v, 1020); err != nil {
				t.Error(err)
			}
			got <- time.Since(start)
		}()
		synctest.Wait()
		l.Done(held)
		if d := <-got; d != time.Second {
			t.Errorf("it takes %v", d)
		}
		time.Sleep(time.Minute)
		wantOdd(t, db, v, 1, 0, append(pgnoRange(10, 30), pgnoRange(1010, 1030)...)...)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_Gaps reads through pages that were not asked for. They are
// kept where they are the newest.
func TestReadAhead_Gaps(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, before *view.View) {
		putOdd(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnoRange(14, 15))
		if r := db.refresh(t.Context()); r.err() != nil {
			t.Fatal(r.err())
		}
		v := db.Current.Load()
		cache := db.pages.Cache.Load()
		cache.Lru.Purge()
		reads := countReads(db.store)
		db.prefetcher.Prefetch(v, []uint32{10, 20}, 0, new(pages.Scan))
		synctest.Wait()
		if n := countReads(db.store) - reads; n != 1 {
			t.Errorf("%d requests", n)
		}
		for _, pgno := range []uint32{9, 14, 15, 21} {
			for version := range ltx.TXID(3) {
				if _, ok := cache.Peek(pages.Key{Version: version, Pgno: pgno, Epoch: 0}); ok {
					t.Errorf("page %d is in the cache, as of transaction %s", pgno, version)
				}
			}
		}
		wantOdd(t, db, v, 1, 0, 10, 11, 12, 13, 16, 17, 18, 19, 20)
		wantOdd(t, db, v, 3, 2, 14, 15)

		// For who reads the state before, the old version is the newest.
		cache.Lru.Purge()
		db.prefetcher.Prefetch(before, []uint32{10, 20}, 0, new(pages.Scan))
		synctest.Wait()
		wantOdd(t, db, before, 1, 0, pgnoRange(10, 20)...)
		wantOdd(t, db, v, 3, 2, 14, 15)
		wantNothingAhead(t, db)

		// In another file, the newest version lies where the old one does in this.
		next := *before
		next.Pages = *before.Pages.Edit()
		old, _ := before.Lookup(15)
		src := next.Pages.Sources.New(view.Source{File: &view.File{MinTXID: 3, MaxTXID: 3, PageSize: fakePageSize}, Version: 3})
		next.Pages.Put(src, []ltxio.Entry{{Pgno: 15, Size: old.Size, Offset: old.Offset}}, next.Commit)
		cache.Lru.Purge()
		db.prefetcher.Prefetch(&next, []uint32{10, 20}, 0, new(pages.Scan))
		synctest.Wait()
		if _, ok := cache.Peek(pages.Key{Version: 3, Pgno: 15, Epoch: 0}); ok {
			t.Error("the old version is taken for the newest")
		}
		wantOdd(t, db, &next, 1, 0, 10, 14, 16, 20)
	})
}

func TestReadAhead_Budget(t *testing.T) {
	inReadAhead(t, Options{ReadAheadSize: 10*fakePageSize + 1}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		s := new(pages.Scan)
		if n := db.prefetcher.Prefetch(v, pgnoRange(1, 50), 0, s); n != 10 || aheadOf(db) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, aheadOf(db))
		}
		for range 2 { // while they are under way, and after
			if n := db.prefetcher.Prefetch(v, pgnoRange(100, 150), 0, s); n != 0 || aheadOf(db) != 10 {
				t.Errorf("went through %d pages more, %d are ahead", n, aheadOf(db))
			}
			synctest.Wait()
		}
		// Pages that are ahead already, and one that is waited for, cost nothing.
		if n := db.prefetcher.Prefetch(v, append(pgnoRange(1, 10), 100, 101), 100, s); n != 11 || aheadOf(db) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, aheadOf(db))
		}
		synctest.Wait()
		wantOdd(t, db, v, 1, 0, 3, 5)
		if n := db.prefetcher.Prefetch(v, pgnoRange(200, 250), 0, s); n != 2 || aheadOf(db) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, aheadOf(db))
		}
		giveUp(db, v, pgnoRange(1, 300)...)
		synctest.Wait()
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_GivenUp gives pages up before their request, while it is
// under way, and after.
func TestReadAhead_GivenUp(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		pgnos := pgnoRange(10, 30)
		s := new(pages.Scan)
		db.prefetcher.Prefetch(v, pgnos, 0, s)
		synctest.Wait()
		s.Ended.Store(true)
		giveUp(db, v, pgnos...)
		if n := aheadOf(db); n != 0 {
			t.Errorf("%d pages ahead that were given up under way", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantNothingAhead(t, db)
		wantOdd(t, db, v, 1, 0, pgnos...)

		s = new(pages.Scan)
		pgnos = pgnoRange(1010, 1030)
		db.prefetcher.Prefetch(v, pgnos, 0, s)
		time.Sleep(time.Second)
		synctest.Wait()
		giveUp(db, v, pgnos...)
		wantNothingAhead(t, db)
		wantOdd(t, db, v, 1, 0, pgnos...)

		// Two queue. One of them has a page that somebody waits for.
		l := remote.NewLimiter(1)
		db.store.Limit = l
		held := l.Enqueue(remote.Foreground)
		s = new(pages.Scan)
		opens := client.opens.Load()
		pgnos = append(pgnoRange(1510, 1530), pgnoRange(2010, 2030)...)
		db.prefetcher.Prefetch(v, pgnos, 0, s)
		got := make(chan error, 1)
		go func() {
			page, err := db.pages.Page(t.Context(), v, 2020)
			if err == nil && !bytes.Equal(page, oddPage(2020, 1)) {
				err = errors.New("wrong page")
			}
			got <- err
		}()
		synctest.Wait()
		s.Ended.Store(true)
		giveUp(db, v, pgnos...)
		l.Done(held)
		if err := <-got; err != nil {
			t.Errorf("who waits gets %v", err)
		}
		synctest.Wait()
		if n := client.opens.Load() - opens; n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		wantNothingAhead(t, db)
		wantOdd(t, db, v, 1, 0, pgnoRange(2010, 2030)...)
		wantOdd(t, db, v, 1, 1, 1510)
		if n := db.stats().PrefetchedUnused; n != 21+21+42 {
			t.Errorf("%d pages were of no use", n)
		}
	})
}

// TestReadAhead_TransactionEnds scans a part of a database.
func TestReadAhead_TransactionEnds(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		c := connOf(db, nil)
		if err := c.BeginRead(); err != nil {
			t.Fatal(err)
		}
		page := make([]byte, fakePageSize)
		most := 0
		for pgno := uint32(10); pgno < 300; pgno++ {
			if _, err := c.ReadAt(page, int64(pgno-1)*fakePageSize); err != nil || !bytes.Equal(page, oddPage(pgno, 1)) {
				t.Fatalf("page %d: %v", pgno, err)
			}
			most = max(most, aheadOf(db))
		}
		if most < 100 || client.opens.Load() > 30 {
			t.Errorf("%d pages ahead, %d requests: this is no read-ahead", most, client.opens.Load())
		}
		c.EndRead()
		if n := aheadOf(db); n != 0 {
			t.Errorf("%d pages ahead", n)
		}
		time.Sleep(time.Minute)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_CachedStays has a page in the cache be next, and the cache
// have other things to do meanwhile.
func TestReadAhead_CachedStays(t *testing.T) {
	inReadAhead(t, Options{CacheSize: 20 * (fakePageSize + pages.CacheEntryOverhead)}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		cache := db.pages.Cache.Load()
		wantOdd(t, db, v, 1, 2, 10, 20)
		db.prefetcher.Prefetch(v, []uint32{10, 11}, 0, new(pages.Scan))
		synctest.Wait()
		flush := func() {
			for i := range uint32(200) {
				cache.Add(pages.Key{Version: 9, Pgno: i + 1}, make([]byte, fakePageSize))
			}
		}
		flush()
		for _, pgno := range []uint32{10, 20} {
			if _, ok := cache.Peek(pages.Key{Version: 1, Pgno: pgno, Epoch: 0}); ok {
				t.Fatalf("page %d is still in the cache", pgno)
			}
		}
		if n := client.opens.Load(); n != 3 {
			t.Errorf("%d requests, want one for each of 10, 20 and 11", n)
		}
		wantOdd(t, db, v, 1, 0, 10, 11)
		wantNothingAhead(t, db)
		flush()
		wantOdd(t, db, v, 1, 1, 10) // used: it need not stay any more
		wantOdd(t, db, v, 1, 1, 20)
	})
}

// TestReadAhead_BodyBreaksOff has the request of a span end in its middle.
// What came is used. The rest is read by who needs it, and read ahead again.
func TestReadAhead_BodyBreaksOff(t *testing.T) {
	const first, last = 100, 1100
	const got = 2*remote.ReadPart + remote.ReadPart/2
	for name, err := range map[string]error{
		"for good": fs.ErrPermission, "reset": errors.New("connection reset"), "short": io.EOF, "gone": fs.ErrNotExist,
	} {
		t.Run(name, func(t *testing.T) {
			inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
				var bodies atomic.Int64
				client.through = func(_ context.Context, _ int64, r io.Reader) io.Reader {
					if bodies.Add(1) > 1 {
						return r
					}
					return breakAfter(r, got, func() error { return err })
				}
				db.prefetcher.Prefetch(v, pgnoRange(first, last), 0, new(pages.Scan))
				waits := make(chan error, 1)
				go func() {
					page, err := db.pages.Page(t.Context(), v, last)
					if err == nil && !bytes.Equal(page, oddPage(last, 1)) {
						err = errors.New("the page is another")
					}
					waits <- err
				}()
				if err := <-waits; err != nil {
					t.Errorf("who waits gets %v", err)
				}
				from, _ := v.Lookup(first)
				if to, _ := v.Lookup(last); to.Offset+int64(to.Size)-from.Offset > pages.MaxSpan || to.Offset-from.Offset < got {
					t.Fatalf("pages from %d to %d", from.Offset, to.Offset)
				}
				if n := db.store.Reads[remote.Speculative].Load(); n != 1 {
					t.Errorf("%d requests to read ahead, want one", n)
				}
				lost := 0
				for pgno := uint32(first); pgno < last; pgno++ {
					loc, _ := v.Lookup(pgno)
					requests := int64(0)
					if loc.Offset+int64(loc.Size)-from.Offset > got {
						requests = 1
						lost++
					}
					wantOdd(t, db, v, 1, requests, pgno)
				}
				if lost < 100 {
					t.Errorf("only %d pages were lost", lost)
				}
				wantNothingAhead(t, db)
			})
		})
	}
}

// TestReadAhead_CorruptFrame breaks a frame in the middle of a span.
func TestReadAhead_CorruptFrame(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		loc, _ := v.Lookup(20)
		broken := true
		client.through = func(_ context.Context, off int64, r io.Reader) io.Reader {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			if i := loc.Offset - off; broken && i >= 0 && i < int64(len(b)) {
				b = bytes.Clone(b)
				b[i+9]++ // of the size
			}
			return bytes.NewReader(b)
		}
		db.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, new(pages.Scan))
		synctest.Wait()
		if n := aheadOf(db); n != 20 || client.opens.Load() != 1 {
			t.Errorf("%d pages ahead after %d requests", n, client.opens.Load())
		}
		wantOdd(t, db, v, 1, 0, append(pgnoRange(10, 19), pgnoRange(21, 30)...)...)
		_, err := db.pages.Page(t.Context(), v, 20)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page 20") || !strings.Contains(err.Error(), loc.File.String()) {
			t.Errorf("page 20: %v", err)
		}
		wantNothingAhead(t, db)

		// Between pages that are asked for, it harms nobody.
		db.pages.Cache.Load().Lru.Purge()
		db.prefetcher.Prefetch(v, []uint32{18, 22}, 0, new(pages.Scan))
		synctest.Wait()
		wantOdd(t, db, v, 1, 0, 18, 19, 21, 22)
		broken = false
		wantOdd(t, db, v, 1, 1, 20)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_DeletedFile has the file of a span be compacted and deleted.
func TestReadAhead_DeletedFile(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, _ *view.View) {
		pgnos := pgnoRange(10, 30)
		putOdd(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnos)
		if r := db.refresh(t.Context()); r.err() != nil {
			t.Fatal(r.err())
		}
		v := db.Current.Load()
		db.pages.Cache.Load().Lru.Purge()
		putOdd(t, client, view.Key{Level: 1, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnos)
		client.remove(t, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2})
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		db.prefetcher.Prefetch(v, pgnos, 0, new(pages.Scan))
		// It waits for the span, and then finds another file.
		if page, err := db.pages.Page(t.Context(), v, 15); err != nil || !bytes.Equal(page, oddPage(15, 3)) {
			t.Errorf("page 15: %v", err)
		}
		wantNothingAhead(t, db)
		db.pages.Cache.Load().Lru.Purge()
		wantOdd(t, db, v, 3, int64(len(pgnos)), pgnos...)
		db.pages.Cache.Load().Lru.Purge()
		// Now it is known where they are.
		db.prefetcher.Prefetch(db.Current.Load(), pgnos, 0, new(pages.Scan))
		time.Sleep(time.Minute)
		wantOdd(t, db, db.Current.Load(), 3, 0, pgnos...)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_Panic has the client panic during a span.
func TestReadAhead_Panic(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
			well := false
			bug := func() {
				if !well {
					well = true
					panic("client bug")
				}
			}
			client.open = func(view.Key, int64) error {
				time.Sleep(time.Second)
				if !inBody {
					bug()
				}
				return nil
			}
			client.through = func(_ context.Context, _ int64, r io.Reader) io.Reader {
				if well {
					return r
				}
				return breakAfter(r, 1000, func() error {
					bug()
					return nil
				})
			}
			db.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, new(pages.Scan))
			// It waits for the span, and then reads the page alone.
			if page, err := db.pages.Page(t.Context(), v, 15); err != nil || !bytes.Equal(page, oddPage(15, 1)) {
				t.Errorf("page 15: %v", err)
			}
			if n := client.opens.Load(); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
			if !well {
				t.Error("there was no panic")
			}
			wantNothingAhead(t, db)
			wantOdd(t, db, v, 1, 1, 16)
		})
	}
}

// TestReadAhead_Close closes a database in the middle of a span, while
// somebody waits for a page of it, and another span queues.
func TestReadAhead_Close(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		db.store.Limit = remote.NewLimiter(1)
		client.through = func(ctx context.Context, _ int64, r io.Reader) io.Reader {
			return breakAfter(r, 1000, func() error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		db.prefetcher.Prefetch(v, append(pgnoRange(10, 30), pgnoRange(1000, 1030)...), 0, new(pages.Scan))
		got := make(chan error, 1)
		go func() {
			ctx, cancel := db.tasks.WithTimeout(-1)
			defer cancel()
			_, err := db.pages.Page(ctx, v, 20)
			got <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := db.close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-got; err == nil {
			t.Error("who waits gets no error")
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("closed after %v", d)
		}
		if n := client.opens.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
		wantNothingAhead(t, db)
		if db.prefetcher.Prefetch(v, pgnoRange(50, 60), 0, new(pages.Scan)); client.opens.Load() != 1 {
			t.Error("reads ahead after it was closed")
		}
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_WaiterLeaves has who waits for a page leave before it lands:
// the client does not notice that the time is over.
func TestReadAhead_WaiterLeaves(t *testing.T) {
	inReadAhead(t, Options{ReadTimeout: 5 * time.Second}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		from, _ := v.Lookup(20)
		client.fetch = func(_ view.Key, off int64) {
			if off >= from.Offset {
				time.Sleep(time.Minute)
			}
		}
		c := connOf(db, nil)
		if err := c.BeginRead(); err != nil {
			t.Fatal(err)
		}
		page, pgno := make([]byte, fakePageSize), uint32(10)
		for ; pgno < 100; pgno++ {
			if _, err := c.ReadAt(page, int64(pgno-1)*fakePageSize); err != nil {
				break
			}
		}
		if pgno < 20 || pgno == 100 {
			t.Errorf("reads up to page %d", pgno)
		}
		c.EndRead()
		time.Sleep(time.Hour)
		wantNothingAhead(t, db)
	})
}

// TestReadAhead_FailedForWaiter has the request of a span fail, after somebody
// began to wait for a page of it. Read-ahead may have no more places: who waits
// is not held up by that.
func TestReadAhead_FailedForWaiter(t *testing.T) {
	inReadAhead(t, Options{}, func(t *testing.T, client *bodyClient, db *database, v *view.View) {
		l := remote.NewLimiter(4)
		db.store.Limit = l
		var held []*remote.Ticket // take long
		for range 3 {
			held = append(held, l.Enqueue(remote.Foreground))
		}
		failed := false
		client.open = func(view.Key, int64) error {
			if !failed {
				failed = true
				return errors.New("connection reset")
			}
			return nil
		}
		db.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, new(pages.Scan))
		go func() {
			time.Sleep(20 * time.Second)
			for _, ticket := range held {
				l.Done(ticket)
			}
		}()
		start := time.Now()
		if _, err := db.pages.Page(t.Context(), v, 20); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("waited %v with a place free", d)
		}
		time.Sleep(time.Minute)
		giveUp(db, v, pgnoRange(10, 30)...)
		wantNothingAhead(t, db)
	})
}
