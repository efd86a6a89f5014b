package litestream

import (
	"cmp"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/outcome"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/superfly/ltx"
)

// Stats holds counters of one database since it was opened.
type Stats struct {
	Name string `json:"name"` // file name by which the database was opened first

	// ID tells the database apart from the other open ones of its VFS: the URL of its
	// replica, without credentials, if it was opened by one, and otherwise its file
	// name. A number follows if the URL of another one differs only in what is not
	// shown. Methods that take a name take the ID, too.
	ID string `json:"id"`

	Place       string    `json:"place"`       // where the replica is, without credentials; for people
	Opened      time.Time `json:"opened"`      // time from which on the counters count
	Connections int       `json:"connections"` // open connections

	TXID     ltx.TXID  `json:"txid"`      // newest transaction known to be on the replica
	Time     time.Time `json:"time"`      // time of that transaction
	Pages    uint32    `json:"pages"`     // number of pages of the newest state, whether on the replica or not
	PageSize uint32    `json:"page_size"` // in bytes
	Lag      int64     `json:"lag"`       // whole seconds since the last successful poll, -1 before the first
	Poller   string    `json:"poller"`    // state of polling: asleep or running

	// Offline means that the database was opened with the local file because storage
	// did not answer, and that no poll has succeeded since. Lag is then the time since
	// the state was last known to be the newest.
	Offline bool `json:"offline"`

	PollError string `json:"poll_error"` // why the last poll failed; empty if it succeeded

	Problems []Problem `json:"problems"` // what Health says to be wrong; empty if nothing is

	LastPoll Outcome `json:"last_poll"` // polls for new transactions
	LastRead Outcome `json:"last_read"` // reads of pages from storage that SQLite waited for
	LastSync Outcome `json:"last_sync"` // uploads of commits

	// Number of requests, including every retry, and bytes they returned.
	Lists          int64 `json:"lists"`
	Reads          int64 `json:"reads"`            // file reads: the sum of the next four
	PageReads      int64 `json:"page_reads"`       // reads of pages that SQLite waits for
	LoadReads      int64 `json:"load_reads"`       // reads of headers, page indexes and trailers
	AheadReads     int64 `json:"ahead_reads"`      // prefetches of pages that SQLite does not wait for yet
	HydrationReads int64 `json:"hydration_reads"`  // reads for the copy of the whole database
	PollReads      int64 `json:"poll_reads"`       // reads by which polls look for a file that may not exist; not in Reads
	ReadBytes      int64 `json:"read_bytes"`       // bytes of Reads
	PollReadBytes  int64 `json:"poll_read_bytes"`  // bytes of PollReads
	PageReadBytes  int64 `json:"page_read_bytes"`  // bytes of PageReads
	LoadReadBytes  int64 `json:"load_read_bytes"`  // bytes of LoadReads
	AheadReadBytes int64 `json:"ahead_read_bytes"` // bytes of AheadReads

	HydrationReadBytes int64 `json:"hydration_read_bytes"` // bytes of HydrationReads

	// UnreadIndexes is the number of files of the newest state whose page index is not
	// in memory as a whole: it is read in the background, or IndexSize bounds it.
	UnreadIndexes int `json:"unread_indexes"`

	Retries int64 `json:"retries"` // attempts after the first
	Hedges  int64 `json:"hedges"`  // second requests, which are also counted in PageReads

	// Pages that SQLite asked for, by the place where they were found.
	CacheHits   int64 `json:"cache_hits"`   // found in the cache, or in flight for another read
	AheadHits   int64 `json:"ahead_hits"`   // prefetched, or in flight as a prefetch
	CacheMisses int64 `json:"cache_misses"` // fetched from storage
	LocalHits   int64 `json:"local_hits"`   // found in the local file

	// Prefetched pages. Those that are not used in time move to the cache and
	// may still be used.
	Prefetched       int64 `json:"prefetched"`
	PrefetchedUnused int64 `json:"prefetched_unused"` // not used in time

	Creates     int64 `json:"creates"`      // attempts to create a file
	CreateBytes int64 `json:"create_bytes"` // bytes that these have sent
	Deletes     int64 `json:"deletes"`      // requests that delete files

	Requests RequestStats `json:"requests"`

	Hydration HydrationProgress `json:"hydration"`
	Write     WriteStats        `json:"write"`
}

// Outcome says when an operation has last succeeded and when it has last failed, and
// how often.
type Outcome struct {
	Success time.Time `json:"success,omitzero"` // zero: never
	Failure time.Time `json:"failure,omitzero"` // zero: never
	Error   string    `json:"error"`            // of the last failure, even if the operation has succeeded since

	Successes int64 `json:"successes"`
	Failures  int64 `json:"failures"`
}

// publicOutcome returns an outcome for Stats.
func publicOutcome(l outcome.Last) Outcome {
	o := Outcome{Success: l.Success, Failure: l.Failure, Successes: l.Successes, Failures: l.Failures}
	if l.Err != nil {
		o.Error = l.Err.Error()
	}
	return o
}

