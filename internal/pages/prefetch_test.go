package pages

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

func TestSpans(t *testing.T) {
	snapshot := &view.File{Level: replica.SnapshotLevel, MinTXID: 1, MaxTXID: 9}
	small := &view.File{Level: 0, MinTXID: 10, MaxTXID: 10}
	at := func(f *view.File, pgno uint32, offset int64, size uint32) want {
		return want{key: Key{Version: f.MaxTXID, Pgno: pgno, Epoch: 0}, loc: view.Loc{Source: view.Source{File: f, Version: f.MaxTXID}, Offset: offset, Size: size}, flight: new(flight)}
	}
	const far = 1 << 30
	for _, tc := range []struct {
		name   string
		wants  []want
		urgent uint32
		want   string // a span is <level>:<pages>, with ! if it is of the foreground
	}{
		{"nothing", nil, 0, ""},
		{"nothing but urgent", nil, 7, ""},
		{"one", []want{at(small, 1, far, 9)}, 0, "0:1"},
		{"side by side", []want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 0, "0:1,2,3"},
		{"in any order", []want{at(small, 3, 120, 10), at(small, 1, 100, 10), at(small, 2, 110, 10)}, 0, "0:1,2,3"},
		{"of two files", []want{at(snapshot, 1, 100, 10), at(small, 2, 110, 10), at(snapshot, 3, 120, 10), at(small, 4, 130, 10)}, 0, "0:2,4 9:1,3"},
		{"largest gap", []want{at(small, 1, 100, 10), at(small, 2, 110+MaxGap, 10)}, 0, "0:1,2"},
		{"too large a gap", []want{at(small, 1, 100, 10), at(small, 2, 111+MaxGap, 10)}, 0, "0:1 0:2"},
		{"many gaps", []want{at(small, 1, 0, 10), at(small, 2, MaxGap, 10), at(small, 3, 2*MaxGap, 10)}, 0, "0:1,2,3"},
		{"largest span", []want{at(small, 1, 0, maxSpan/2), at(small, 2, maxSpan/2, maxSpan/2), at(small, 3, maxSpan, 10)}, 0, "0:1,2 0:3"},
		{"too large a span", []want{at(small, 1, 0, maxSpan/2), at(small, 2, maxSpan/2, maxSpan/2+1), at(small, 3, maxSpan+1, 10)}, 0, "0:1 0:2,3"},
		{"one alone is larger", []want{at(small, 1, 0, 10), at(small, 2, 10, maxSpan+1), at(small, 3, maxSpan+11, 10)}, 0, "0:1 0:2 0:3"},
		{"urgent comes first", []want{at(small, 1, 100, 10), at(small, 2, 110, 10)}, 1, "0:1,2!"},
		{"urgent in the middle", []want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 2, "0:1 0:2,3!"},
		{"urgent comes last", []want{at(small, 1, 100, 10), at(small, 2, 110, 10), at(small, 3, 120, 10)}, 3, "0:1,2 0:3!"},
		{"urgent of another file", []want{at(small, 1, 100, 10), at(snapshot, 2, 110, 10), at(snapshot, 3, 120, 10)}, 3, "0:1 9:2 9:3!"},
		{"urgent begins the size anew", []want{at(small, 1, 0, maxSpan/2), at(small, 2, maxSpan/2, 10), at(small, 3, maxSpan/2+10, maxSpan/2)}, 2, "0:1 0:2,3!"},
		{"urgent is not among them", []want{at(small, 1, 100, 10), at(small, 2, 110, 10)}, 5, "0:1,2"},
	} {
		var got []string
		v, st := new(view.View), &scan{pace: new(window)}
		for _, s := range spans(v, st, slices.Clone(tc.wants), tc.urgent, MaxGap) {
			var pgnos []string
			for _, w := range s.wants {
				pgnos = append(pgnos, fmt.Sprint(w.key.Pgno))
			}
			text := fmt.Sprintf("%d:%s", s.file().Level, strings.Join(pgnos, ","))
			switch s.class {
			case remote.Foreground:
				text += "!"
			case remote.Loading:
				text += "?"
			}
			last := s.wants[len(s.wants)-1]
			if s.view != v || s.scan != st || s.offset() != s.wants[0].loc.Offset || s.offset()+s.size() != last.end() {
				t.Errorf("%s: span from %d of %d bytes", tc.name, s.offset(), s.size())
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// Few gaps are read through if there are few pages, and larger ones if there are many,
// up to a bound, and as long as what is read is not much more than the pages.
func TestSpans_Gaps(t *testing.T) {
	file := new(view.File)
	for _, tc := range []struct {
		name      string
		pages     int
		size, gap int64
		spans     int
	}{
		{"few", maxSpans, 20 << 10, 8 << 10, maxSpans},
		{"many", 16 * maxSpans, 20 << 10, 8 << 10, 16*maxSpans*28/512 + 1},
		{"many with large gaps", 4 * maxSpans, 60 << 10, MaxGap, maxSpans},
		{"many with too large gaps", 4 * maxSpans, 60 << 10, MaxGap + 1, 4 * maxSpans},
		{"many small ones", 4 * maxSpans, 500, 8 << 10, 4 * maxSpans},
	} {
		var wants []want
		for i := range tc.pages {
			loc := view.Loc{Source: view.Source{File: file}, Offset: int64(i) * (tc.size + tc.gap), Size: uint32(tc.size)}
			wants = append(wants, want{key: Key{Pgno: uint32(i + 1)}, loc: loc})
		}
		if n := len(spans(new(view.View), nil, wants, 0, minGap)); n != tc.spans {
			t.Errorf("%s: %d requests, want %d", tc.name, n, tc.spans)
		}
	}
}

// TestReadAhead_OneRequest reads pages of which some are far from the others.
func TestReadAhead_OneRequest(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		near, far := pgnoRange(10, 60), pgnoRange(1000, 1020)
		if n := b.prefetcher.Prefetch(v, append(near, far...), 0, &scan{pace: new(window)}); n != 72 {
			t.Errorf("went through %d pages", n)
		}
		synctest.Wait()
		if n := b.store.Reads[remote.Speculative].Load(); n != 2 || client.opens.Load() != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		if n := unclaimedIn(b); n != 72 {
			t.Errorf("%d pages ahead", n)
		}
		wantOdd(t, b, v, 1, 0, near...)
		wantOdd(t, b, v, 1, 0, far...)
		wantOdd(t, b, v, 1, 1, 61, 61) // is beyond them
		wantNothingPrefetched(t, b)
		if c := b.source.Counts(); c.Prefetched != 72 || c.PrefetchHits != 72 || c.Unused != 0 {
			t.Errorf("%d pages prefetched, %d used, %d not", c.Prefetched, c.PrefetchHits, c.Unused)
		}
	})
}

// TestReadAhead_Urgent waits for a page in the middle. That page and the pages
// after it are read first, without waiting for those before it.
func TestReadAhead_Urgent(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.store.Limit = remote.NewLimiter(1)
		held := b.store.Limit.Enqueue(remote.Foreground)
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		b.prefetcher.Prefetch(v, pgnoRange(10, 40), 20, &scan{pace: new(window)})
		if n := unclaimedIn(b); n != 30 {
			t.Errorf("%d pages ahead", n)
		}
		start := time.Now()
		b.store.Limit.Done(held)
		if page, err := b.source.Page(t.Context(), v, 20); err != nil || !bytes.Equal(page, oddPage(20, 1)) {
			t.Errorf("page 20: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("the urgent page takes %v", d)
		}
		synctest.Wait()
		wantOdd(t, b, v, 1, 0, pgnoRange(21, 40)...)
		time.Sleep(2 * time.Second)
		wantOdd(t, b, v, 1, 0, pgnoRange(10, 20)...)
		if f, s := b.store.Reads[remote.Foreground].Load(), b.store.Reads[remote.Speculative].Load(); f != 1 || s != 1 {
			t.Errorf("%d requests of the foreground, %d of read-ahead", f, s)
		}
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_WaitedFor waits for a page of the request that queues last.
func TestReadAhead_WaitedFor(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		l := remote.NewLimiter(1)
		b.store.Limit = l
		held := l.Enqueue(remote.Foreground)
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		b.prefetcher.Prefetch(v, append(pgnoRange(10, 30), pgnoRange(1010, 1030)...), 0, &scan{pace: new(window)})
		start := time.Now()
		got := make(chan time.Duration, 1)
		go func() {
			if _, err := b.source.Page(t.Context(), v, 1020); err != nil {
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
		wantOdd(t, b, v, 1, 0, append(pgnoRange(10, 30), pgnoRange(1010, 1030)...)...)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_Gaps reads through pages that were not asked for. They are
// kept where they are the newest.
func TestReadAhead_Gaps(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, before *view.View) {
		putOdd(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnoRange(14, 15))
		b.advance(t)
		v := b.Current.Load()
		cache := b.source.cache.Load()
		b.dropCache()
		reads := b.countReads()
		b.prefetcher.Prefetch(v, []uint32{10, 20}, 0, &scan{pace: new(window)})
		synctest.Wait()
		if n := b.countReads() - reads; n != 1 {
			t.Errorf("%d requests", n)
		}
		for _, pgno := range []uint32{9, 14, 15, 21} {
			for version := range ltx.TXID(3) {
				if _, ok := cache.peek(Key{Version: version, Pgno: pgno, Epoch: 0}); ok {
					t.Errorf("page %d is in the cache, as of transaction %s", pgno, version)
				}
			}
		}
		wantOdd(t, b, v, 1, 0, 10, 11, 12, 13, 16, 17, 18, 19, 20)
		wantOdd(t, b, v, 3, 2, 14, 15)

		// For a reader of the state before, the old version is the newest.
		b.dropCache()
		b.prefetcher.Prefetch(before, []uint32{10, 20}, 0, &scan{pace: new(window)})
		synctest.Wait()
		wantOdd(t, b, before, 1, 0, pgnoRange(10, 20)...)
		wantOdd(t, b, v, 3, 2, 14, 15)
		wantNothingPrefetched(t, b)

		// In another file, the newest version lies where the old one does in
		// this.
		old, _ := before.Lookup(35)
		room := uint64(old.Offset - ltx.HeaderSize)
		f, index := viewtest.FileOfSizes(t, 2, 2, bedPageSize, 3000, slices.Values(append(pgnoRange(1, 29), 35)), func(pgno uint32) uint64 {
			switch pgno {
			case 1:
				return room/29 + room%29
			case 35:
				return uint64(old.Size)
			}
			return room / 29
		})
		next := viewtest.Advance(t, before, f, index)
		if loc, _ := next.Lookup(35); loc.Offset != old.Offset {
			t.Fatalf("page 35 lies at %d, not at %d", loc.Offset, old.Offset)
		}
		b.dropCache()
		b.prefetcher.Prefetch(next, []uint32{30, 40}, 0, &scan{pace: new(window)})
		synctest.Wait()
		if _, ok := cache.peek(Key{Version: 2, Pgno: 35, Epoch: 0}); ok {
			t.Error("the old version is taken for the newest")
		}
		wantOdd(t, b, next, 1, 0, 30, 34, 36, 40)
	})
}

func TestReadAhead_Budget(t *testing.T) {
	inBed(t, Options{PrefetchSize: 10*bedPageSize + 1}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		s := &scan{pace: new(window)}
		if n := b.prefetcher.Prefetch(v, pgnoRange(1, 50), 0, s); n != 10 || unclaimedIn(b) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, unclaimedIn(b))
		}
		for range 2 { // while they are under way, and after
			if n := b.prefetcher.Prefetch(v, pgnoRange(100, 150), 0, s); n != 0 || unclaimedIn(b) != 10 {
				t.Errorf("went through %d pages more, %d are ahead", n, unclaimedIn(b))
			}
			synctest.Wait()
		}
		// Pages that are ahead already, and one that is waited for, cost nothing.
		if n := b.prefetcher.Prefetch(v, append(pgnoRange(1, 10), 100, 101), 100, s); n != 11 || unclaimedIn(b) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, unclaimedIn(b))
		}
		synctest.Wait()
		wantOdd(t, b, v, 1, 0, 3, 5)
		if n := b.prefetcher.Prefetch(v, pgnoRange(200, 250), 0, s); n != 2 || unclaimedIn(b) != 10 {
			t.Errorf("went through %d pages, %d are ahead", n, unclaimedIn(b))
		}
		giveUp(b, v, pgnoRange(1, 300)...)
		synctest.Wait()
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_GivenUp gives pages up before their request, while it is
// under way, and after.
func TestReadAhead_GivenUp(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		pgnos := pgnoRange(10, 30)
		s := &scan{pace: new(window)}
		b.prefetcher.Prefetch(v, pgnos, 0, s)
		synctest.Wait()
		s.ended.Store(true)
		giveUp(b, v, pgnos...)
		if n := unclaimedIn(b); n != 0 {
			t.Errorf("%d pages ahead that were given up under way", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantNothingPrefetched(t, b)
		wantOdd(t, b, v, 1, 0, pgnos...)

		s = &scan{pace: new(window)}
		pgnos = pgnoRange(1010, 1030)
		b.prefetcher.Prefetch(v, pgnos, 0, s)
		time.Sleep(time.Second)
		synctest.Wait()
		giveUp(b, v, pgnos...)
		wantNothingPrefetched(t, b)
		wantOdd(t, b, v, 1, 0, pgnos...)

		// Two requests queue. A reader waits for a page of one of them.
		l := remote.NewLimiter(1)
		b.store.Limit = l
		held := l.Enqueue(remote.Foreground)
		s = &scan{pace: new(window)}
		opens := client.opens.Load()
		pgnos = append(pgnoRange(1510, 1530), pgnoRange(2010, 2030)...)
		b.prefetcher.Prefetch(v, pgnos, 0, s)
		got := make(chan error, 1)
		go func() {
			page, err := b.source.Page(t.Context(), v, 2020)
			if err == nil && !bytes.Equal(page, oddPage(2020, 1)) {
				err = errors.New("wrong page")
			}
			got <- err
		}()
		synctest.Wait()
		s.ended.Store(true)
		giveUp(b, v, pgnos...)
		l.Done(held)
		if err := <-got; err != nil {
			t.Errorf("the reader that waits gets %v", err)
		}
		synctest.Wait()
		if n := client.opens.Load() - opens; n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		wantNothingPrefetched(t, b)
		wantOdd(t, b, v, 1, 0, pgnoRange(2010, 2030)...)
		wantOdd(t, b, v, 1, 1, 1510)
		if n := b.source.Counts().Unused; n != 21+21+20 { // one request was not sent, and one page of the other is read
			t.Errorf("%d pages were of no use", n)
		}
	})
}

// TestReadAhead_TransactionEnds scans a part of a database.
func TestReadAhead_TransactionEnds(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		r := b.reader()
		most := 0
		for pgno := uint32(10); pgno < 300; pgno++ {
			if page, err := r.read(pgno); err != nil || !bytes.Equal(page, oddPage(pgno, 1)) {
				t.Fatalf("page %d: %v", pgno, err)
			}
			most = max(most, unclaimedIn(b))
		}
		if most < 100 || client.opens.Load() > 30 {
			t.Errorf("%d pages ahead, %d requests: this is no read-ahead", most, client.opens.Load())
		}
		r.predictor.End()
		if n := unclaimedIn(b); n != 0 {
			t.Errorf("%d pages ahead", n)
		}
		time.Sleep(time.Minute)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_CachedStays has a page in the cache be next, and the cache
// have other things to do meanwhile.
func TestReadAhead_CachedStays(t *testing.T) {
	inBed(t, Options{CacheSize: 20 * (bedPageSize + cacheEntryOverhead)}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		cache := b.source.cache.Load()
		wantOdd(t, b, v, 1, 2, 10, 20)
		b.prefetcher.Prefetch(v, []uint32{10, 11}, 0, &scan{pace: new(window)})
		synctest.Wait()
		flush := func() {
			for i := range uint32(200) {
				cache.add(Key{Version: 9, Pgno: i + 1}, make([]byte, bedPageSize))
			}
		}
		flush()
		for _, pgno := range []uint32{10, 20} {
			if _, ok := cache.peek(Key{Version: 1, Pgno: pgno, Epoch: 0}); ok {
				t.Fatalf("page %d is still in the cache", pgno)
			}
		}
		if n := client.opens.Load(); n != 3 {
			t.Errorf("%d requests, want one for each of 10, 20 and 11", n)
		}
		wantOdd(t, b, v, 1, 0, 10, 11)
		wantNothingPrefetched(t, b)
		flush()
		wantOdd(t, b, v, 1, 1, 10) // used: it need not stay any more
		wantOdd(t, b, v, 1, 1, 20)
	})
}
