package metrics

import (
	"time"

	"github.com/ltxvfs/litestream"
)

// family describes a metric of each database. Its type is counter if the name ends
// in _total, and otherwise gauge.
type family struct {
	name   string // without prefix
	help   string
	label  string                       // a label besides that of the database; empty: none
	when   func(*litestream.Stats) bool // reports whether a database has the metric; nil: every one
	series []series                     // one for each value of the label, ascending; one if there is no label
}

// series is a time series of a family.
type series struct {
	label string // value of the label
	value func(s *litestream.Stats, now time.Time) (v float64, ok bool)

	text func(*litestream.Stats) string // value of the label if each database has another; nil: label
}

// of makes a series of a number.
func of[N int | int64 | uint32](label string, n func(*litestream.Stats) N) series {
	return series{label: label, value: func(s *litestream.Stats, _ time.Time) (float64, bool) { return float64(n(s)), true }}
}

// is makes a series that is 1 while something holds, and otherwise 0.
func is(label string, holds func(*litestream.Stats) bool) series {
	return of(label, func(s *litestream.Stats) int {
		if holds(s) {
			return 1
		}
		return 0
	})
}

// one makes the series of a family without label.
func one(s series) []series { return []series{s} }

// number makes the series of a family without label from a number.
func number[N int | int64 | uint32](n func(*litestream.Stats) N) []series { return one(of("", n)) }

// at makes the series of a timestamp. It is absent while the time is zero.
func at(t func(*litestream.Stats) time.Time) []series {
	return one(series{value: func(s *litestream.Stats, _ time.Time) (float64, bool) {
		t := t(s)
		return float64(t.UnixMilli()) / 1000, !t.IsZero()
	}})
}

// whileProblem makes a series of a part that something can be wrong with.
func whileProblem(part litestream.Part) series {
	return is(string(part), func(s *litestream.Stats) bool { return hasProblem(s, part) })
}

// where returns the series for the databases that a condition holds for. It is absent
// for others.
func (s series) where(holds func(*litestream.Stats) bool) series {
	value := s.value
	s.value = func(s *litestream.Stats, now time.Time) (float64, bool) {
		if !holds(s) {
			return 0, false
		}
		return value(s, now)
	}
	return s
}

// status makes a series of a status of hydration.
func status(state litestream.HydrationStatus) series {
	return is(string(state), func(s *litestream.Stats) bool { return s.Hydration.Status == state })
}

// isWriter reports whether a database is written to by this process, or was.
func isWriter(s *litestream.Stats) bool {
	w := &s.Write
	return w.Enabled || w.Lost || w.Commits > 0 || w.Recovered > 0 || w.Error != ""
}

func isHydrated(s *litestream.Stats) bool { return s.Hydration.Enabled }

