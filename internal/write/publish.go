package write

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
)

// oldest returns the segment that is uploaded next, nil if there is none, and the
// write buffer that it is in. Doubtful says whether a sync has to look at the
// replica although there is no segment.
//
// Segment and buffer are read together, because write mode may be turned off and
// on again with another buffer at any time.
func (q *queue) oldest() (s *segment, b *writeBuffer, doubtful bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.buffer != nil && len(q.mu.segments) > 0 {
		s = q.mu.segments[0]
	}
	return s, q.mu.buffer, q.mu.isDoubtful(q.known)
}

// isFinished reports whether all commits of a segment are finished.
func (q *queue) isFinished(s *segment) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.open == 0
}

// allWait reports whether as many goroutines wait for a sync as waited when the
// last one ended.
func (q *queue) allWait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.waiting.len() >= q.mu.waiting.expected
}

// syncEnded records the result of a sync. It reports whether the goroutine that
// syncs has to end, because there is nothing more to do.
func (q *queue) syncEnded(err error) (done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil && q.mu.problem == nil && !q.Tasks.Closed() && !errors.Is(err, errs.ErrConflict) {
		q.Log.Warn("sync failed, and is tried again", "error", err, "bytes", q.mu.unsynced())
	}
	if err == nil && q.mu.problem != nil && !q.mu.mode.isOver() {
		q.Log.Info("sync works again")
	}
	if err != nil {
		q.mu.counts.Failures++
	}
	q.mu.problem = err
	if !q.Tasks.Closed() && !q.mu.mode.isOver() {
		q.mu.syncs.Note(err)
	}
	q.mu.attempts++
	q.mu.change()
	if len(q.mu.segments) == 0 && !q.mu.isDoubtful(q.known) || q.Tasks.Closed() {
		q.mu.running = false
		return true
	}
	return false
}

// epochOf returns the epoch of the pages of the oldest segment. While the
// segment is the oldest, the epoch stays.
func (q *queue) epochOf(s *segment) (uint32, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.Views.Current.Load().Epoch, q.mu.checkOldest(s)
}

// checkOldest returns why a segment is not the oldest any more, nil if it is.
func (s *queueState) checkOldest(first *segment) error {
	if len(s.segments) == 0 || s.segments[0] != first {
		return cmp.Or(s.lost.err, errs.ErrClosed)
	}
	return nil
}

// publish replaces the oldest segment by the file that was made of it: the new
// current view has the file, and the view with the later commits is based on the
// current view. It returns the current view, and the write buffer that the segment
// is in. The buffer is nil if the database was closed meanwhile; then the next
// process finds the segment on the replica.
func (q *queue) publish(s *segment, f *view.File, index ltxio.Index) (*view.View, *writeBuffer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.mu.checkOldest(s); err != nil {
		return nil, nil, fmt.Errorf("publish %s: %w", f, err)
	}
	for {
		cur := q.Views.Current.Load()
		next, err := cur.Advance(f, index)
		if err != nil {
			return nil, nil, err
		}
		next.Own = true
		local := q.Views.Local.Load()
		rest := q.mu.segments[1:]
		if len(rest) == 0 {
			next.State = local.State
		} else {
			q.Views.NewOldState(next)
		}
		if !q.Views.Current.CompareAndSwap(cur, next) {
			continue // pages of cur were relocated
		}
		q.mu.segments = rest
		q.known.uploaded(&ltx.FileInfo{MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size})
		if len(rest) == 0 {
			q.Views.Local.Store(nil)
		} else {
			v := next
			for _, s := range rest {
				v = withSegment(v, s)
			}
			v.State = local.State
			q.Views.Local.Store(v)
		}
		format := s.log.Format
		if format == [2]byte{} {
			format = [2]byte{1, 1} // the format that SQLite wrote
		}
		q.format.set(next.State, format)
		return next, q.mu.buffer, nil
	}
}

// published records that the commits up to a number are on the replica.
func (q *queue) published(number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.synced = number
	q.mu.counts.Syncs++
	q.mu.waiting.release(number)
	q.Compact()
	q.mu.change()
}

// severalPatience is the time for which the loss of write mode waits for a commit of
// several databases. The other databases write to their disks meanwhile.
const severalPatience = 10 * time.Second

// awaitSeveral waits until no commit of several databases is half done. After
// severalPatience it gives up, and such a commit is kept as a crash would leave it.
func (q *queue) awaitSeveral() {
	q.update(func(s *queueState) { s.mode = s.mode.stopping() }) // no transaction begins
	ctx, cancel := q.Tasks.WithTimeout(severalPatience)
	defer cancel()
	_ = q.awaitUntil(ctx, func(s *queueState) bool { return s.buffer == nil || !s.isHalfDone() || !s.opened.several })
}

// lose ends write mode, because another writer has written. It keeps commits aside
// that are not on the replica, and returns the error for callers that wait for
// these commits.
func (q *queue) lose(why error) error {
	err := newKeptError(fmt.Errorf("%w: %w", errs.ErrConflict, why))
	q.awaitSeveral()
	q.mu.Lock()
	rest := q.mu.rest()
	q.mu.lost = lostCommits{from: q.mu.synced, to: q.mu.appended, err: err, kept: err.done}
	lost := q.mu.lost.to - q.mu.lost.from
	q.mu.mode, q.mu.buffer, q.mu.segments = q.mu.mode.losing(), nil, nil
	q.known.forget()
	q.mu.synced, q.mu.finished = q.mu.appended, q.mu.appended
	if local := q.Views.Local.Load(); local != nil {
		// The connection that is writing may have pages with the next change counter.
		q.Views.SkipCounter(local.State.Counter.Load() + 1)
		q.Views.RenewCurrent()
	}
	q.Views.Local.Store(nil)
	q.mu.change()
	q.mu.Unlock()
	// Write mode can be turned on again once the path of the buffer is free.
	defer q.update(func(s *queueState) { s.mode = s.mode.lost() })
	b := rest.buffer
	if b == nil {
		err.keptAt("", nil)
		return err
	}
	rest.undo(b)
	path, kerr := b.keepAside(toKeep(rest.segments))
	err.keptAt(path, kerr)
	q.Log.Error("another writer has written to the replica: this database is read-only now, and follows it",
		"error", why, "commits", lost, "kept", path)
	if kerr = errors.Join(kerr, b.close()); kerr != nil {
		q.Log.Error("keeping the write buffer failed", "error", kerr)
	}
	q.Tasks.Go(func() { _ = q.Index.CatchUp(q.Tasks.Context()) })
	return err
}

// isHalfDone reports whether there are appended commits that are not finished.
func (s *queueState) isHalfDone() bool { return s.opened != nil && s.opened.open > 0 }

// toKeep converts segments for keepAside.
func toKeep(segments []*segment) (kept []keptSegment) {
	for _, s := range segments {
		kept = append(kept, keptSegment{number: s.log.Number, log: s.log})
	}
	return kept
}
