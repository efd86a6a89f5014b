package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/compact"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
)

// writer is write mode of a database, with the compaction that it starts. It is
// safe for concurrent use.
type writer struct {
	*write.Writer
	compaction *compact.Compaction
}

// newWriter returns write mode of the database. It is off.
func newWriter(db *database) *writer {
	w := new(writer)
	w.Writer = write.New(&write.Deps{
		Store: db.store, Views: &db.index.Views, Tasks: db.tasks, Log: db.log, Owner: db.owner,
		Opts: write.Options{
			Enabled:       db.opts.WriteEnabled,
			SyncInterval:  db.opts.WriteSyncInterval,
			SyncOnCommit:  db.opts.SyncOnCommit,
			BufferPath:    db.opts.WriteBufferPath,
			BufferMaxSize: db.opts.WriteBufferMaxSize,
			ReadTimeout:   db.opts.ReadTimeout,
			CacheSize:     db.opts.CacheSize,
			Disk:          db.opts.onDisk,
			Now:           db.opts.clock,
		},
		Tiers:       writeTiers{db.pages},
		Pages:       writePages{db.pages, db.prefetcher},
		Index:       writeIndex{db.index},
		Pinned:      db.pinned,
		Compact:     func() { w.compaction.Start() },
		FollowAgain: func() { db.poller.wake() },
	})
	w.compaction = compact.New(&compact.Deps{
		Store: db.store, Views: &db.index.Views, Tasks: db.tasks, Log: db.log,
		Opts: compact.Options{
			Disabled:          db.opts.CompactionDisabled,
			Levels:            db.opts.CompactionLevels,
			L0Retention:       db.opts.L0Retention,
			SnapshotInterval:  db.opts.SnapshotInterval,
			SnapshotRetention: db.opts.SnapshotRetention,
			ReadTimeout:       db.opts.ReadTimeout,
			Now:               db.opts.clock,
		},
		Enabled: w.IsEnabled,
		Suspect: w.Suspect,
		Pinned:  db.pinned,
		PointTo: db.relocateIfKnown,
		Notes:   w.Writer,
	})
	return w
}

// writeTiers gives the pages of uploaded files to the tiers that reads use.
type writeTiers struct{ *pages.Source }

func (t writeTiers) Offer(ctx context.Context, key pages.Key, page []byte) {
	t.Source.OfferWait(ctx, key, page)
}

// writePages is the source of pages and its prefetcher as write mode sees them.
type writePages struct {
	*pages.Source
	prefetcher *pages.Prefetcher
}

func (p writePages) Prefetch(v *view.View, pgnos []uint32) {
	p.prefetcher.Prefetch(v, pgnos, 0, nil)
}

// writeIndex is the index as write mode sees it.
type writeIndex struct{ *index }

func (x writeIndex) CatchUp(ctx context.Context) error { return x.refresh(ctx).news }

func (x writeIndex) PointTo(l *remote.Loaded) error {
	return x.relocateCurrent(l, func(*view.View) bool { return true })
}

// sync waits until all commits are on the replica.
func (db *database) sync(ctx context.Context) error { return db.writer.Sync(ctx) }

// makeWay syncs, and then brings the current view up to date. The replica has newer
// transactions than the view that the commits of this process follow: either these are
// on the replica and the sync was not confirmed, or another writer has written, and they
// are kept aside. Until that is decided, no transaction sees the newer ones. Errors are
// those of the sync, which it reports itself, and of the next read.
func (db *database) makeWay(ctx context.Context) {
	_ = db.writer.Sync(ctx)
	_ = db.refreshAnew(ctx)
}

// stats returns the statistics of write mode.
func (w *writer) stats() WriteStats {
	s := w.Status()
	stats := WriteStats{
		Enabled: s.Enabled,
		Commits: s.Counts.Commits, Recovered: s.Counts.Recovered,
		Syncs: s.Counts.Syncs, Failures: s.Counts.Failures, Mended: s.Counts.Mended,
		Unsynced: s.Unsynced, UnsyncedSince: s.Oldest, Lost: s.Lost, Buffer: s.Buffer,
		Compaction: w.compaction.Problem(),
	}
	if s.Problem != nil {
		stats.Error = s.Problem.Error()
	}
	return stats
}
