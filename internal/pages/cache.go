package pages

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/superfly/ltx"
)

// Key names the content of a page. That content never changes.
type Key struct {
	Version ltx.TXID
	Pgno    uint32
	Epoch   uint32
}

// Cache maps page versions to their content, so nothing in it ever goes
// stale. It is safe for concurrent use; the pages that it returns are
// read-only. A nil pageCache holds nothing.
//
// The cache is an LRU of two queues: a page that was used once is evicted
// before one that was used twice, so a scan does not displace what queries
// use. Interior pages of b-trees count as used twice from the start, because
// SQLite keeps them in its own cache during a scan and their further uses do
// not show here.
type Cache struct {
	Lru   *lru.TwoQueueCache[Key, []byte]
	pages int
}

// Size returns how many pages the cache has room for.
func (c *Cache) Size() int {
	if c == nil {
		return 0
	}
	return c.pages
}

// CacheEntryOverhead is the memory that an entry takes beside its page: a list
// element, a map slot, and the key of an evicted page in one of the queues.
const CacheEntryOverhead = 256

func NewCache(size int64, pageSize uint32) *Cache {
	n := size / (int64(pageSize) + CacheEntryOverhead)
	if n < 2 { // two queues need at least two entries
		return nil
	}
	c, err := lru.New2Q[Key, []byte](int(n))
	if err != nil {
		return nil // does not happen for a size of at least 2
	}
	return &Cache{c, int(n)}
}

func (c *Cache) Get(k Key) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.Lru.Get(k)
}

// Peek is get without counting as a use.
func (c *Cache) Peek(k Key) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	return c.Lru.Peek(k)
}

func (c *Cache) Add(k Key, page []byte) {
	if c != nil {
		c.Lru.Add(k, page)
	}
}

// addNew is add for a page that may be in the cache already. Adding it does
// not count as a use.
func (c *Cache) addNew(k Key, page []byte) {
	if _, ok := c.Peek(k); !ok {
		c.Add(k, page)
	}
}

// keep is add for a page that a scan must not displace.
func (c *Cache) keep(k Key, page []byte) {
	if c != nil {
		c.Lru.Add(k, page)
		c.Lru.Get(k)
	}
}
