package pages

import (
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/superfly/ltx"
)

// TestCache_ScanKeeps scans ten times as many pages as fit in. Of the pages
// before, those that are to be kept are.
func TestCache_ScanKeeps(t *testing.T) {
	for _, pages := range []uint32{8, 100, 10_000} {
		c := newCache(int64(pages)*(512+cacheEntryOverhead), 512)
		if c.size() != int(pages) {
			t.Fatalf("%d pages, want %d", c.size(), pages)
		}
		kept, old := pages/2, pages/4
		page := make([]byte, 512)
		for i := range kept {
			c.keep(Key{1, i + 1, 0}, page)
		}
		for i := range old {
			c.add(Key{2, i + 1, 0}, page)
		}
		for i := range 10 * pages {
			c.add(Key{3, i + 1, 0}, page)
		}
		count := func(version ltx.TXID) (n uint32) {
			for pgno := range pages {
				if _, ok := c.peek(Key{version, pgno + 1, 0}); ok {
					n++
				}
			}
			return n
		}
		if n := count(1); n != kept {
			t.Errorf("%d pages: %d of %d are kept", pages, n, kept)
		}
		if n := count(2); n != 0 {
			t.Errorf("%d pages: %d of %d that need not be kept are", pages, n, old)
		}
	}
}

// TestPromise8_CacheSizeKept is TestPromise8_CacheSize with pages to be kept
// among the others.
func TestPromise8_CacheSizeKept(t *testing.T) {
	for _, pageSize := range []uint32{512, 4096, 65536} {
		const size = 4 << 20
		before := viewtest.HeapInUse()
		c := newCache(size, pageSize)
		for i := range uint32(4 * size / pageSize) {
			k := Key{Version: 1, Pgno: i + 1}
			if page := make([]byte, pageSize); i%3 == 0 {
				c.keep(k, page)
			} else {
				c.add(k, page)
			}
			c.add(Key{Version: 1, Pgno: max(i, 10) - 9}, make([]byte, pageSize)) // again
			c.get(Key{Version: 1, Pgno: i/2 + 1})
		}
		after := viewtest.HeapInUse()
		if n := int64(c.lru.Len()); n*int64(pageSize) > size || n*int64(pageSize) < size/2 {
			t.Errorf("page size %d: %d pages in a cache of %d bytes", pageSize, n, size)
		}
		t.Logf("page size %d: %d bytes of heap for a cache of %d", pageSize, after-before, size)
		if after-before > size*115/100 {
			t.Errorf("page size %d: the cache takes %d bytes of heap, not %d", pageSize, after-before, size)
		}
		runtime.KeepAlive(c)
	}
}
