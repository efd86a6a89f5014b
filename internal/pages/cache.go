package pages

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/superfly/ltx"
)

// Key names the content of a page. That content never changes.
type Key struct {
	Version ltx.TXID
	Pgno    uint32
	Epoch   uint32 // of the view; versions of different epochs are unrelated
}

// pageCache maps page versions to their content, so nothing in it ever goes
// stale. It is safe for concurrent use; the pages that it returns are
// read-only. A nil pageCache holds nothing.
//
// The cache is an LRU of two queues: a page that was used once is evicted
// before one that was used twice, so a scan does not displace what queries
// use. Interior pages of b-trees count as used twice from the start, because
// SQLite keeps them in its own cache during a scan and their further uses do
// not show here.
type pageCache struct {
	lru   *lru.TwoQueueCache[Key, []byte]
	pages int // that it has room for
}

// size returns how many pages the cache has room for.
func (c *pageCache) size() int {
	if c == nil {
		return 0
	}
	return c.pages
}

// cacheEntryOverhead is the memory that an entry takes beside its page: a list
// element, a map slot, and the key of an evicted page in one of the queues.
const cacheEntryOverhead = 256

// newCache returns an empty cache that takes at most size bytes for pages of
// pageSize bytes. It returns nil if hardly any page fits.
func newCache(size int64, pageSize uint32) *pageCache {
	n := size / (int64(pageSize) + cacheEntryOverhead)
	if n < 2 { // two queues need at least two entries
		return nil
	}
	c, err := lru.New2Q[Key, []byte](int(n))
	if err != nil {
		return nil // does not happen for a size of at least 2
	}
	return &pageCache{c, int(n)}
}

// get returns a page, and counts that as a use of it.
func (c *pageCache) get(k Key) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.lru.Get(k)
}

// peek is get without counting as a use.
func (c *pageCache) peek(k Key) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.lru.Peek(k)
}

// add puts a page into the cache.
func (c *pageCache) add(k Key, page []byte) {
	if c != nil {
		c.lru.Add(k, page)
	}
}

// addNew is add for a page that may be in the cache already. Adding it does
// not count as a use.
func (c *pageCache) addNew(k Key, page []byte) {
	if _, ok := c.peek(k); !ok {
		c.add(k, page)
	}
}

// keep is add for a page that a scan must not displace.
func (c *pageCache) keep(k Key, page []byte) {
	if c != nil {
		c.lru.Add(k, page)
		c.lru.Get(k)
	}
}