func (db *database) stats() Stats {
	v, replicated, s, pages := db.Newest(), db.Current.Load(), db.store, db.pages.Counts()
	reads, bytes := s.TotalReads()
	problem := ""
	polls := db.poller.polls.Last()
	if polls.IsFailing() {
		problem = polls.Err.Error()
	}
	return Stats{
		Name: db.name, ID: db.id, Place: db.place, Opened: db.opened, Connections: db.connections(),
		TXID: replicated.TXID, Time: replicated.Time(), Pages: v.Commit, PageSize: v.PageSize,
		Lag: db.lagSeconds(), Poller: pollState(db.poller.state.Load()).String(),
		PollError: problem, Offline: db.isOffline.Load(), Problems: publicProblems(db.problems()),
		LastPoll: publicOutcome(polls), LastRead: publicOutcome(db.reads.Last()), LastSync: publicOutcome(db.writer.Status().Syncs),
		Lists: s.Lists.Load(), Reads: reads, ReadBytes: bytes,
		PageReads: s.Reads[remote.Foreground].Load(), PageReadBytes: s.ReadBytes[remote.Foreground].Load(),
		LoadReads: s.Reads[remote.Loading].Load(), LoadReadBytes: s.ReadBytes[remote.Loading].Load(),
		AheadReads: s.Reads[remote.Speculative].Load(), AheadReadBytes: s.ReadBytes[remote.Speculative].Load(),
		HydrationReads: s.Reads[remote.Hydrating].Load(), HydrationReadBytes: s.ReadBytes[remote.Hydrating].Load(),
		UnreadIndexes: len(db.Current.Load().Unread()),
		Retries:       s.Retries.Load(), Hedges: s.Hedges.Load(),
		CacheHits: pages.Hits, AheadHits: pages.PrefetchHits, CacheMisses: pages.Misses, LocalHits: pages.LocalHits,
		Prefetched: pages.Prefetched, PrefetchedUnused: pages.Unused,
		PollReads: s.NameReads.Load(), PollReadBytes: s.NameReadBytes.Load(),
		Creates: s.Creates.Load(), CreateBytes: s.CreateBytes.Load(), Deletes: s.Deletes.Load(), Requests: db.requestStats(),
		Hydration: publicProgress(db.hydrator.Progress()), Write: db.writer.stats(),
	}
}

// WriteStats holds the state of write mode of one database.
type WriteStats struct {
	Enabled   bool   `json:"enabled"`
	Commits   int64  `json:"commits"`   // commits since the database was opened
	Recovered int64  `json:"recovered"` // commits recovered from an earlier process
	Syncs     int64  `json:"syncs"`     // uploaded files
	Failures  int64  `json:"failures"`  // failed syncs
	Unsynced  int64  `json:"unsynced"`  // bytes of pages in the write buffer
	Lost      bool   `json:"lost"`      // write mode has ended, because another writer has written
	Buffer    string `json:"buffer"`    // path of the write buffer; empty for temporary files
	Error     string `json:"error"`     // why the last sync failed or write mode ended; empty if neither happened

	UnsyncedSince time.Time `json:"unsynced_since,omitzero"` // time of the oldest commit that is not on the replica; zero if there is none

	Mended     int64  `json:"mended"`     // snapshots created because files of the replica were missing
	Compaction string `json:"compaction"` // why compaction is stalled; empty if it is not
}

// shownName returns what the key of the database in names says, for texts: the URL by
// which it was opened, and otherwise its name.
func (db *database) shownName() string {
	if url := db.opts.replicaURL; url != "" {
		return shownURL(url)
	}
	return shownName(db.name)
}

// connections returns the number of open connections.
func (db *database) connections() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.conns)
}

func (db *database) lagSeconds() int64 {
	lag, ok := db.poller.lag()
	switch {
	case ok:
	case db.isOffline.Load():
		lag = max(0, time.Since(time.Unix(0, db.poller.fresh.Load())))
	default:
		return -1
	}
	return int64(lag / time.Second)
}

// Stats returns the counters of every open database, in the order in which they were
// opened. It makes no request. It is safe for concurrent use.
func (v *VFS) Stats() []Stats {
	open := v.names.open()
	slices.SortFunc(open, byOpening)
	stats := make([]Stats, 0, len(open))
	for _, db := range open {
		stats = append(stats, db.stats())
	}
	return stats
}

// byOpening orders databases of a VFS by the time at which they were opened.
func byOpening(a, b *database) int {
	return cmp.Or(a.opened.Compare(b.opened), cmp.Compare(a.id, b.id))
}

// Opens says how the opens of databases have ended. A connection to a database that
// is open counts as none. It is safe for concurrent use.
func (v *VFS) Opens() Outcome { return publicOutcome(v.names.opens.Last()) }
