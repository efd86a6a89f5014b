package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/compact"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
)

// writer is write mode of a database: its parts, put together. It is safe for
// concurrent use.
type writer struct {
	*write.Queue      // the writer slot, and the commits that are not on the replica yet
	*write.ModeSwitch // turns it on and off
	*write.Inspector  // looks for files of other writers, and for missing ones

	compaction *compact.Compaction
}

// newWriter puts write mode of a database together. It is off.
func newWriter(db *database) *writer {
	w := new(writer)
	deps := &write.Deps{
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
		},
		Tiers:       writeTiers{db.pages},
		Pages:       writePages{db},
		Index:       writeIndex{db.index},
		Pinned:      db.pinned,
		Compact:     func() { w.compaction.Start() },
		FollowAgain: func() { db.poller.wake() },
	}
	w.Queue = write.NewQueue(deps)
	w.Inspector = write.NewInspector(deps, w.Queue)
	w.ModeSwitch = write.NewModeSwitch(deps, w.Queue, w.Inspector)
	w.Queue.Upload = (&write.Uploader{Deps: deps, Queue: w.Queue, Inspector: w.Inspector}).Run
	w.compaction = compact.New(&compact.Deps{
		Store: db.store, Views: &db.index.Views, Tasks: db.tasks, Log: db.log,
		Opts: compact.Options{
			Disabled:          db.opts.CompactionDisabled,
			Levels:            db.opts.CompactionLevels,
			L0Retention:       db.opts.L0Retention,
			SnapshotInterval:  db.opts.SnapshotInterval,
			SnapshotRetention: db.opts.SnapshotRetention,
			ReadTimeout:       db.opts.ReadTimeout,
		},
		Enabled: w.isEnabled,
		Suspect: w.Queue.Suspect,
		Pinned:  db.pinned,
		PointTo: db.relocateIfKnown,
		Notes:   compactionFiles{w.Inspector, w.Queue.Known},
	})
	return w
}

// writeTiers gives the pages of files that are uploaded to the tiers that pages
// are read from.
type writeTiers struct{ *pages.Source }

func (t writeTiers) TakesOffers() bool { return t.Local != pages.NoTier{} }

func (t writeTiers) Offer(ctx context.Context, key pages.Key, page []byte) {
	t.Source.OfferWait(ctx, key, page)
}

// writePages reads pages for write mode.
type writePages struct{ db *database }

func (p writePages) Page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error) {
	return p.db.pages.Page(ctx, v, pgno)
}

func (p writePages) Prefetch(v *view.View, pgnos []uint32) {
	p.db.prefetcher.Prefetch(v, pgnos, 0, nil)
}

// writeIndex is the index for write mode.
type writeIndex struct{ *index }

func (x writeIndex) CatchUp(ctx context.Context) error { return x.refresh(ctx).news }

func (x writeIndex) PointTo(l *remote.Loaded) error {
	return x.relocateCurrent(l, func(*view.View) bool { return true })
}

// sync returns when everything that is committed is on the replica.
func (db *database) sync(ctx context.Context) error { return db.writer.Sync(ctx) }

// compactionFiles is what compaction and write mode tell each other.
type compactionFiles struct {
	*write.Inspector
	*write.KnownFiles
}

// isEnabled reports whether connections may write.
func (w *writer) isEnabled() bool { return w.Mode() == write.ModeOn }

// forget forgets all files of the replica, as it has another history now.
func (w *writer) forget() { w.Queue.Known.Forget() }

// mayWrite reports whether a connection that is opened may get to write. While
// write mode is being turned off it may, as that can fail.
func (w *writer) mayWrite() bool {
	mode := w.Mode()
	return mode == write.ModeOn || mode == write.ModeStopping
}

// stats returns what write mode reports.
func (w *writer) stats() WriteStats {
	s := w.Status()
	stats := WriteStats{
		Enabled: s.Mode.HasBuffer(),
		Commits: s.Counts.Commits, Recovered: s.Counts.Recovered,
		Syncs: s.Counts.Syncs, Failures: s.Counts.Failures, Mended: w.Queue.Known.Mends(),
		Unsynced: s.Unsynced, Buffer: s.Buffer,
		Compaction: w.compaction.Problem(),
	}
	if s.Problem != nil {
		stats.Error = s.Problem.Error()
	}
	return stats
}
