package litestream

import (
	"time"

	"github.com/superfly/ltx"
)

// Stats are counters of one database since it was opened.
type Stats struct {
	Name     string    `json:"name"`
	TXID     ltx.TXID  `json:"txid"` // newest known
	Time     time.Time `json:"time"` // of that transaction
	Pages    uint32    `json:"pages"`
	PageSize uint32    `json:"page_size"` // bytes
	Lag      int64     `json:"lag"`       // whole seconds since the last successful poll, -1 before the first
	Poller   string    `json:"poller"`    // asleep, running or stopped

	Lists       int64 `json:"lists"` // requests
	Reads       int64 `json:"reads"` // requests
	ReadBytes   int64 `json:"read_bytes"`
	Retries     int64 `json:"retries"`      // attempts beyond the first
	CacheHits   int64 `json:"cache_hits"`   // pages
	CacheMisses int64 `json:"cache_misses"` // pages
}

func (db *database) stats() Stats {
	v := db.current.Load()
	return Stats{
		Name: db.name, TXID: v.txid, Time: v.time(), Pages: v.commit, PageSize: v.pageSize,
		Lag: db.lagSeconds(), Poller: pollState(db.poller.state.Load()).String(),
		Lists: db.store.lists.Load(), Reads: db.store.totalReads(), ReadBytes: db.store.readBytes[foreground].Load() + db.store.readBytes[speculative].Load(),
		Retries: db.store.retries.Load(), CacheHits: db.reader.hits.Load(), CacheMisses: db.reader.misses.Load(),
	}
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
