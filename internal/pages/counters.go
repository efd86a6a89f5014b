package pages

import "sync/atomic"

// Counters count the pages that were asked for, by where they were.
type Counters struct {
	hits         atomic.Int64 // in the cache, or fetched by another reader
	misses       atomic.Int64 // in storage
	prefetchHits atomic.Int64 // prefetched
	localHits    atomic.Int64 // in the local tier

	prefetched atomic.Int64 // pages that were prefetched
	unused     atomic.Int64 // those of them that were given up; counted after prefetched
}

// pageCounts holds the values of Counters at one time.
type pageCounts struct {
	Hits, Misses, PrefetchHits, LocalHits int64
	Prefetched, Unused                    int64
}

// Counts returns the present values.
func (c *Counters) Counts() pageCounts {
	unused := c.unused.Load() // before prefetched, so that it is not more
	return pageCounts{
		Hits: c.hits.Load(), Misses: c.misses.Load(), PrefetchHits: c.prefetchHits.Load(), LocalHits: c.localHits.Load(),
		Prefetched: c.prefetched.Load(), Unused: unused,
	}
}
