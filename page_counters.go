package litestream

import "sync/atomic"

// pageCounters count the pages that were asked for, by where they were.
type pageCounters struct {
	hits         atomic.Int64 // in the cache, or fetched by another reader
	misses       atomic.Int64 // in storage
	prefetchHits atomic.Int64 // prefetched
	localHits    atomic.Int64 // in the local tier

	prefetched atomic.Int64 // pages that were prefetched
	unused     atomic.Int64 // of these, given up
}

// pageCounts are the values of pageCounters at a time.
type pageCounts struct {
	hits, misses, prefetchHits, localHits int64
	prefetched, unused                    int64
}

func (c *pageCounters) counts() pageCounts {
	return pageCounts{
		hits: c.hits.Load(), misses: c.misses.Load(), prefetchHits: c.prefetchHits.Load(), localHits: c.localHits.Load(),
		prefetched: c.prefetched.Load(), unused: c.unused.Load(),
	}
}
