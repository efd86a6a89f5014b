// Package write is write mode of a database. It has the transaction of the
// connection that holds the writer slot, the write buffer on the local disk, the
// queue of commits that are not on the replica yet, their upload, and their
// recovery after a crash. It also detects other writers of the replica.
package write

import (
	"context"
	"log/slog"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// Deps is what write mode needs of the rest of the database.
type Deps struct {
	Store *remote.Store
	Views *view.Views
	Tasks *task.Group
	Log   *slog.Logger
	Owner commitlog.Owner // the database that write buffers are for
	Opts  Options

	Tiers Tiers // receive the pages of uploaded files
	Pages Pages
	Index Index

	Pinned      func() []*view.View // returns the views that connections read
	Compact     func()              // starts compaction of new files; it takes no lock of write mode
	FollowAgain func()              // polls the replica, because write mode was turned off
}

// Options are the options of the database that concern write mode.
type Options struct {
	Enabled       bool // write mode is on when the database is opened
	SyncInterval  time.Duration
	SyncOnCommit  bool
	BufferPath    string
	BufferMaxSize int64
	ReadTimeout   time.Duration
	CacheSize     int64
	Disk          diskhook.Hook
	Now           func() time.Time // the time of day, for stamps
}

// Tiers are the tiers that pages are read from. Write mode hands them the
// pages of the files that it uploads, so that nothing has to read those back.
type Tiers interface {
	// Reset drops the cached pages, and makes room for pages of a size.
	Reset(pageSize uint32)

	// Keep puts a page into the memory cache.
	Keep(key pages.Key, page []byte)

	// TakesOffers reports whether there is a local file, which Offer gives pages to.
	TakesOffers() bool

	// Offer gives a page to the local file. It waits while the local file takes no
	// more pages, until ctx is done.
	Offer(ctx context.Context, key pages.Key, page []byte)

	// Notify is called after the current view was replaced.
	Notify()
}

// Pages reads pages of views on the replica.
type Pages interface {
	// Page returns a page, nil for one that was never written. It is read-only.
	Page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error)

	// Prefetch starts to read pages that will be asked for.
	Prefetch(v *view.View, pgnos []uint32)
}

// Index follows the replica, and knows its history.
type Index interface {
	// CatchUp brings the current view up to date. After an error the view may not
	// be the newest state.
	CatchUp(ctx context.Context) error

	// IsReplaced reports whether files are known to be of another history than
	// the view before, which was made before the files were listed.
	IsReplaced(ctx context.Context, before *view.View, files []*ltx.FileInfo) (bool, error)

	// PointTo makes pages of the current view point to a file that was made of
	// them.
	PointTo(l *remote.Loaded) error
}

// Writer is write mode of a database: its parts, put together. It is safe for
// concurrent use.
type Writer struct {
	*queue      // the writer slot, and the commits that are not on the replica yet
	*modeSwitch // turns write mode on and off
	*inspector  // looks for files of other writers, and for missing ones
}

// New returns write mode of a database. It is off.
func New(deps *Deps) *Writer {
	q := newQueue(deps)
	i := newInspector(deps, q)
	q.upload = (&uploader{Deps: deps, queue: q, inspector: i}).run
	return &Writer{queue: q, modeSwitch: newModeSwitch(deps, q, i), inspector: i}
}

// IsEnabled reports whether connections may write.
func (w *Writer) IsEnabled() bool { return w.mode() == modeOn }

// MayBeEnabled reports whether a connection that is opened now may write later. It
// is true while write mode is being turned off, because that can fail.
func (w *Writer) MayBeEnabled() bool {
	mode := w.mode()
	return mode == modeOn || mode == modeStopping
}

// Forget drops what is known of the files of the replica, because the replica
// has another history now.
func (w *Writer) Forget() { w.queue.known.forget() }

// Made notes a file that compaction has made of others.
func (w *Writer) Made(info *ltx.FileInfo) { w.queue.known.made(info) }

// TakeOutgrown reports whether a listing of all levels since the last call of
// TakeOutgrown has shown that the newest snapshot is outgrown.
func (w *Writer) TakeOutgrown() bool { return w.queue.known.takeOutgrown() }
