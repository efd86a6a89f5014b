// Package feed passes values from a goroutine that makes them to a caller that takes
// them one by one, in their order and with bounded memory.
//
// iter.Pull does that without a second goroutine, but the runtime demands that its
// functions are called with the same locks to a thread. Calls from C hold different
// ones, and SQLite may make each call from another thread.
package feed

import (
	"context"
	"errors"
	"sync"

	"github.com/ltxvfs/litestream/internal/task"
)

// Feed is a sequence of values that are made in the background. One goroutine at a
// time uses it. Close must be called.
type Feed[T any] struct {
	limit  int
	cancel context.CancelCauseFunc
	filled chan struct{} // has an element if a caller that waits should look for values
	taken  chan struct{} // has an element after values were taken
	ended  chan struct{} // closed when the producer has ended

	batch []T // values that were taken from mu, and not returned yet

	// mu makes the queue between the producer and the caller one state.
	mu struct {
		sync.Mutex
		values []T
		size   int
		err    error // of the producer
	}
}

// errClosed is the cause with which the context of a producer ends at Close.
var errClosed = errors.New("no more values are wanted")

// Output is where a producer puts its values. One goroutine at a time calls Add; Flush
// is safe for concurrent use.
type Output[T any] struct {
	ctx context.Context
	f   *Feed[T]
}

// Start runs produce in a goroutine of a group. produce calls out.Add with each value,
// and returns if that returns an error. Values are made ahead until the sum of the
// sizes of those that were not taken reaches limit. Start returns nil if the group is
// closed.
func Start[T any](group *task.Group, limit int, produce func(ctx context.Context, out *Output[T]) error) *Feed[T] {
	f := &Feed[T]{limit: limit, filled: make(chan struct{}, 1), taken: make(chan struct{}, 1), ended: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(group.Context())
	f.cancel = cancel
	started := group.Go(func() {
		defer close(f.ended)
		err := produce(ctx, &Output[T]{ctx, f})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mu.err = err
	})
	if !started {
		cancel(errClosed)
		return nil
	}
	return f
}

// Add adds a value, and waits while there are as many as the limit allows. A caller
// that waits for values does not learn of it before Flush, the limit or the end, since
// a change of goroutines for each value would cost more than most values do.
func (o *Output[T]) Add(v T, size int) error {
	f := o.f
	f.mu.Lock()
	f.mu.values = append(f.mu.values, v)
	f.mu.size += size
	f.mu.Unlock()
	for f.isFull() {
		o.Flush()
		select {
		case <-f.taken:
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		}
	}
	return nil
}

// Flush lets the caller have the values that were added. A producer calls it before it
// waits for something.
func (o *Output[T]) Flush() { task.Signal(o.f.filled) }

func (f *Feed[T]) isFull() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.size >= f.limit
}

// TryNext returns the next value if it was made already.
func (f *Feed[T]) TryNext() (v T, ok bool) {
	if len(f.batch) == 0 {
		f.take()
	}
	if len(f.batch) == 0 {
		return v, false
	}
	v = f.batch[0]
	clear(f.batch[:1])
	f.batch = f.batch[1:]
	return v, true
}

// take takes all values of the queue.
func (f *Feed[T]) take() {
	f.mu.Lock()
	f.batch, f.mu.values, f.mu.size = f.mu.values, nil, 0
	f.mu.Unlock()
	task.Signal(f.taken)
}

// Next waits for the next value. At the end ok is false, and err is the error of the
// producer. If ctx is done first, err is its cause, and the sequence goes on.
func (f *Feed[T]) Next(ctx context.Context) (v T, ok bool, err error) {
	for {
		if v, ok := f.TryNext(); ok {
			return v, true, nil
		}
		select {
		case <-f.filled:
		case <-f.ended:
			if v, ok := f.TryNext(); ok { // it was added before the end
				return v, true, nil
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			return v, false, f.mu.err
		case <-ctx.Done():
			return v, false, context.Cause(ctx)
		}
	}
}

// Close ends the producer and waits until it has returned. It may be called twice.
func (f *Feed[T]) Close() {
	f.cancel(errClosed)
	<-f.ended
}
