// Package write is write mode of a database: the transaction of the connection
// that holds the writer slot, the write buffer on the local disk, the queue of
// commits that are not on the replica yet, their upload, and their recovery after
// a crash. Another writer of the replica is detected here, too.
package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
)

// Deps is what the parts of write mode need of the rest of the database.
type Deps struct {
	Store *remote.Store
	Views *view.Views
	Tasks *task.Group
	Log   *slog.Logger
	Owner commitlog.Owner // what write buffers are for
	Opts  Options

	Tiers Tiers // get the pages of files that are uploaded
	Pages Pages
	Index Index // follows the replica

	Pinned      func() []*view.View // returns the views that connections read
	Compact     func()              // has new files be compacted; it takes no lock of write mode
	FollowAgain func()              // has the replica be polled, as write mode was turned off
}

// Options are the Options that concern write mode.
type Options struct {
	Enabled       bool // from the start
	SyncInterval  time.Duration
	SyncOnCommit  bool
	BufferPath    string
	BufferMaxSize int64
	ReadTimeout   time.Duration
	CacheSize     int64
	Disk          diskhook.Hook
}

// Tiers are the tiers that pages are read from. Write mode hands them the
// pages of the files that it uploads, so that nothing has to read those back.
type Tiers interface {
	// reset drops the cached pages, and makes room for pages of a size.
	Reset(pageSize uint32)

	// keep puts a page into the memory cache.
	Keep(key pages.Key, page []byte)

	// TakesOffers reports whether there is a tier that offer gives pages to.
	TakesOffers() bool

	// Offer gives a page to the local file. It waits while that has no room, as
	// long as ctx allows.
	Offer(ctx context.Context, key pages.Key, page []byte)

	// notify tells that the current view was replaced.
	Notify()
}

// Pages reads pages of views on the replica.
type Pages interface {
	// Page returns a page, nil for one that was never written. It is read-only.
	Page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error)

	// Prefetch has pages be read that will be asked for.
	Prefetch(v *view.View, pgnos []uint32)
}

// Index follows the replica, and knows its history.
type Index interface {
	// CatchUp brings the current view up to date. The error is why it may not
	// be the newest state.
	CatchUp(ctx context.Context) error

	// IsReplaced reports whether files are known to be of another history than
	// a view that was made before they were listed.
	IsReplaced(ctx context.Context, before *view.View, files []*ltx.FileInfo) (bool, error)

	// PointTo points pages of the current view to a file that was made of it.
	PointTo(l *remote.Loaded) error
}

// slotHolder is a connection, as the queue sees it. The queue calls it under
// its lock; it must not call the queue.
type slotHolder interface {
	View() *view.View // what the connection reads
	Pin(v *view.View) // sets what it reads
}

// Queue holds the writer slot of a database, and the commits that are not on
// the replica yet. It is safe for concurrent use.
//
// Lock order: writeBuffer.mu, Queue.mu, the lock that Deps.Compact takes, and that
// of task.Group. The locks of knownFiles and pageOneFormat are taken under Queue.mu
// as well, and no other is taken under them. Methods of queueState are called under mu.
type Queue struct {
	*Deps
	Known  *KnownFiles
	format *pageOneFormat
	Upload func()        // what the goroutine that syncs does: it ends when syncEnded says so
	kick   chan struct{} // holds one if a sync is due now

	mu struct {
		sync.Mutex // duty: all of this; no storage I/O happens under it
		queueState
	}
}

// queueState is what queue.mu guards.
type queueState struct {
	mode   queueMode
	buffer *writeBuffer // nil unless mode.hasBuffer
	holder slotHolder   // holds the writer slot; nil if none does

	segments []*segment // with finished commits, the oldest first
	opened   *segment   // that the newest appended commit went to
	appended uint64     // number of the newest commit
	finished uint64     // number of the newest commit that is visible to other connections
	synced   uint64     // number of the newest commit that is on the replica
	lost     lostCommits

	running  bool   // there is a goroutine that syncs
	attempts uint64 // syncs that have ended, with success or not
	problem  error  // of the last sync; nil if it worked
	waiting  waiters
	counts   Counts
	changed  chan struct{} // closed when any of this changes
}

// lostCommits are the commits in whose place another writer's were made.
type lostCommits struct {
	from, to uint64 // numbers; the first is not included
	err      error  // nil: there are none, or write mode was turned on again
}

// Counts are counted since the database was opened.
type Counts struct {
	Commits, Recovered, Syncs, Failures int64
}

func NewQueue(deps *Deps) *Queue {
	q := &Queue{Deps: deps, Known: new(KnownFiles), format: &pageOneFormat{Deps: deps}, kick: make(chan struct{}, 1)}
	q.mu.changed = make(chan struct{})
	q.mu.waiting.byNumber = make(map[uint64]int)
	return q
}

