package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// writer is write mode of a database: its parts, put together. It is safe for
// concurrent use.
type writer struct {
	*queue      // the writer slot, and the commits that are not on the replica yet
	*modeSwitch // turns it on and off
	*inspector  // looks for files of other writers, and for missing ones

	compaction *compaction
}

// newWriter puts write mode of a database together. It is off.
func newWriter(db *database) *writer {
	w := new(writer)
	deps := &writeDeps{
		store: db.store, views: &db.index.Views, tasks: db.tasks, log: db.log, owner: db.owner,
		opts: writeOptions{
			enabled:       db.opts.WriteEnabled,
			syncInterval:  db.opts.WriteSyncInterval,
			syncOnCommit:  db.opts.SyncOnCommit,
			bufferPath:    db.opts.WriteBufferPath,
			bufferMaxSize: db.opts.WriteBufferMaxSize,
			readTimeout:   db.opts.ReadTimeout,
			cacheSize:     db.opts.CacheSize,
			disk:          db.opts.onDisk,
		},
		tiers:       writeTiers{db.pages},
		pages:       writePages{db},
		index:       writeIndex{db.index},
		pinned:      db.pinned,
		compact:     func() { w.compaction.start() },
		followAgain: func() { db.poller.wake() },
	}
	w.queue = newQueue(deps)
	w.inspector = newInspector(deps, w.queue)
	w.modeSwitch = newModeSwitch(deps, w.queue, w.inspector)
	w.queue.upload = (&uploader{writeDeps: deps, queue: w.queue, inspector: w.inspector}).run
	w.compaction = newCompaction(&compactionDeps{
		store: db.store, views: &db.index.Views, tasks: db.tasks, log: db.log,
		opts: compactionOptions{
			disabled:          db.opts.CompactionDisabled,
			levels:            db.opts.CompactionLevels,
			l0Retention:       db.opts.L0Retention,
			snapshotInterval:  db.opts.SnapshotInterval,
			snapshotRetention: db.opts.SnapshotRetention,
			readTimeout:       db.opts.ReadTimeout,
		},
		enabled: w.isEnabled,
		suspect: w.queue.suspect,
		pinned:  db.pinned,
		pointTo: db.relocateIfKnown,
		notes:   compactionFiles{w.inspector, w.queue.known},
	})
	return w
}

// writeTiers gives the pages of files that are uploaded to the tiers that pages
// are read from.
type writeTiers struct{ *pages.Source }

func (t writeTiers) takesOffers() bool { return t.Local != pages.NoTier{} }

func (t writeTiers) offer(ctx context.Context, key pages.Key, page []byte) {
	t.Source.OfferWait(ctx, key, page)
}

// writePages reads pages for write mode.
type writePages struct{ db *database }

func (p writePages) page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error) {
	return p.db.pages.Page(ctx, v, pgno)
}

func (p writePages) prefetch(v *view.View, pgnos []uint32) {
	p.db.prefetcher.Prefetch(v, pgnos, 0, nil)
}

// writeIndex is the index for write mode.
type writeIndex struct{ *index }

func (x writeIndex) catchUp(ctx context.Context) error { return x.refresh(ctx).news }

func (x writeIndex) pointTo(l *remote.Loaded) error {
	return x.relocateCurrent(l, func(*view.View) bool { return true })
}

// sync returns when everything that is committed is on the replica.
func (db *database) sync(ctx context.Context) error { return db.writer.sync(ctx) }

// compactionFiles is what compaction and write mode tell each other.
type compactionFiles struct {
	*inspector
	*knownFiles
}

// isEnabled reports whether connections may write.
func (w *writer) isEnabled() bool { return w.mode() == modeOn }

// forget forgets all files of the replica, as it has another history now.
func (w *writer) forget() { w.queue.known.forget() }

// mayWrite reports whether a connection that is opened may get to write. While
// write mode is being turned off it may, as that can fail.
func (w *writer) mayWrite() bool {
	mode := w.mode()
	return mode == modeOn || mode == modeStopping
}

// stats returns what write mode reports.
func (w *writer) stats() WriteStats {
	s := w.status()
	stats := WriteStats{
		Enabled: s.mode.hasBuffer(),
		Commits: s.counts.commits, Recovered: s.counts.recovered,
		Syncs: s.counts.syncs, Failures: s.counts.failures, Mended: w.queue.known.mends(),
		Unsynced: s.unsynced, Buffer: s.buffer,
		Compaction: w.compaction.problem(),
	}
	if s.problem != nil {
		stats.Error = s.problem.Error()
	}
	return stats
}
