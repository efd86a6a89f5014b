package pages

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestReader_OneFetchPerPage asks for one page many times at once.
func TestReader_OneFetchPerPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fail := range []error{nil, errors.New("no luck")} {
			r := NewSource(&remote.Store{}, nil, Options{CacheSize: 10 << 20}, 4096)
			var fetches atomic.Int64
			got := make(chan error, 20)
			for range 20 {
				go func() {
					page, err := r.version(t.Context(), Key{Version: 7, Pgno: 1}, nil, func() ([]byte, error) {
						fetches.Add(1)
						time.Sleep(time.Second)
						return bytes.Repeat([]byte{7}, 4096), fail
					})
					if err == nil && page[0] != 7 {
						err = errors.New("wrong page")
					}
					got <- err
				}()
			}
			for range 20 {
				if err := <-got; !errors.Is(err, fail) {
					t.Errorf("got %v, want %v", err, fail)
				}
			}
			if fetches.Load() != 1 {
				t.Errorf("%d fetches", fetches.Load())
			}
			if len(r.flights.mu.of) != 0 {
				t.Error("a flight is left")
			}
		}
	})
}

// TestReader_WaiterOutlivesFetch has the reader that fetches run into its time
// limit, or interrupted. The reader that waits has a limit of its own.
func TestReader_WaiterOutlivesFetch(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		testWaiterOutlives(t, context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		})
	})
	t.Run("interrupt", func(t *testing.T) {
		testWaiterOutlives(t, context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		})
	})
}

func testWaiterOutlives(t *testing.T, want error, limited func(context.Context) (context.Context, context.CancelFunc)) {
	synctest.Test(t, func(t *testing.T) {
		r := NewSource(&remote.Store{}, nil, Options{}, 4096)
		short, cancel := limited(t.Context())
		defer cancel()
		first := make(chan error, 1)
		go func() {
			_, err := r.version(short, Key{Version: 7, Pgno: 1}, nil, func() ([]byte, error) {
				<-short.Done()
				return nil, short.Err()
			})
			first <- err
		}()
		synctest.Wait()
		page, err := r.version(t.Context(), Key{Version: 7, Pgno: 1}, nil, func() ([]byte, error) { return []byte{7}, nil })
		if err != nil || len(page) != 1 {
			t.Errorf("the reader that waits gets %v, %v", page, err)
		}
		if err := <-first; !errors.Is(err, want) {
			t.Errorf("the first gets %v", err)
		}
	})
}

// TestReader_PanicFreesWaiters panics within a fetch.
func TestReader_PanicFreesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewSource(&remote.Store{}, nil, Options{}, 4096)
		panicked := make(chan any, 1)
		go func() {
			defer func() { panicked <- recover() }()
			_, _ = r.version(t.Context(), Key{Version: 7, Pgno: 1}, nil, func() ([]byte, error) {
				time.Sleep(time.Second)
				panic("client bug")
			})
		}()
		synctest.Wait()
		if _, err := r.version(t.Context(), Key{Version: 7, Pgno: 1}, nil, func() ([]byte, error) { return nil, nil }); err == nil {
			t.Error("the reader that waits gets no error")
		}
		if <-panicked == nil {
			t.Error("the panic is gone")
		}
	})
}

// TestPromise8_CacheSize fills the cache with far more than fits.
func TestPromise8_CacheSize(t *testing.T) {
	for _, pageSize := range []uint32{512, 4096, 65536} {
		const size = 4 << 20
		c := newCache(size, pageSize)
		before := viewtest.HeapInUse()
		for i := range uint32(4 * size / pageSize) {
			c.add(Key{Version: 1, Pgno: i + 1}, make([]byte, pageSize))
			c.add(Key{Version: 2, Pgno: i/2 + 1}, make([]byte, pageSize))
			c.get(Key{Version: 2, Pgno: i/3 + 1})
		}
		after := viewtest.HeapInUse()
		if n := c.lru.Len(); n == 0 || int64(n)*int64(pageSize) > size {
			t.Errorf("page size %d: %d pages in a cache of %d bytes", pageSize, n, size)
		}
		t.Logf("page size %d: %d bytes of heap for a cache of %d", pageSize, after-before, size)
		if after-before > size*115/100 {
			t.Errorf("page size %d: the cache takes %d bytes of heap, not %d", pageSize, after-before, size)
		}
		runtime.KeepAlive(c)
	}
	if c := newCache(-1, 4096); c != nil {
		t.Error("a cache of negative size is one")
	}
}

// A page that another reader has fetched meanwhile counts as a hit, and is fetched once.
func TestSource_CountsWaiters(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		client.open = func(view.Key, int64) error { time.Sleep(time.Second); return nil }
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				if _, err := b.source.Page(t.Context(), v, 10); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		if c := b.source.Counts(); c.Misses != 1 || c.Hits != 2 || client.opens.Load() != 1 {
			t.Errorf("%d misses and %d hits with %d requests, want 1, 2 and 1", c.Misses, c.Hits, client.opens.Load())
		}
	})
}

// viewTier is a tier that has the pages of views up to a number, and notes what is
// offered to it.
type viewTier struct {
	noTier
	most     uint32
	verified map[Key]bool
}

func (v viewTier) ReadView(_ *view.View, pgno uint32, _ []byte) bool { return pgno <= v.most }

func (v *viewTier) OfferWait(_ context.Context, key Key, _ []byte, verified bool) {
	v.verified[key] = verified
}

// The local tier is told which pages are covered by the checksum of their file, and
// counts as what it is where it has a page. Without prefetching, or where the tier
// fetches everything by itself, the neighbours of pages are not fetched.
func TestSource_LocalTier(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		if !b.source.widens() {
			t.Error("neighbours are not fetched without a tier")
		}
		tier := &viewTier{most: 10, verified: make(map[Key]bool)}
		b.source.SetLocal(tier)
		for pgno, want := range map[uint32]bool{10: true, 11: false} {
			if got := b.source.ReadLocal(v, pgno, nil); got != want {
				t.Errorf("page %d is here: %v, want %v", pgno, got, want)
			}
		}
		if n := b.source.Counts().LocalHits; n != 1 {
			t.Errorf("%d reads were local, want 1", n)
		}
		key := Key{Version: 1, Pgno: 7}
		if b.source.OfferWait(t.Context(), key, nil); !tier.verified[key] {
			t.Error("a page of a file whose checksum is right is not verified")
		}
		if b.source.widens() {
			t.Error("neighbours are fetched though the tier fetches everything")
		}
	})
	if s := NewSource(&remote.Store{}, nil, Options{}, bedPageSize); s.widens() {
		t.Error("neighbours are fetched without prefetching")
	}
}

// Nothing is prefetched where no cache could take it.
func TestReadAhead_NoCache(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.source.cache.Store(nil)
		if n := b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, nil); n != 0 {
			t.Errorf("went through %d pages", n)
		}
		synctest.Wait()
		if n := client.opens.Load(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}
