package dashboard

import (
	"sync"
	"time"

	"github.com/ltxvfs/litestream"
)

// tierReads is how many pages SQLite has asked for, by the place where they were.
type tierReads struct {
	Memory  int64 `json:"memory"`
	Local   int64 `json:"local"`   // the local file
	Ahead   int64 `json:"ahead"`   // they were fetched before they were asked for
	Storage int64 `json:"storage"` // SQLite has waited for a request
}

func tiersOf(s *litestream.Stats) tierReads {
	return tierReads{Memory: s.CacheHits, Local: s.LocalHits, Ahead: s.AheadHits, Storage: s.CacheMisses}
}

// since returns the reads since an earlier count, and false if the counters have begun
// anew in between.
func (t tierReads) since(before tierReads) (d tierReads, ok bool) {
	d = tierReads{t.Memory - before.Memory, t.Local - before.Local, t.Ahead - before.Ahead, t.Storage - before.Storage}
	return d, min(d.Memory, d.Local, d.Ahead, d.Storage) >= 0
}

// readSample is the reads between two times, in milliseconds since the Unix epoch.
type readSample struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	tierReads
}

const (
	// readsKept is how long reads are kept, and readsEvery the time between two counts
	// at least. So a database has at most 150.
	readsKept  = 5 * time.Minute
	readsEvery = 2 * time.Second
)

// readHistory is how many pages databases have read over the last minutes, as far as
// somebody has looked. It is safe for concurrent use; the zero value is empty.
type readHistory struct {
	mu struct {
		sync.Mutex
		counts map[string][]readCount // by the id of the database, from the oldest to the newest
	}
}

// readCount is what the counters of a database were at a time.
type readCount struct {
	at    time.Time
	reads tierReads
}

// note records the counters of all databases at a time. It forgets those that are not
// open any more.
func (h *readHistory) note(now time.Time, all []opened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := make(map[string][]readCount, len(all))
	for i := range all {
		o := &all[i]
		counts, reads := h.mu.counts[o.id], tiersOf(&o.stats)
		if n := len(counts); n > 0 {
			if _, ok := reads.since(counts[n-1].reads); !ok {
				counts = nil // it was closed and opened again
			}
		}
		for len(counts) > 0 && now.Sub(counts[0].at) > readsKept {
			counts = counts[1:]
		}
		if n := len(counts); n == 0 || now.Sub(counts[n-1].at) >= readsEvery*9/10 {
			counts = append(counts, readCount{now, reads})
		}
		next[o.id] = counts
	}
	h.mu.counts = next
}

// of returns the reads of a database over the last minutes.
func (h *readHistory) of(id string) []readSample {
	h.mu.Lock()
	defer h.mu.Unlock()
	samples := []readSample{}
	counts := h.mu.counts[id]
	for i := 1; i < len(counts); i++ {
		a, b := counts[i-1], counts[i]
		d, _ := b.reads.since(a.reads)
		samples = append(samples, readSample{a.at.UnixMilli(), b.at.UnixMilli(), d})
	}
	return samples
}