// families are the metrics of a database. The page docs/monitoring.md lists them.
var families = []family{
	{
		name: "database_info", help: "Where the replica of a database is. The value is 1.", label: "replica",
		series: []series{{
			text:  func(s *litestream.Stats) string { return s.Place },
			value: func(*litestream.Stats, time.Time) (float64, bool) { return 1, true },
		}},
	},
	{
		name: "txid", help: "Newest transaction that is known to be on the replica.",
		series: number(func(s *litestream.Stats) int64 { return int64(s.TXID) }),
	},
	{
		name: "txid_timestamp_seconds", help: "Time of the newest transaction that is known to be on the replica.",
		series: at(func(s *litestream.Stats) time.Time {
			if s.TXID == 0 {
				return time.Time{}
			}
			return s.Time
		}),
	},
	{
		name: "size_bytes", help: "Size of the newest state of the database, whether on the replica or not.",
		series: number(func(s *litestream.Stats) int64 { return int64(s.Pages) * int64(s.PageSize) }),
	},
	{
		name: "connections", help: "Open connections.",
		series: number(func(s *litestream.Stats) int { return s.Connections }),
	},
	{
		name: "lag_seconds", help: "Time since the last poll that succeeded. It grows while polling sleeps, and is absent before the first poll.",
		series: one(series{value: func(s *litestream.Stats, _ time.Time) (float64, bool) { return float64(s.Lag), s.Lag >= 0 }}),
	},
	{
		name: "polling", help: "1 while the database is in use, and so polls for new transactions.",
		series: one(is("", func(s *litestream.Stats) bool { return s.Poller == "running" })),
	},

	// What is wrong.
	{
		name: "problem", help: "1 while something is wrong with a part of the database.", label: "part",
		series: []series{
			whileProblem(partCompaction).where(isWriter), whileProblem(litestream.PartHydration).where(isHydrated), whileProblem(partOffline),
			whileProblem(litestream.PartPolls), whileProblem(litestream.PartReads),
			whileProblem(litestream.PartSyncs).where(isWriter), whileProblem(litestream.PartWriteMode).where(isWriter),
		},
	},
	{
		name: "failures_total", help: "Operations that failed: polls, reads of pages that SQLite waited for, and syncs of commits.", label: "operation",
		series: []series{
			of("poll", func(s *litestream.Stats) int64 { return s.LastPoll.Failures }),
			of("read", func(s *litestream.Stats) int64 { return s.LastRead.Failures }),
			of("sync", func(s *litestream.Stats) int64 { return s.Write.Failures }).where(isWriter),
		},
	},

	// Requests to storage.
	{
		name: "requests_total", help: "Requests to storage as stores bill them, including repetitions.", label: "kind",
		series: []series{
			of("delete", func(s *litestream.Stats) int64 { return s.Requests.Delete }),
			of("get", func(s *litestream.Stats) int64 { return s.Requests.Get }),
			of("list", func(s *litestream.Stats) int64 { return s.Requests.List }),
			of("put", func(s *litestream.Stats) int64 { return s.Requests.Put }),
		},
	},
	{
		name: "request_cost_dollars_total", help: "Estimated cost of the requests to storage, in US dollars.",
		series: one(series{value: func(s *litestream.Stats, _ time.Time) (float64, bool) { return s.Requests.Dollars, true }}),
	},
	{
		name: "reads_total", help: "Reads of files, by what they are for.", label: "purpose",
		series: []series{
			of("ahead", func(s *litestream.Stats) int64 { return s.AheadReads }),
			of("hydration", func(s *litestream.Stats) int64 { return s.HydrationReads }),
			of("load", func(s *litestream.Stats) int64 { return s.LoadReads }),
			of("page", func(s *litestream.Stats) int64 { return s.PageReads }),
			of("poll", func(s *litestream.Stats) int64 { return s.PollReads }),
		},
	},
	{
		name: "read_bytes_total", help: "Bytes that reads of files returned, by what they are for.", label: "purpose",
		series: []series{
			of("ahead", func(s *litestream.Stats) int64 { return s.AheadReadBytes }),
			of("hydration", func(s *litestream.Stats) int64 { return s.HydrationReadBytes }),
			of("load", func(s *litestream.Stats) int64 { return s.LoadReadBytes }),
			of("page", func(s *litestream.Stats) int64 { return s.PageReadBytes }),
			of("poll", func(s *litestream.Stats) int64 { return s.PollReadBytes }),
		},
	},
	{
		name: "retries_total", help: "Requests that repeat one that failed.",
		series: number(func(s *litestream.Stats) int64 { return s.Retries }),
	},
	{
		name: "hedges_total", help: "Second requests for pages whose first request was slow.",
		series: number(func(s *litestream.Stats) int64 { return s.Hedges }),
	},

	// Pages that SQLite reads.
	{
		name: "page_reads_total", help: "Pages that SQLite asked for, by where they were found.", label: "source",
		series: []series{
			of("ahead", func(s *litestream.Stats) int64 { return s.AheadHits }),
			of("cache", func(s *litestream.Stats) int64 { return s.CacheHits }),
			of("local", func(s *litestream.Stats) int64 { return s.LocalHits }),
			of("storage", func(s *litestream.Stats) int64 { return s.CacheMisses }),
		},
	},
	{
		name: "prefetched_pages_total", help: "Pages that were read ahead.",
		series: number(func(s *litestream.Stats) int64 { return s.Prefetched }),
	},
	{
		name: "prefetched_unused_pages_total", help: "Pages that were read ahead and not asked for in time.",
		series: number(func(s *litestream.Stats) int64 { return s.PrefetchedUnused }),
	},
	{
		name: "unread_indexes", help: "Files whose page index is not in memory as a whole.",
		series: number(func(s *litestream.Stats) int { return s.UnreadIndexes }),
	},

	// The copy to a local file.
	{
		name: "hydration_state", help: "1 for the state that hydration is in.", label: "state", when: isHydrated,
		series: []series{
			status(litestream.HydrationCatchingUp), status(litestream.HydrationComplete), status(litestream.HydrationFailed),
			status(litestream.HydrationIdle), status(litestream.HydrationOnDemand), status(litestream.HydrationRestoring),
		},
	},
	{
		name: "hydration_pages", help: "Pages of the newest state that are in the local file.", when: isHydrated,
		series: number(func(s *litestream.Stats) int64 { return s.Hydration.Pages }),
	},
	{
		name: "hydration_expected_pages", help: "Pages that the local file has when hydration is complete.", when: isHydrated,
		series: number(func(s *litestream.Stats) int64 { return s.Hydration.TotalPages }),
	},
	{
		name: "hydration_verified_pages", help: "Pages of the local file that a compared checksum covers.", when: isHydrated,
		series: number(func(s *litestream.Stats) int64 { return s.Hydration.VerifiedPages }),
	},

	// Write mode.
	{
		name: "write_enabled", help: "1 while connections may write.",
		series: one(is("", func(s *litestream.Stats) bool { return s.Write.Enabled })),
	},
	{
		name: "commits_total", help: "Commits of connections.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.Write.Commits }),
	},
	{
		name: "recovered_commits_total", help: "Commits of an earlier process that were found in the write buffer.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.Write.Recovered }),
	},
	{
		name: "synced_files_total", help: "Files of commits that were uploaded.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.Write.Syncs }),
	},
	{
		name: "last_sync_timestamp_seconds", help: "Time of the last sync that succeeded, absent before the first.", when: isWriter,
		series: at(func(s *litestream.Stats) time.Time { return s.LastSync.Success }),
	},
	{
		name: "unsynced_bytes", help: "Bytes of pages that are committed and not on the replica.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.Write.Unsynced }),
	},
	{
		name: "unsynced_seconds", help: "Age of the oldest commit that is not on the replica, 0 if there is none.", when: isWriter,
		series: one(series{value: func(s *litestream.Stats, now time.Time) (float64, bool) {
			if s.Write.UnsyncedSince.IsZero() {
				return 0, true
			}
			return max(0, now.Sub(s.Write.UnsyncedSince).Seconds()), true
		}}),
	},
	{
		name: "upload_bytes_total", help: "Bytes of files that were sent to storage, including repetitions.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.CreateBytes }),
	},
	{
		name: "mended_snapshots_total", help: "Snapshots that were made because files of the replica were missing.", when: isWriter,
		series: number(func(s *litestream.Stats) int64 { return s.Write.Mended }),
	},
}
