package litestream

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/superfly/ltx"
)

// pageKey names the content of a page. That content never changes.
type pageKey struct {
	version ltx.TXID
	pgno    uint32
	epoch   uint32
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
	lru   *lru.TwoQueueCache[pageKey, []byte]
	pages int
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

func newPageCache(size int64, pageSize uint32) *pageCache {
	n := size / (int64(pageSize) + cacheEntryOverhead)
	if n < 2 { // two queues need at least two entries
		return nil
	}
	c, err := lru.New2Q[pageKey, []byte](int(n))
	if err != nil {
		return nil // does not happen for a size of at least 2
	}
	return &pageCache{c, int(n)}
}

func (c *pageCache) get(k pageKey) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.lru.Get(k)
}

// peek is get without counting as a use.
func (c *pageCache) peek(k pageKey) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.lru.Peek(k)
}

func (c *pageCache) add(k pageKey, page []byte) {
	if c != nil {
		c.lru.Add(k, page)
	}
}

// addNew is add for a page that may be in the cache already. Adding it does
// not count as a use.
func (c *pageCache) addNew(k pageKey, page []byte) {
	if _, ok := c.peek(k); !ok {
		c.add(k, page)
	}
}

// keep is add for a page that a scan must not displace.
func (c *pageCache) keep(k pageKey, page []byte) {
	if c != nil {
		c.lru.Add(k, page)
		c.lru.Get(k)
	}
}
