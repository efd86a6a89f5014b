package write

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/outcome"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// SlotHolder is a connection that takes the writer slot. Its methods are called
// under the lock of write mode, so they must not call a Writer. Two values that
// are equal are the same connection.
type SlotHolder interface {
	View() *view.View // returns the view that the connection reads
	Pin(v *view.View) // sets the view that the connection reads
}

// queue holds the writer slot of a database, and the commits that are not on
// the replica yet. It is safe for concurrent use.
//
// Lock order: writeBuffer.mu, queue.mu, the lock that Deps.Compact takes, and that
// of task.Group. The locks of knownFiles and pageOneFormat are taken under queue.mu
// as well, and no other is taken under them. Methods of queueState are called under
// queue.mu.
type queue struct {
	*Deps
	known  *knownFiles
	format *pageOneFormat
	upload func()        // run by the goroutine that syncs; it returns when syncEnded reports true
	kick   chan struct{} // holds one if a sync is due now

	mu struct {
		sync.Mutex // duty: guards queueState; no storage I/O happens under it
		queueState
	}
}

// queueState has the fields that queue.mu guards.
type queueState struct {
	mode   queueMode
	buffer *writeBuffer // nil unless mode.hasBuffer
	holder SlotHolder   // connection that holds the writer slot; nil if none does
	renew  bool         // the newest view gets another state when the slot is given back

	segments []*segment // segments with finished commits, the oldest first
	opened   *segment   // segment that the newest appended commit is in
	appended uint64     // number of the newest commit
	finished uint64     // number of the newest commit that is visible to other connections
	synced   uint64     // number of the newest commit that is on the replica
	lost     lostCommits

	running  bool   // a goroutine syncs
	attempts uint64 // number of syncs that have ended, with or without an error
	problem  error  // error of the last sync
	syncs    outcome.Record
	waiting  waiters
	counts   Counts
	changed  chan struct{} // closed when any of these fields changes
}

// lostCommits is a range of commits that another writer's commits have replaced.
type lostCommits struct {
	from, to uint64        // the numbers from+1 to to
	err      error         // why they are lost; nil if there are none, or write mode was turned on again
	kept     chan struct{} // closed when err says where they are kept; nil if it never will
}

// Counts are the numbers of events since the database was opened.
type Counts struct {
	Commits   int64 // commits of connections
	Recovered int64 // commits that were found in the write buffer
	Syncs     int64 // segments that were uploaded
	Failures  int64 // syncs that failed
	Mended    int64 // snapshots that were made to fill a hole; counted by knownFiles
}

// newQueue returns the queue of a database whose write mode is off. The caller
// sets upload.
func newQueue(deps *Deps) *queue {
	q := &queue{Deps: deps, known: new(knownFiles), format: &pageOneFormat{Deps: deps}, kick: make(chan struct{}, 1)}
	q.mu.changed = make(chan struct{})
	q.mu.waiting.byNumber = make(map[uint64]int)
	return q
}

// change wakes the goroutines that wait for a change.
func (s *queueState) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// isBusy reports whether a connection writes, or there are commits that are not
// on the replica. A transaction that began before write mode ended does not
// count, because it cannot commit.
func (s *queueState) isBusy(views *view.Views) bool {
	return s.mode.hasBuffer() && (s.holder != nil || views.Local.Load() != nil)
}

// unsynced returns the number of bytes that are not on the replica.
func (s *queueState) unsynced() (n int64) {
	for _, segment := range s.segments {
		n += segment.bytes
	}
	return n
}

// isDoubtful reports whether files may be missing on the replica, so that a sync
// has to look although there is nothing to upload. Closing does not wait for
// that.
func (s *queueState) isDoubtful(known *knownFiles) bool {
	return s.mode.hasBuffer() && !s.mode.isClosed() && known.isDoubtful()
}

// Replace publishes next in place of cur, the current view of the replica. It
// returns errs.ErrOvertaken if cur is not the current view any more, and
// errs.ErrWriting if next lacks commits of this process.
func (q *queue) Replace(cur, next *view.View) error {
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

// IsWriting reports whether a connection writes, or there are commits that are
// not on the replica.
func (q *queue) IsWriting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.isBusy(q.Views)
}

