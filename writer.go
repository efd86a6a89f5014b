package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// writer is write mode of a database: who may write, and the commits that are
// not on the replica yet. It is safe for concurrent use.
type writer struct {
	db   *database
	turn chan struct{} // holds one while write mode is turned on or off
	kick chan struct{} // holds one if a sync is due now
	news chan struct{} // holds one if there is something to compact

	mu         sync.Mutex     // duty: what follows
	buffer     *writeBuffer   // guarded by mu; nil: write mode is off
	closed     bool           // guarded by mu; with the database
	retired    []*segment     // guarded by mu; on the replica, but maybe in use by views
	stopping   bool           // guarded by mu; no transaction begins any more
	owner      *conn          // guarded by mu; that writes
	segments   []*segment     // guarded by mu; with finished commits, the oldest first
	opened     *segment       // guarded by mu; that the newest appended commit went to
	number     uint64         // guarded by mu; of the newest commit
	finished   uint64         // guarded by mu; number of the newest commit that others see
	synced     uint64         // guarded by mu; number of the newest commit that is on the replica
	lost       lostCommits    // guarded by mu
	known      known          // guarded by mu
	attempts   uint64         // guarded by mu; syncs that ended, in success or not
	running    bool           // guarded by mu; the goroutine that syncs
	compacting bool           // guarded by mu; the goroutine that compacts
	waiting    map[uint64]int // guarded by mu; how many wait for a commit to be synced, by its number
	expected   int            // guarded by mu; how many did when the last sync ended
	problem    error          // guarded by mu; of the last sync, nil if it worked
	counts     WriteStats     // guarded by mu
	format     [2]byte        // guarded by mu; bytes 18 and 19 of page 1 on the replica
	formatOf   *viewState     // guarded by mu; the state of the replica that has them
	changed    chan struct{}  // guarded by mu; closed when any of this changes

	confirmed atomic.Pointer[time.Time] // when nobody was known to write but us
}

// lostCommits are those that another writer's came instead of.
type lostCommits struct {
	from, to uint64 // numbers, the first not included
	err      error  // nil: there are none, or write mode was turned on again
}

func newWriter(db *database) *writer {
	w := &writer{db: db, turn: make(chan struct{}, 1), kick: make(chan struct{}, 1), news: make(chan struct{}, 1), changed: make(chan struct{}), waiting: make(map[uint64]int)}
	w.confirm(time.Now())
	return w
}

// confirm notes when the newest state that we know was the newest.
func (w *writer) confirm(t time.Time) { w.confirmed.Store(&t) }

// change wakes those who wait for a change. Called under mu.
func (w *writer) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// errWriting means that news of the replica have to wait, or mean a conflict.
var errWriting = errors.New("there are commits that are not on the replica yet")

// replace publishes a view of the replica, unless there is another than cur by now, or
// commits of this process that would not be in it.
func (w *writer) replace(cur, next *view) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cur.state != next.state && w.isBusy() {
		return errWriting
	}
	if !w.db.current.CompareAndSwap(cur, next) {
		return errOvertaken
	}
	return nil
}

// isBusy tells whether somebody writes, or has. Who began before write mode
// ended cannot commit. Called under mu.
func (w *writer) isBusy() bool {
	return w.buffer != nil && (w.owner != nil || w.db.local.Load() != nil)
}

// isWriting is isBusy for others.
func (w *writer) isWriting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isBusy()
}

// errBusy means that somebody else writes, or has written since the
// transaction began.
var errBusy = errors.New("database is busy")

// begin gives a connection the writer's place, if the state that it sees is
// the newest.
func (w *writer) begin(c *conn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest := w.db.newest()
	switch {
	case w.owner == c:
		return nil
	case w.buffer == nil:
		return cmp.Or(w.lost.err, ErrReadOnly)
	case w.closed:
		return fmt.Errorf("%w: it is being closed", ErrReadOnly)
	case w.stopping: // nobody knows yet whether that succeeds
		return fmt.Errorf("%w: write mode is being turned off", errBusy)
	case w.owner != nil:
		return fmt.Errorf("%w: another connection writes", errBusy)
	case c.pinned.state != newest.state:
		return fmt.Errorf("%w: the transaction sees an older state", errBusy)
	case w.unsynced() >= w.db.opts.WriteBufferMaxSize:
		return fmt.Errorf("%w: the write buffer is full, and waits for the replica: %w", errBusy, w.problem)
	}
	w.owner = c
	c.pin(newest)
	return nil
}

// end gives the writer's place back.
func (w *writer) end(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner == c {
		w.owner = nil
		w.change()
	}
}

// holder returns the connection that has the writer's place, nil if none has.
func (w *writer) holder() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owner
}

// unsynced returns the bytes that are not on the replica. Called under mu.
func (w *writer) unsynced() (n int64) {
	for _, s := range w.segments {
		n += s.bytes
	}
	return n
}

