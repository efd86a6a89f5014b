package litestream

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/superfly/ltx"
)

// pageKey names the content of a page, for ever.
type pageKey struct {
	version ltx.TXID
	pgno    uint32
	epoch   uint32
}

// pageCache holds pages by what they are, so nothing in it ever goes stale.
// It is safe for concurrent use; what it returns is read-only. A nil
// pageCache holds nothing.
//
// Its two queues keep what was used twice apart from what a scan brings. The
// interior pages of b-trees are kept as if used twice from the start: SQLite
// has them in its own cache while it scans, so that the uses do not show here.
type pageCache struct {
	lru   *lru.TwoQueueCache[pageKey, []byte]
	pages int
}

// size returns how many pages fit in.
func (c *pageCache) size() int {
	if c == nil {
		return 0
	}
	return c.pages
}

// cacheEntryOverhead is what an entry takes beside its page: list element,
// map slot and, in the two queues, the key of an evicted page.
const cacheEntryOverhead = 256

func newPageCache(size int64, pageSize uint32) *pageCache {
	n := size / (int64(pageSize) + cacheEntryOverhead)
	if n < 2 { // what two queues need
		return nil
	}
	c, err := lru.New2Q[pageKey, []byte](int(n))
	if err != nil {
		return nil // not for a size of at least 2
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

// addNew is add for a page that may be in the cache already, which does not
// count as a use of it.
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
