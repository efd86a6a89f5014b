package pages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// inUnread is inBed with a page index that is read as it is needed.
func inUnread(t *testing.T, do func(t *testing.T, client *hookClient, b *bed, v *view.View)) {
	t.Helper()
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, _ *view.View) {
		b.store.NeverWhole, b.store.MaxWhole = true, -1
		b.replace(t)
		b.dropCache()
		client.opens.Store(0)
		v := b.Current.Load()
		if loc, _ := v.Lookup(1500); !loc.IsUnread() {
			t.Fatal("the place of page 1500 is known")
		}
		do(t, client, b, v)
	})
}

// wantPages reads pages of a view within a time.
func wantPages(t *testing.T, b *bed, v *view.View, pgnos ...uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, pgno := range pgnos {
		if page, err := b.source.Page(ctx, v, pgno); err != nil || !bytes.Equal(page, oddPage(pgno, 1)) {
			t.Errorf("page %d: %v", pgno, err)
		}
	}
}

// Pages whose places are unread are prefetched once the index was read, also a single
// one, and those of several parts of the index.
func TestReadAhead_UnreadPlaces(t *testing.T) {
	for _, pgnos := range [][]uint32{{1500}, pgnoRange(1500, 1520), {10, 1500, 2990}} {
		inUnread(t, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
			b.prefetcher.Prefetch(v, pgnos, 0, &scan{pace: new(window)})
			synctest.Wait()
			if n := unclaimedIn(b); n != len(pgnos) {
				t.Errorf("%d pages are prefetched, want %d", n, len(pgnos))
			}
			before := b.countReads()
			wantPages(t, b, v, pgnos...)
			if n := b.countReads() - before; n != 0 {
				t.Errorf("%d requests for pages %v", n, pgnos)
			}
			wantNothingPrefetched(t, b)
		})
	}
}

// A read of the page index fails, or the database is closed before it. No reader waits
// for pages that do not come.
func TestReadAhead_UnreadPlacesFail(t *testing.T) {
	inUnread(t, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.open = func(view.Key, int64) error { return errors.New("no answer") }
		b.prefetcher.Prefetch(v, []uint32{1500, 2990}, 0, &scan{pace: new(window)})
		time.Sleep(time.Minute)
		wantNothingPrefetched(t, b)
		client.open = nil
		wantPages(t, b, v, 1500, 2990)

		b.close()
		b.prefetcher.Prefetch(v, []uint32{1000, 2000}, 0, &scan{pace: new(window)})
		wantNothingPrefetched(t, b)
		wantPages(t, b, v, 1000)
	})
}

// Few parts of a page index are read for pages that may never be asked for. Pages that
// lie near each other in the index count as one.
func TestIndexReads(t *testing.T) {
	var r indexReads
	for _, tc := range []struct {
		pgno uint32
		want bool
	}{
		{10_000, true}, {10_000 + nearPages, true}, {10_000 - nearPages, true},
		{10_001 + nearPages, true},     // a second part
		{50_000, true}, {90_000, true}, // and two more
		{200_000, false},
		{50_000 - nearPages, true}, {90_001 + nearPages, false}, {10_000, true},
	} {
		if got := r.covers(tc.pgno); got != tc.want {
			t.Errorf("page %d: %v, want %v", tc.pgno, got, tc.want)
		}
	}
}

// Pages that are prefetched for no scan go to the cache at once, and do not count
// against the limit.
func TestReadAhead_NoScan(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, nil)
		if n := unclaimedIn(b); n != 0 {
			t.Errorf("%d pages are kept for a scan", n)
		}
		synctest.Wait()
		wantNothingPrefetched(t, b)
		for _, pgno := range pgnoRange(10, 30) {
			if found, ok := b.source.Known(v, pgno); !ok || !found.Cached {
				t.Errorf("page %d is not in the cache", pgno)
			}
		}
	})
}

// Nothing is prefetched of a history that was replaced, and so no page is noted as one
// that comes.
func TestReadAhead_OldEpoch(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.Current.Store(&view.View{Epoch: v.Epoch + 1, PageSize: v.PageSize})
		if n := b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, &scan{pace: new(window)}); n != 0 {
			t.Errorf("went through %d pages", n)
		}
		synctest.Wait()
		if n := client.opens.Load(); n != 0 {
			t.Errorf("%d requests", n)
		}
		wantNothingPrefetched(t, b)
	})
}