// append writes a commit to the buffer. It is not seen by others before it is finished.
func (w *writer) append(tx *transaction, durable bool) (*localCommit, error) {
	size, err := tx.commitSize()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	b := w.buffer
	err = w.check(tx.view, b)
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := w.learnFormat(); err != nil {
		return nil, err
	}
	c := &localCommit{buffer: b, Commit: commitlog.Commit{Size: size, Pgnos: tx.pgnos(size)}}
	c.Timestamp = max(time.Now().UnixMilli(), tx.view.timestamp+1)
	err = b.append(&c.Commit, durable,
		func() commitlog.Header { return w.header(tx) },
		func(i int, p []byte) error { return tx.page(c.Pgnos[i], p) },
		func(s *segment, m mark) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if err := w.check(tx.view, b); err != nil {
				return err // write mode has ended meanwhile
			}
			if s.open == 0 {
				s.unfinished = m
			}
			s.open++
			w.number++
			w.opened = s
			c.segment, c.mark, c.number = s, m, w.number
			return nil
		})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// check tells whether a transaction that changes a state can be committed to a
// buffer. Called under mu.
func (w *writer) check(v *view, b *writeBuffer) error {
	switch {
	case b == nil || w.buffer != b:
		return cmp.Or(w.lost.err, ErrClosed)
	case v.state != w.db.newest().state:
		return cmp.Or(w.lost.err, ErrConflict)
	}
	return nil
}

// takeBack forgets commits that were appended, and are not to be.
func (w *writer) takeBack(commits []*localCommit) {
	if len(commits) == 0 {
		return
	}
	c := commits[0]
	c.buffer.undo(c.segment, c.mark)
	w.mu.Lock()
	defer w.mu.Unlock()
	c.segment.open -= len(commits)
	w.change()
}

// header returns what a new segment begins with.
func (w *writer) header(tx *transaction) commitlog.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.segments); n > 0 {
		s := w.segments[n-1]
		return commitlog.Header{
			Owner:    w.db.owner,
			PageSize: tx.pageSize, Format: s.log.Format, Base: s.txid(), Before: s.log.Sum(),
			State: commitlog.State{Commit: s.commit, Timestamp: s.newest},
		}
	}
	cur := w.db.current.Load()
	h := commitlog.Header{Owner: w.db.owner, PageSize: tx.pageSize, Base: cur.txid}
	if cur.last != nil {
		h.Format = w.format
		h.State = stateOf(cur)
	}
	return h
}

