package litestream

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

// writeDeps is what the parts of write mode need of the rest of the database.
type writeDeps struct {
	store *remote.Store
	views *view.Views
	tasks *task.Group
	log   *slog.Logger
	owner commitlog.Owner // what write buffers are for
	opts  writeOptions

	tiers pageTiers // get the pages of files that are uploaded
	pages pageReader
	index replicaIndex // follows the replica

	pinned      func() []*view.View // returns the views that connections read
	compact     func()              // has new files be compacted; it takes no lock of write mode
	followAgain func()              // has the replica be polled, as write mode was turned off
}

// writeOptions are the Options that concern write mode.
type writeOptions struct {
	enabled       bool // from the start
	syncInterval  time.Duration
	syncOnCommit  bool
	bufferPath    string
	bufferMaxSize int64
	readTimeout   time.Duration
	cacheSize     int64
	disk          diskhook.Hook
}

// pageTiers are the tiers that pages are read from. Write mode hands them the
// pages of the files that it uploads, so that nothing has to read those back.
type pageTiers interface {
	// reset drops the cached pages, and makes room for pages of a size.
	Reset(pageSize uint32)

	// keep puts a page into the memory cache.
	Keep(key pages.Key, page []byte)

	// takesOffers reports whether there is a tier that offer gives pages to.
	takesOffers() bool

	// offer gives a page to the local file. It waits while that has no room, as
	// long as ctx allows.
	offer(ctx context.Context, key pages.Key, page []byte)

	// notify tells that the current view was replaced.
	Notify()
}

// pageReader reads pages of views on the replica.
type pageReader interface {
	// page returns a page, nil for one that was never written. It is read-only.
	page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error)

	// prefetch has pages be read that will be asked for.
	prefetch(v *view.View, pgnos []uint32)
}

// replicaIndex follows the replica, and knows its history.
type replicaIndex interface {
	// catchUp brings the current view up to date. The error is why it may not
	// be the newest state.
	catchUp(ctx context.Context) error

	// isReplaced reports whether files are known to be of another history than
	// a view that was made before they were listed.
	isReplaced(ctx context.Context, before *view.View, files []*ltx.FileInfo) (bool, error)

	// pointTo points pages of the current view to a file that was made of it.
	pointTo(l *remote.Loaded) error
}

// slotHolder is a connection, as the queue sees it. The queue calls it under
// its lock; it must not call the queue.
type slotHolder interface {
	view() *view.View // what the connection reads
	pin(v *view.View) // sets what it reads
}

// queue holds the writer slot of a database, and the commits that are not on
// the replica yet. It is safe for concurrent use.
//
// Lock order: writeBuffer.mu, queue.mu, compaction.mu, and the lock of task.Group.
// The locks of knownFiles and pageOneFormat are taken under queue.mu as well, and
// no other is taken under them. Methods of queueState are called under mu.
type queue struct {
	*writeDeps
	known  *knownFiles
	format *pageOneFormat
	upload func()        // what the goroutine that syncs does: it ends when syncEnded says so
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
	counts   writeCounts
	changed  chan struct{} // closed when any of this changes
}

// lostCommits are the commits in whose place another writer's were made.
type lostCommits struct {
	from, to uint64 // numbers; the first is not included
	err      error  // nil: there are none, or write mode was turned on again
}

// writeCounts are counted since the database was opened.
type writeCounts struct {
	commits, recovered, syncs, failures int64
}

func newQueue(deps *writeDeps) *queue {
	q := &queue{writeDeps: deps, known: new(knownFiles), format: &pageOneFormat{writeDeps: deps}, kick: make(chan struct{}, 1)}
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
	return s.mode.hasBuffer() && (s.holder != nil || views.Local.Load() != nil)
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
func (s *queueState) isDoubtful(known *knownFiles) bool {
	return s.mode.hasBuffer() && !s.mode.isClosed() && known.isDoubtful()
}

// replace publishes a view of the replica in place of cur. It returns
// errOvertaken if cur is not the current view any more, and errWriting if
// commits of this process would not be in next.
func (q *queue) replace(cur, next *view.View) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cur.State != next.State && q.mu.isBusy(q.views) {
		return errs.ErrWriting
	}
	if !q.views.Current.CompareAndSwap(cur, next) {
		return errs.ErrOvertaken
	}
	return nil
}

// isWriting reports whether a connection writes, or has written what is not on
// the replica.
func (q *queue) isWriting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.isBusy(q.views)
}

// errBusy means that another connection writes, or has written since the
// transaction began.
var errBusy = errors.New("database is busy")

// begin gives a connection the writer slot, if what it reads is the newest
// state.
func (q *queue) begin(h slotHolder) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	newest := q.views.Newest()
	switch {
	case q.mu.holder == h:
		return nil
	case !q.mu.mode.hasBuffer():
		return cmp.Or(q.mu.lost.err, errs.ErrReadOnly)
	case q.mu.mode == modeClosing:
		return fmt.Errorf("%w: it is being closed", errs.ErrReadOnly)
	case q.mu.mode == modeStopping: // which may fail, and then writes go on
		return fmt.Errorf("%w: write mode is being turned off", errBusy)
	case q.mu.holder != nil:
		return fmt.Errorf("%w: another connection writes", errBusy)
	case h.view().State != newest.State:
		return fmt.Errorf("%w: the transaction sees an older state", errBusy)
	case q.mu.unsynced() >= q.opts.bufferMaxSize:
		return fmt.Errorf("%w: the write buffer is full, and waits for the replica: %w", errBusy, q.mu.problem)
	}
	q.mu.holder = h
	h.pin(newest)
	return nil
}

// end takes the writer slot back from a connection.
func (q *queue) end(h slotHolder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.holder == h {
		q.mu.holder = nil
		q.mu.change()
	}
}

// holder returns the connection that holds the writer slot, nil if none does.
func (q *queue) holder() slotHolder {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.holder
}

// mode returns the mode.
func (q *queue) mode() queueMode {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.mode
}

// stampLocal makes the newest view a state of its own, if it has commits that
// are not on the replica, so that SQLite reads again what it has cached. A
// transaction that is under way makes a state of its own anyway.
func (q *queue) stampLocal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if local := q.views.Local.Load(); local != nil && q.mu.holder == nil {
		again := *local
		q.views.Local.Store(q.views.NewState(&again))
	}
}

// suspect has the next sync look at all levels of the replica. That sync need
// not wait for a commit.
func (q *queue) suspect() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.mode.hasBuffer() {
		q.known.setSuspect()
		q.startSync()
	}
}

// startSync starts the goroutine that syncs, unless it runs. It is called under
// mu.
func (q *queue) startSync() {
	if !q.mu.running && (len(q.mu.segments) > 0 || q.mu.isDoubtful(q.known)) {
		q.mu.running = q.tasks.Go(q.upload)
	}
	if q.opts.syncOnCommit || q.mu.unsynced() >= q.opts.bufferMaxSize {
		task.Signal(q.kick)
	}
}

// writeStatus is what a queue reports.
type writeStatus struct {
	mode     queueMode
	counts   writeCounts
	unsynced int64  // bytes of pages in the write buffer
	buffer   string // path of the write buffer; empty: temporary files, or there is none
	problem  error  // why the last sync failed, or write mode ended
}

// status returns a report.
func (q *queue) status() writeStatus {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := writeStatus{mode: q.mu.mode, counts: q.mu.counts, unsynced: q.mu.unsynced(), problem: cmp.Or(q.mu.lost.err, q.mu.problem)}
	if q.mu.buffer != nil {
		s.buffer = q.mu.buffer.path
	}
	return s
}