// change wakes the goroutines that wait for a change.
func (s *queueState) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// isBusy reports whether a connection writes, or has written what is not on the
// replica. A transaction that began before write mode ended does not count, as
// it cannot commit.
func (s *queueState) isBusy(views *view.Views) bool {
	return s.mode.HasBuffer() && (s.holder != nil || views.Local.Load() != nil)
}

// unsynced returns the bytes that are not on the replica.
func (s *queueState) unsynced() (n int64) {
	for _, segment := range s.segments {
		n += segment.bytes
	}
	return n
}

// isDoubtful reports whether the replica may lack files, and a sync is to find
// out although there is nothing to upload. Closing does not wait for that.
func (s *queueState) isDoubtful(known *KnownFiles) bool {
	return s.mode.HasBuffer() && !s.mode.isClosed() && known.isDoubtful()
}

// Replace publishes a view of the replica in place of cur. It returns
// errOvertaken if cur is not the current view any more, and errWriting if
// commits of this process would not be in next.
func (q *Queue) Replace(cur, next *view.View) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cur.State != next.State && q.mu.isBusy(q.Views) {
		return errs.ErrWriting
	}
	if !q.Views.Current.CompareAndSwap(cur, next) {
		return errs.ErrOvertaken
	}
	return nil
}

// IsWriting reports whether a connection writes, or has written what is not on
// the replica.
func (q *Queue) IsWriting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.isBusy(q.Views)
}

// ErrBusy means that another connection writes, or has written since the
// transaction began.
var ErrBusy = errors.New("database is busy")

// Begin gives a connection the writer slot, if what it reads is the newest
// state.
func (q *Queue) Begin(h slotHolder) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	newest := q.Views.Newest()
	switch {
	case q.mu.holder == h:
		return nil
	case !q.mu.mode.HasBuffer():
		return cmp.Or(q.mu.lost.err, errs.ErrReadOnly)
	case q.mu.mode == modeClosing:
		return fmt.Errorf("%w: it is being closed", errs.ErrReadOnly)
	case q.mu.mode == ModeStopping: // which may fail, and then writes go on
		return fmt.Errorf("%w: write mode is being turned off", ErrBusy)
	case q.mu.holder != nil:
		return fmt.Errorf("%w: another connection writes", ErrBusy)
	case h.View().State != newest.State:
		return fmt.Errorf("%w: the transaction sees an older state", ErrBusy)
	case q.mu.unsynced() >= q.Opts.BufferMaxSize:
		return fmt.Errorf("%w: the write buffer is full, and waits for the replica: %w", ErrBusy, q.mu.problem)
	}
	q.mu.holder = h
	h.Pin(newest)
	return nil
}

// End takes the writer slot back from a connection.
func (q *Queue) End(h slotHolder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.holder == h {
		q.mu.holder = nil
		q.mu.change()
	}
}

// holder returns the connection that holds the writer slot, nil if none does.
func (q *Queue) holder() slotHolder {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.holder
}

// Mode returns the mode.
func (q *Queue) Mode() queueMode {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.mode
}

// StampLocal makes the newest view a state of its own, if it has commits that
// are not on the replica, so that SQLite reads again what it has cached. A
// transaction that is under way makes a state of its own anyway.
func (q *Queue) StampLocal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if local := q.Views.Local.Load(); local != nil && q.mu.holder == nil {
		again := *local
		q.Views.Local.Store(q.Views.NewState(&again))
	}
}

// Suspect has the next sync look at all levels of the replica. That sync need
// not wait for a commit.
func (q *Queue) Suspect() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.mode.HasBuffer() {
		q.Known.setSuspect()
		q.startSync()
	}
}

// startSync starts the goroutine that syncs, unless it runs. It is called under
// mu.
func (q *Queue) startSync() {
	if !q.mu.running && (len(q.mu.segments) > 0 || q.mu.isDoubtful(q.Known)) {
		q.mu.running = q.Tasks.Go(q.Upload)
	}
	if q.Opts.SyncOnCommit || q.mu.unsynced() >= q.Opts.BufferMaxSize {
		task.Signal(q.kick)
	}
}

// Status is what a queue reports.
type Status struct {
	Mode     queueMode
	Counts   Counts
	Unsynced int64  // bytes of pages in the write buffer
	Buffer   string // path of the write buffer; empty: temporary files, or there is none
	Problem  error  // why the last sync failed, or write mode ended
}

// Status returns a report.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Status{Mode: q.mu.mode, Counts: q.mu.counts, Unsynced: q.mu.unsynced(), Problem: cmp.Or(q.mu.lost.err, q.mu.problem)}
	if q.mu.buffer != nil {
		s.Buffer = q.mu.buffer.path
	}
	return s
}
