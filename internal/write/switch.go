package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// modeSwitch turns write mode of a database on and off. It is safe for concurrent
// use.
type modeSwitch struct {
	*Deps
	queue     *queue
	inspector *inspector
	turn      chan struct{} // holds a value while write mode is turned on or off

	// closing is done when the database begins to close. This ends switches that
	// are under way, because Close needs the turn.
	closing    context.Context
	setClosing context.CancelFunc
}

// newModeSwitch returns the switch of a database whose write mode is off.
func newModeSwitch(deps *Deps, q *queue, i *inspector) *modeSwitch {
	m := &modeSwitch{Deps: deps, queue: q, inspector: i, turn: make(chan struct{}, 1)}
	m.closing, m.setClosing = context.WithCancel(context.Background())
	return m
}

// untilClosing derives a context that is also done when the database begins to
// close.
func (m *modeSwitch) untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.closing, func() { cancel(errs.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// take waits for the turn to switch write mode. The caller returns the turn with
// done.
func (m *modeSwitch) take(ctx context.Context) (done func(), err error) {
	done = func() { <-m.turn }
	select {
	case m.turn <- struct{}{}: // even if ctx is done
		return done, nil
	default:
	}
	select {
	case m.turn <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// recoverAttempts is the number of attempts to recover the write buffer for the
// newest view. An attempt fails if another goroutine publishes a newer view.
const recoverAttempts = 3

// Enable turns write mode on, and replays the commits that an earlier process left
// in the write buffer. With catchUp it brings the current view up to date first,
// which a database that was just opened does not need.
func (m *modeSwitch) Enable(ctx context.Context, catchUp bool) error {
	ctx, cancel := m.untilClosing(ctx)
	defer cancel()
	done, err := m.take(ctx)
	if err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	defer done()
	if err := m.queue.awaitUntil(ctx, func(s *queueState) bool { return s.mode != modeLosing }); err != nil {
		return fmt.Errorf("turn write mode on: commits that another writer's have replaced are being put aside: %w", err)
	}
	switch mode := m.queue.mode(); {
	case mode.isClosed():
		err = errs.ErrClosed
	case mode.hasBuffer():
		return nil
	case m.queue.holder() != nil:
		err = fmt.Errorf("%w: a transaction that began before write mode ended is under way", ErrBusy)
	default:
		err = m.start(ctx, catchUp)
	}
	if err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	return nil
}

// start opens the write buffer, recovers its commits, and begins write mode.
func (m *modeSwitch) start(ctx context.Context, catchUp bool) error {
	if catchUp {
		at := time.Now()
		if err := m.Index.CatchUp(ctx); err != nil {
			return err
		}
		m.inspector.confirm(at)
	}
	if _, ok := m.Store.Client.(replica.LTXFileCreator); !ok {
		m.Log.Warn("the replica client cannot create a file only if there is none: two writers may not notice each other at once")
	}
	b, err := openWriteBuffer(m.Opts.BufferPath, m.Log, m.Opts.Disk)
	if err != nil {
		return err
	}
	for range recoverAttempts {
		var r *recovery
		base := m.Views.Current.Load()
		if r, err = recoverBuffer(ctx, m.Deps, b, base); err != nil {
			break
		}
		if err = m.takeUp(b, base, r.segments); err != errs.ErrOvertaken {
			break
		}
	}
	if err != nil {
		return errors.Join(err, b.close())
	}
	return nil
}

// takeUp begins write mode with the segments that were recovered for base. It
// returns errs.ErrOvertaken if base is not the current state any more.
func (m *modeSwitch) takeUp(b *writeBuffer, base *view.View, recovered []*segment) (err error) {
	m.queue.update(func(s *queueState) {
		cur := m.Views.Current.Load()
		switch {
		case s.mode.isClosed():
			err = errs.ErrClosed
			return
		case cur.State != base.State:
			err = errs.ErrOvertaken
			return
		}
		s.mode, s.buffer = modeOn, b
		m.queue.known.begin()
		s.lost.err = nil
		if len(recovered) == 0 {
			return
		}
		v := cur
		for _, segment := range recovered {
			s.appended += uint64(segment.commits)
			s.counts.Recovered += int64(segment.commits)
			segment.number(s.appended)
			s.finished = s.appended
			v = withSegment(v, segment)
		}
		if cur.PageSize == 0 {
			m.Tiers.Reset(v.PageSize)
		}
		s.segments = recovered
		m.Views.Local.Store(m.Views.NewState(v))
		m.queue.startSync()
	})
	return err
}

// Disable turns write mode off, after the transaction under way has ended and all
// commits are on the replica. After an error write mode stays on.
func (m *modeSwitch) Disable(ctx context.Context) error {
	ctx, cancel := m.untilClosing(ctx)
	defer cancel()
	done, err := m.take(ctx)
	if err != nil {
		return fmt.Errorf("turn write mode off: %w", err)
	}
	defer done()
	m.queue.update(func(s *queueState) { s.mode = s.mode.stopping() }) // no transaction begins
	err = m.queue.awaitUntil(ctx, func(s *queueState) bool { return s.holder == nil })
	if err != nil {
		err = fmt.Errorf("a transaction is under way: %w", err)
	} else {
		err = m.queue.Sync(ctx)
	}
	var rest leftover
	m.queue.update(func(s *queueState) {
		if err == nil {
			rest = s.giveUp()
			return
		}
		if s.mode = s.mode.resumed(); s.mode == modeOn {
			m.Compact() // compaction may have ended while write mode was not on
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("turn write mode off: %w", err)
	case rest.buffer == nil:
		return nil // it was off already
	}
	m.FollowAgain()
	return rest.buffer.close()
}

// Close syncs, and ends write mode with the database. It keeps commits that cannot
// be synced. It stops waiting for uploads when none has succeeded for the time
// patience, and some more for large ones; a negative patience is no limit.
func (m *modeSwitch) Close(ctx context.Context, patience time.Duration) error {
	m.queue.update(func(s *queueState) { s.mode = s.mode.closing() }) // no transaction begins
	m.setClosing()
	ctx, cancel := m.queue.unlessStalled(ctx, patience)
	defer cancel()
	done, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	var rest leftover
	for ended := false; !ended; {
		err = m.queue.awaitUntil(ctx, func(s *queueState) bool { return !s.isHalfDone() })
		if err != nil {
			err = fmt.Errorf("a commit is under way: %w", err)
		}
		if serr := m.queue.Sync(ctx); err == nil {
			err = serr
		}
		m.queue.update(func(s *queueState) {
			// A connection that was writing when Close was called may have committed since.
			ended = err != nil || !s.isHalfDone() && len(s.segments) == 0
			if ended {
				rest = s.giveUp()
				err = cmp.Or(err, m.queue.known.hole())
			}
		})
	}
	if rest.buffer == nil {
		return err
	}
	b := rest.buffer
	rest.undo(b)
	if len(rest.segments) > 0 {
		path := b.path
		var kerr error
		if b.isTemp() {
			path, kerr = b.keepAside(toKeep(rest.segments))
		}
		m.Log.Error("commits are not on the replica; open the database with this path for the write buffer to sync them",
			"kept", path, "error", err)
		if kerr != nil {
			m.Log.Error("keeping the write buffer failed", "error", kerr)
		}
		kept := newKeptError(err) // there is an error if there are segments
		kept.keptAt(path, kerr)
		err = kept
	}
	return errors.Join(err, b.close())
}

// leftover is the write buffer of a queue when write mode ends.
type leftover struct {
	buffer   *writeBuffer       // nil if write mode was off
	segments []*segment         // segments that are not on the replica
	undo     func(*writeBuffer) // takes back commits that the next process must not find
}

// rest returns what is left if write mode ends now. Commits that are not finished are
// taken back, because the connection gets an error for them. But SQLite ignores the
// error of Finish in a commit of several databases, and the other databases may be
// committed already. So those of such a commit stay, as they do in a crash.
func (s *queueState) rest() leftover {
	rest := leftover{s.buffer, s.segments, func(*writeBuffer) {}}
	if !s.isHalfDone() {
		return rest
	}
	opened, m := s.opened, s.opened.unfinished
	switch n := len(s.segments); {
	case !opened.several:
		rest.undo = func(b *writeBuffer) { b.undo(opened, m) }
	case n == 0 || s.segments[n-1] != opened:
		rest.segments = append(slices.Clip(s.segments), opened)
	}
	return rest
}

// giveUp ends write mode, and returns the write buffer.
func (s *queueState) giveUp() leftover {
	rest := s.rest()
	s.mode, s.buffer = s.mode.ended(), nil
	return rest
}
