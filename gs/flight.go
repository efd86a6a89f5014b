package gs

import (
	"context"
	"sync"
	"time"
)

// flight runs a function once for all who want its result meanwhile.
type flight[T any] struct {
	mu      sync.Mutex
	current *call[T] // guarded by mu; nil while none runs
}

type call[T any] struct {
	done  chan struct{} // closed once value and err are set
	value T
	err   error
}

// do returns the result of the run that is under way, or of a new one. A run
// does not end with the context of whoever asked for it, but at its timeout;
// those who wait do with theirs.
func (f *flight[T]) do(ctx context.Context, timeout time.Duration, run func(context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	c := f.current
	if c == nil {
		c = &call[T]{done: make(chan struct{})}
		f.current = c
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
			defer cancel()
			c.value, c.err = run(ctx)
			f.mu.Lock()
			f.current = nil
			f.mu.Unlock()
			close(c.done)
		}()
	}
	f.mu.Unlock()

	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}
