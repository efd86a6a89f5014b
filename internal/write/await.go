package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
)

// waiters counts the goroutines that wait for commits to be synced.
type waiters struct {
	byNumber map[uint64]int // number of waiting goroutines by the number of the commit
	expected int            // number of waiting goroutines when the last sync ended
}

// add counts n more goroutines that wait for a commit.
func (w *waiters) add(number uint64, n int) {
	if w.byNumber[number] += n; w.byNumber[number] <= 0 {
		delete(w.byNumber, number)
	}
}

// len returns the number of waiting goroutines.
func (w *waiters) len() (n int) {
	for _, k := range w.byNumber {
		n += k
	}
	return n
}

// release removes the goroutines whose commits are synced, and expects as many
// goroutines as waited to wait again.
func (w *waiters) release(synced uint64) {
	w.expected = w.len()
	maps.DeleteFunc(w.byNumber, func(number uint64, _ int) bool { return number <= synced })
}

// Sync waits until all finished commits are on the replica.
func (q *queue) Sync(ctx context.Context) error {
	q.mu.Lock()
	number, lost := q.mu.finished, q.mu.lost
	q.mu.Unlock()
	switch {
	case number > lost.to:
	case lost.err != nil:
		return lost.reason(ctx)
	default: // write mode was turned on again since, and nothing was committed
		number = 0
	}
	return q.Await(ctx, number)
}

// reason returns why the commits are lost. It waits until that says where they are
// kept, unless ctx ends first.
func (l *lostCommits) reason(ctx context.Context) error {
	if l.kept != nil {
		select {
		case <-l.kept:
		case <-ctx.Done():
		}
	}
	return l.err
}

// has reports whether the commit of a number is lost.
func (l *lostCommits) has(number uint64) bool { return number > l.from && number <= l.to }

// Await waits until the commit of a number is on the replica and no files of the
// replica seem to be missing. It returns an error if the commit is lost.
func (q *queue) Await(ctx context.Context, number uint64) error {
	q.mu.Lock()
	attempts, doubtful := q.mu.attempts, q.mu.isDoubtful(q.known)
	if q.mu.synced >= number && !doubtful && !q.mu.lost.has(number) {
		q.mu.Unlock()
		return nil // without a kick, so that the next commit is not synced early
	}
	q.mu.waiting.add(number, 1)
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.mu.waiting.add(number, -1)
	}()
	task.Signal(q.kick)
	kicked := attempts // number of syncs that had ended at the last kick
	for ended := false; ; {
		q.mu.Lock()
		synced, doubts := q.mu.synced >= number, q.mu.isDoubtful(q.known)
		lost, done, problem, changed, now := q.mu.lost, synced && !doubts, q.mu.problem, q.mu.changed, q.mu.attempts
		hole := q.known.hole()
		q.mu.Unlock()
		tried := now > attempts // otherwise the error may be outdated
		switch {
		case lost.has(number):
			return cmp.Or(lost.reason(ctx), errs.ErrConflict)
		case done && doubtful:
			return lost.reason(ctx) // the sync that looked for missing files may have found another writer
		case done:
			return nil
		case tried && hole != nil:
			return hole
		case tried && errors.Is(problem, commitlog.ErrDamaged):
			return problem // waiting does not help
		case ended:
			return errors.Join(errs.ErrClosed, problem)
		case synced && problem == nil && now > kicked:
			// The sync has succeeded, and a doubt has arisen since it looked. A sync
			// that fails is tried again without a kick.
			kicked = now
			task.Signal(q.kick)
		}
		select {
		case <-changed:
		case <-q.Tasks.Context().Done():
			ended = true
		case <-ctx.Done():
			err := fmt.Errorf("the commit is not on the replica yet: %w", context.Cause(ctx))
			if problem != nil {
				err = fmt.Errorf("%w: %w", err, problem)
			}
			return err
		}
	}
}

// awaitUntil waits until a condition holds. The condition is called under mu. If
// ctx is done first, awaitUntil returns its error.
func (q *queue) awaitUntil(ctx context.Context, holds func(*queueState) bool) error {
	for {
		q.mu.Lock()
		done, changed := holds(&q.mu.queueState), q.mu.changed
		q.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// unlessStalled derives a context that is also done once no segment was uploaded
// for the time patience, and the time that a transfer of the oldest segment takes.
// A negative patience is no limit. The function that it returns must not be called
// with mu held.
func (q *queue) unlessStalled(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if patience < 0 {
		return ctx, func() { cancel(nil) }
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.watchUploads(ctx, patience, cancel)
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
	}
}

// watchUploads calls stalled once no segment was uploaded for the time patience,
// unless ctx is done before.
func (q *queue) watchUploads(ctx context.Context, patience time.Duration, stalled context.CancelCauseFunc) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	since, left := time.Now(), -1 // when the number of segments that are left became what it is
	for {
		q.mu.Lock()
		segments, changed := q.mu.segments, q.mu.changed
		limit := patience
		if len(segments) > 0 {
			limit = task.TransferTime(patience, segments[0].bytes)
		}
		q.mu.Unlock()
		if len(segments) != left {
			since, left = time.Now(), len(segments)
		}
		timer.Reset(time.Until(since.Add(limit)))
		select {
		case <-changed:
		case <-timer.C:
			stalled(fmt.Errorf("nothing was uploaded for %s: %w", limit, context.DeadlineExceeded))
			return
		case <-ctx.Done():
			return
		}
	}
}

// update changes the state by fn, and wakes the goroutines that wait for a
// change.
func (q *queue) update(fn func(*queueState)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fn(&q.mu.queueState)
	q.mu.change()
}