// ErrBusy means that a transaction cannot write now: another connection writes or
// has written since the transaction began, write mode is being turned off, or the
// write buffer is full.
var ErrBusy = errors.New("database is busy")

// Begin gives a connection the writer slot if the view that it reads is the
// newest state. It returns ErrBusy if the connection has to wait or to begin its
// transaction again.
func (q *queue) Begin(h SlotHolder) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	newest := q.Views.Newest()
	switch {
	case q.mu.holder == h:
		return nil
	case !q.mu.mode.hasBuffer() && q.mu.lost.err != nil:
		return fmt.Errorf("%w: write mode was lost: %w", errs.ErrReadOnly, q.mu.lost.err)
	case !q.mu.mode.hasBuffer():
		return fmt.Errorf("%w: write mode is off", errs.ErrReadOnly)
	case q.mu.mode == modeClosing:
		return fmt.Errorf("%w: it is being closed", errs.ErrReadOnly)
	case q.mu.mode == modeStopping: // which may fail, and then writes go on
		return fmt.Errorf("%w: write mode is being turned off", ErrBusy)
	case q.mu.holder != nil:
		return fmt.Errorf("%w: another connection writes", ErrBusy)
	case h.View().State != newest.State:
		return fmt.Errorf("%w: the transaction sees an older state", ErrBusy)
	case newest.TXID > commitlog.MostBase-ltx.TXID(len(q.mu.segments)): // each segment becomes a transaction
		return fmt.Errorf("%w: no transaction can follow %s", errs.ErrReadOnly, newest.TXID)
	case q.mu.unsynced() >= q.Opts.BufferMaxSize:
		return q.mu.full()
	}
	q.mu.holder = h
	h.Pin(newest)
	return nil
}

// full returns the error of a write buffer that is full, with the error of the
// last sync if there is one.
func (s *queueState) full() error {
	err := fmt.Errorf("%w: the write buffer is full, and waits for the replica", ErrBusy)
	if s.problem != nil {
		err = fmt.Errorf("%w: %w", err, s.problem)
	}
	return err
}

// End gives the writer slot back. It does nothing for a connection that does not
// hold the slot.
func (q *queue) End(h SlotHolder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.holder != h {
		return
	}
	q.mu.holder = nil
	if q.mu.renew {
		q.mu.renew = false
		q.Views.RenewNewest()
	}
	q.mu.change()
}

// holder returns the connection that holds the writer slot, nil if none does.
func (q *queue) holder() SlotHolder {
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

// RenewNewest gives the newest view another state, so that SQLite drops the pages that
// it has cached. While a transaction is under way, the view keeps its state until that
// transaction ends, because it can only commit on the state that it began with.
func (q *queue) RenewNewest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.holder != nil && q.mu.mode.hasBuffer() {
		q.mu.renew = true
		return
	}
	q.Views.RenewNewest()
}

// Suspect starts a sync that looks at all levels of the replica, because files
// seem to be missing.
func (q *queue) Suspect() {
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
		q.mu.running = q.Tasks.Go(q.upload)
	}
	if q.Opts.SyncOnCommit || q.mu.unsynced() >= q.Opts.BufferMaxSize {
		task.Signal(q.kick)
	}
}

// Status is a report on write mode.
type Status struct {
	Enabled  bool // there is a write buffer
	Counts   Counts
	Unsynced int64     // bytes of pages in the write buffer
	Buffer   string    // path of the write buffer; empty: temporary files, or there is none
	Oldest   time.Time // of the oldest commit in the write buffer; zero if there is none
	Problem  error     // why the last sync failed, or write mode ended
	Lost     bool      // write mode has ended, because another writer has written
	Syncs    outcome.Last
}

// Status returns a report.
func (q *queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Status{Enabled: q.mu.mode.hasBuffer(), Counts: q.mu.counts, Unsynced: q.mu.unsynced(), Problem: cmp.Or(q.mu.lost.err, q.mu.problem), Lost: q.mu.lost.err != nil, Syncs: q.mu.syncs.Last()}
	if len(q.mu.segments) > 0 {
		// A segment in the queue has at least one commit.
		s.Oldest = time.UnixMilli(q.mu.segments[0].oldest).UTC()
	}
	s.Counts.Mended = q.known.mends()
	if q.mu.buffer != nil {
		s.Buffer = q.mu.buffer.path
	}
	return s
}