// learnFormat reads page 1 as it is on the replica, if it is another's: it is to
// go on saying how the database is to be opened.
func (w *writer) learnFormat() error {
	cur := w.db.current.Load()
	w.mu.Lock()
	known := w.formatOf == cur.state || cur.commit == 0
	w.mu.Unlock()
	if known {
		return nil
	}
	ctx, cancel := w.db.tasks.WithTimeout(w.db.opts.ReadTimeout)
	defer cancel()
	page, err := w.db.page(ctx, cur, 1)
	if err != nil {
		return err
	}
	if _, err := checkPageOne(page, cur.pageSize); err != nil {
		return fmt.Errorf("page 1 as of transaction %s: %w", cur.txid, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.format, w.formatOf = [2]byte(page[offWriteVersion:]), cur.state
	return nil
}

// stateOf describes a state of the replica.
func stateOf(v *view) commitlog.State {
	return commitlog.State{
		Commit: v.commit, Timestamp: v.timestamp,
		Level: v.last.level, MinTXID: v.last.minTXID, MaxTXID: v.last.maxTXID, Checksum: v.last.checksum,
	}
}

// finish has all see commits that a connection has appended.
func (w *writer) finish(c *conn, commits []*localCommit) error {
	tx := c.tx
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(tx.view, commits[0].buffer); err != nil {
		return err // they are taken back
	}
	before := w.db.newest()
	v := before
	for _, k := range commits {
		k.segment.open--
		if n := len(w.segments); n == 0 || w.segments[n-1] != k.segment {
			w.segments = append(w.segments, k.segment)
		}
		v = v.withCommit(k)
		k.segment.add(k)
		w.finished = k.number
		w.counts.Commits++
	}
	if before.pageSize == 0 {
		w.db.reader.cache.Store(newPageCache(w.db.opts.CacheSize, v.pageSize))
	}
	number := tx.counter
	if tx.wal {
		w.db.skipCounter(number) // so that the connection reads page 1 again
	}
	switch {
	case w.db.counter.CompareAndSwap(number-1, number):
		// With the number that SQLite wrote, the connection keeps its pages.
		v.state = new(viewState)
		v.state.counter.Store(number)
	case number == before.state.counter.Load():
		// With locking_mode=EXCLUSIVE SQLite does not change it again. So that it does not
		// take its pages for those of the state before, that gets another number.
		w.db.newState(v)
		before.state.counter.Store(w.db.oldCounter.Add(^uint32(0)))
		before.state.pageOne.Store(nil)
	default:
		w.db.newState(v)
	}
	w.db.local.Store(v)
	c.pin(v) // before it can be replaced
	w.startSync()
	w.change()
	return nil
}

// startSync starts the goroutine that syncs, unless it runs. Called under mu.
func (w *writer) startSync() {
	if !w.running && (len(w.segments) > 0 || w.isDoubtful()) {
		w.running = w.db.tasks.Go(w.syncAll)
	}
	if w.db.opts.SyncOnCommit || w.unsynced() >= w.db.opts.WriteBufferMaxSize {
		signal(w.kick)
	}
}

// sync has everything that is committed reach the replica.
func (w *writer) sync(ctx context.Context) error {
	w.mu.Lock()
	number, lost := w.finished, w.lost
	w.mu.Unlock()
	switch {
	case number > lost.to:
	case lost.err != nil:
		return lost.err
	default: // write mode was turned on again since, and nothing was committed
		number = 0
	}
	return w.await(ctx, number)
}

// await waits until a commit is on the replica.
func (w *writer) await(ctx context.Context, number uint64) error {
	w.mu.Lock()
	attempts, doubtful := w.attempts, w.isDoubtful()
	if w.synced >= number && !doubtful && (number <= w.lost.from || number > w.lost.to) {
		w.mu.Unlock()
		return nil // and the next commit need not be synced at once
	}
	w.waiting[number]++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.waiting[number]--; w.waiting[number] <= 0 {
			delete(w.waiting, number)
		}
	}()
	signal(w.kick)
	for ended := false; ; {
		w.mu.Lock()
		lost, done, problem, changed := w.lost, w.synced >= number && !w.isDoubtful(), w.problem, w.changed
		hole := w.known.hole
		tried := w.attempts > attempts // else what is wrong may be over by now
		w.mu.Unlock()
		switch {
		case number > lost.from && number <= lost.to:
			return cmp.Or(lost.err, ErrConflict)
		case done && doubtful:
			return lost.err // what the doubts were about
		case done:
			return nil
		case tried && hole != nil:
			return hole
		case tried && errors.Is(problem, commitlog.ErrDamaged):
			return problem // waiting does not help
		case ended:
			return errors.Join(ErrClosed, problem)
		}
		select {
		case <-changed:
		case <-w.db.tasks.Context().Done():
			ended = true
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the commit is not on the replica yet: %w", context.Cause(ctx)), problem)
		}
	}
}

// lose ends write mode, because somebody else has written. Commits that are
// not on the replica are kept aside.
func (w *writer) lose(why error) error {
	err := fmt.Errorf("%w: %w", ErrConflict, why)
	w.mu.Lock()
	b, segments := w.buffer, w.segments
	w.lost = lostCommits{from: w.synced, to: w.number, err: err}
	undo := w.unfinished()
	w.buffer, w.segments, w.known = nil, nil, known{}
	w.synced, w.finished = w.number, w.number
	if local := w.db.local.Load(); local != nil {
		// The next number may be in the pages of who is just writing.
		cur := w.db.current.Load()
		w.db.skipCounter(local.state.counter.Load() + 1)
		again := *cur
		w.db.current.CompareAndSwap(cur, w.db.newState(&again))
	}
	w.db.local.Store(nil)
	w.change()
	w.mu.Unlock()
	if b == nil {
		return err
	}
	undo(b)
	path, kerr := b.keepAside(toKeep(segments))
	w.db.log.Error("another writer has written to the replica: this database is read-only now, and follows it",
		"error", why, "commits", w.lost.to-w.lost.from, "kept", path)
	if kerr = errors.Join(kerr, b.close()); kerr != nil {
		w.db.log.Error("keeping the write buffer failed", "error", kerr)
	}
	w.db.tasks.Go(func() { w.db.refresh(w.db.tasks.Context()) })
	return err
}

// isHalfDone tells whether there are commits that are appended and not finished.
// Called under mu.
func (w *writer) isHalfDone() bool { return w.opened != nil && w.opened.open > 0 }

// unfinished returns what takes back the commits that are appended and not
// finished, lest they are found there later. Called under mu.
func (w *writer) unfinished() func(*writeBuffer) {
	if !w.isHalfDone() {
		return func(*writeBuffer) {}
	}
	s, m := w.opened, w.opened.unfinished
	return func(b *writeBuffer) { b.undo(s, m) }
}

// retire closes the files of segments that are on the replica, once no
// connection has pinned a view with pages there.
func (w *writer) retire(s *segment) {
	pins := w.db.pinned()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retired = slices.DeleteFunc(append(w.retired, s), func(s *segment) bool {
		for _, v := range pins {
			if v.uses(s) {
				return false
			}
		}
		_ = s.log.Close() // it was only read since it was synced
		return true
	})
}

// uses tells whether a view has pages in a segment.
func (v *view) uses(s *segment) (uses bool) {
	if v.base == nil {
		return false
	}
	v.pages.sources.each(func(src source, _ int) { uses = uses || src.file == s.file })
	return uses
}

// toKeep returns segments for keepAside.
func toKeep(segments []*segment) (kept []keptSegment) {
	for _, s := range segments {
		kept = append(kept, keptSegment{number: s.log.Number, log: s.log})
	}
	return kept
}
