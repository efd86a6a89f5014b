package pages

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
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
