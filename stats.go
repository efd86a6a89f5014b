package litestream

import (
	"time"

	"github.com/superfly/ltx"
)

// Stats are counters of one database since it was opened.
type Stats struct {
	Name     string    `json:"name"`
	TXID     ltx.TXID  `json:"txid"`      // newest known on the replica
	Time     time.Time `json:"time"`      // of that transaction
	Pages    uint32    `json:"pages"`     // of the newest state, on the replica or not yet
	PageSize uint32    `json:"page_size"` // bytes
	Lag      int64     `json:"lag"`       // whole seconds since the last successful poll, -1 before the first
	Poller   string    `json:"poller"`    // asleep, running or stopped

	PollError string `json:"poll_error"` // why the last poll failed; empty if it did not

	// Requests, each attempt counting, and what they brought.
	Lists          int64 `json:"lists"`
	Reads          int64 `json:"reads"`            // of files: the sum of the next four
	PageReads      int64 `json:"page_reads"`       // for pages that SQLite waits for
	LoadReads      int64 `json:"load_reads"`       // for what tells what is in a file
	AheadReads     int64 `json:"ahead_reads"`      // for pages that nobody waits for yet
	HydrationReads int64 `json:"hydration_reads"`  // for the copy of the whole database
	ReadBytes      int64 `json:"read_bytes"`       // of all reads
	PageReadBytes  int64 `json:"page_read_bytes"`  // of PageReads
	LoadReadBytes  int64 `json:"load_read_bytes"`  // of LoadReads
	AheadReadBytes int64 `json:"ahead_read_bytes"` // of AheadReads

	HydrationReadBytes int64 `json:"hydration_read_bytes"` // of HydrationReads

	Retries int64 `json:"retries"` // attempts beyond the first
	Hedges  int64 `json:"hedges"`  // second requests, which count in PageReads, too

	// Pages that SQLite asked for, by where they were.
	CacheHits   int64 `json:"cache_hits"`   // in the cache, or just being fetched for somebody else
	AheadHits   int64 `json:"ahead_hits"`   // read ahead, or just being read ahead
	CacheMisses int64 `json:"cache_misses"` // in storage
	LocalHits   int64 `json:"local_hits"`   // in the local file

	// Pages that were read ahead of use. Those that were given up may still
	// be of use, as they go to the cache.
	Prefetched       int64 `json:"prefetched"`
	PrefetchedUnused int64 `json:"prefetched_unused"` // given up

	Creates int64 `json:"creates"` // attempts to make a file
	Deletes int64 `json:"deletes"` // requests that delete files

	Hydration HydrationProgress `json:"hydration"`
	Write     WriteStats        `json:"write"`
}

func (db *database) stats() Stats {
	v, s, pages := db.newest(), db.store, db.pages.counts()
	reads, bytes := s.totalReads()
	problem := ""
	if e := db.poller.problem.Load(); e != nil {
		problem = e.Text
	}
	return Stats{
		Name: db.name, TXID: v.txid, Time: v.time(), Pages: v.commit, PageSize: v.pageSize,
		Lag: db.lagSeconds(), Poller: pollState(db.poller.state.Load()).String(),
		PollError: problem,
		Lists:     s.lists.Load(), Reads: reads, ReadBytes: bytes,
		PageReads: s.reads[foreground].Load(), PageReadBytes: s.readBytes[foreground].Load(),
		LoadReads: s.reads[loading].Load(), LoadReadBytes: s.readBytes[loading].Load(),
		AheadReads: s.reads[speculative].Load(), AheadReadBytes: s.readBytes[speculative].Load(),
		HydrationReads: s.reads[hydrating].Load(), HydrationReadBytes: s.readBytes[hydrating].Load(),
		Retries: s.retries.Load(), Hedges: s.hedges.Load(),
		CacheHits: pages.hits, AheadHits: pages.prefetchHits, CacheMisses: pages.misses, LocalHits: pages.localHits,
		Prefetched: pages.prefetched, PrefetchedUnused: pages.unused,
		Creates: s.creates.Load(), Deletes: s.deletes.Load(),
		Hydration: db.hydrator.progress(), Write: db.writer.stats(),
	}
}

// WriteStats is the state of write mode of one database.
type WriteStats struct {
	Enabled   bool   `json:"enabled"`
	Commits   int64  `json:"commits"`   // since the database was opened
	Recovered int64  `json:"recovered"` // of an earlier process
	Syncs     int64  `json:"syncs"`     // files that were uploaded
	Failures  int64  `json:"failures"`  // of syncs
	Unsynced  int64  `json:"unsynced"`  // bytes of pages in the write buffer
	Buffer    string `json:"buffer"`    // path of the write buffer; empty: temporary files
	Error     string `json:"error"`     // why the last sync failed, or write mode ended; empty if it did not

	Mended     int64  `json:"mended"`     // snapshots that were made because files of the replica were missing
	Compaction string `json:"compaction"` // why compaction does not go on; empty if it does
}

func (db *database) lagSeconds() int64 {
	lag, ok := db.poller.lag()
	if !ok {
		return -1
	}
	return int64(lag / time.Second)
}

// Stats returns the counters of every open database, in no particular order.
// It is safe for concurrent use.
func (v *VFS) Stats() []Stats {
	v.options()
	v.mu.Lock()
	shared := make([]*sharedDB, 0, len(v.databases))
	for _, s := range v.databases {
		shared = append(shared, s)
	}
	v.mu.Unlock()
	stats := []Stats{}
	for _, s := range shared {
		select {
		case <-s.ready:
			if s.db != nil {
				stats = append(stats, s.db.stats())
			}
		default: // still being opened
		}
	}
	return stats
}