// A reader that waits is told of other pages that have come, and not of parts of them.
func TestReadAhead_PartsOfPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pageSize, pages = 32 << 10, 4
		all := make(map[uint32][]byte)
		for pgno := uint32(1); pgno <= pages; pgno++ {
			all[pgno] = make([]byte, pageSize)
			_, _ = rand.NewChaCha8([32]byte{byte(pgno)}).Read(all[pgno]) // does not compress
		}
		client := newHookClient()
		hdr := ltx.Header{PageSize: pageSize, Commit: pages, MinTXID: 1, MaxTXID: 1, Timestamp: 1000}
		if _, err := client.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(ltxtest.EncodeLTX(hdr, all, false))); err != nil {
			t.Fatal(err)
		}
		b := openBed(t, client, Options{})
		b.dropCache()
		client.through = func(_ context.Context, _ int64, body io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) {
				time.Sleep(10 * time.Millisecond)
				return body.Read(p[:min(len(p), 8<<10)])
			})
		}
		v := b.Current.Load()
		b.prefetcher.Prefetch(v, []uint32{2, 3, 4}, 0, nil)
		calls := 0
		page, err := b.source.PageAmid(t.Context(), v, 4, func() { calls++ })
		if err != nil || !bytes.Equal(page, all[4]) {
			t.Errorf("page 4: %v", err)
		}
		if calls == 0 || calls > 2 { // for pages 2 and 3
			t.Errorf("the reader is told of other pages %d times", calls)
		}
	})
}

// lostLocator always knows of another file that has a page, all of which are gone.
type lostLocator struct {
	*bed
	t     *testing.T
	finds int
}

func (l *lostLocator) Find(_ context.Context, _ *view.View, pgno uint32, lost view.Loc) (view.Loc, error) {
	l.finds++
	txid := ltx.TXID(100 + l.finds)
	f, _ := viewtest.File(l.t, txid, txid, bedPageSize, 10, slices.Values([]uint32{1, 2}))
	lost.File = f
	return lost, nil
}

// A page whose file is gone wherever it is looked for is given up after some attempts.
func TestSource_LostEverywhere(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		l := &lostLocator{bed: b, t: t}
		b.source.locator = l
		client.remove(t, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1})
		_, err := b.source.Page(t.Context(), v, 15)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("page 15: %v", err)
		}
		if n := client.opens.Load(); n != maxFetchAttempts+1 || l.finds != maxFetchAttempts {
			t.Errorf("%d requests, and %d looks for another file, want %d and %d", n, l.finds, maxFetchAttempts+1, maxFetchAttempts)
		}
	})
}

// A local tier that has only what it is offered gets the prefetched pages that are
// intact, as soon as it has room, and interior pages tell of their children.
func TestReadAhead_OfferedToTier(t *testing.T) {
	inTree(t, Options{}, func(t *testing.T, client *hookClient, b *bed, r *bedReader) {
		tier := newHungryTier()
		tier.busy = true
		b.source.SetLocal(&tier)
		b.source.trees.treeMap = treeMap{}
		b.dropCache()
		damaged, _ := r.v.Lookup(firstLeaf + 5)
		client.through = func(_ context.Context, off int64, body io.Reader) io.Reader {
			all, err := io.ReadAll(body)
			if err != nil {
				t.Error(err)
			}
			if at := damaged.Offset + 1 - off; at >= 0 && at < int64(len(all)) {
				all = bytes.Clone(all)
				all[at] ^= 0xff
			}
			return bytes.NewReader(all)
		}
		s := &scan{pace: new(window)}
		b.prefetcher.Prefetch(r.v, pgnoRange(2, firstLeaf+10), 0, s)
		time.Sleep(time.Minute)
		for _, pgno := range pgnoRange(2, firstLeaf+10) {
			loc, _ := r.v.Lookup(pgno)
			if got, want := tier.Has(Key{loc.Version, pgno, r.v.Epoch}), pgno != firstLeaf+5; got != want {
				t.Errorf("the tier has page %d: %v, want %v", pgno, got, want)
			}
		}
		w := treeWalk{b.source, r.v}
		if at, ok := w.place(firstLeaf + 7); !ok || at.parent != 3 || at.i != 7 {
			t.Errorf("page %d is child %d of page %d, %v", firstLeaf+7, at.i, at.parent, ok)
		}
		giveUp(b, r.v, pgnoRange(2, firstLeaf+10)...)
	})
}
