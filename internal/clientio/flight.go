package clientio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Flight runs a function once for all callers that want its result at the same
// time. The zero value is ready for use. It is safe for concurrent use and must
// not be copied.
type Flight[T any] struct {
	mu struct {
		sync.Mutex         // held for no I/O
		current    *run[T] // nil while none is in flight
	}
}

// run is one run of the function. The other fields are set before done is
// closed.
type run[T any] struct {
	done      chan struct{}
	value     T
	err       error
	abandoned bool // it failed because its caller gave up
}

// Do returns the result of the run in flight, or begins one. Each caller waits
// as long as its own context lasts, even if fn ignores the context.
//
// A run has the context of the caller that began it. If that context ends and
// makes the run fail, the other callers begin another run. So fn chooses: a run
// with a context from context.WithoutCancel goes on for the callers that are
// left, and other runs end with their caller.
//
// A panic of fn is an error. In a goroutine of its own it would end the process,
// while the caller of Do may be able to recover.
func (f *Flight[T]) Do(ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	for {
		r, mine := f.join()
		if mine {
			go f.run(ctx, r, fn)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			var zero T
			return zero, ctx.Err()
		}
		if mine || !r.abandoned {
			return r.value, r.err
		}
	}
}

// join returns the run in flight. If there is none, it returns a new one, which
// is the caller's to run.
func (f *Flight[T]) join() (r *run[T], mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.current == nil {
		f.mu.current, mine = &run[T]{done: make(chan struct{})}, true
	}
	return f.mu.current, mine
}

func (f *Flight[T]) run(ctx context.Context, r *run[T], fn func(context.Context) (T, error)) {
	defer func() {
		if v := recover(); v != nil {
			r.err = fmt.Errorf("panic: %v", v)
		}
		r.abandoned = ctx.Err() != nil && errors.Is(r.err, ctx.Err())
		f.mu.Lock()
		f.mu.current = nil
		f.mu.Unlock()
		close(r.done)
	}()
	r.value, r.err = fn(ctx)
}

// Shared is a value that is made when it is first needed, and is then shared by
// all calls: the connection of a client. The zero value holds none. It is safe
// for concurrent use and must not be copied.
type Shared[T any] struct {
	flight Flight[*T]
	value  atomic.Pointer[T]
}

// Get returns the value. If there is none, it makes one with create, in a
// Flight. A failure is not kept: the next call tries again.
func (s *Shared[T]) Get(ctx context.Context, create func(context.Context) (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if value := s.Peek(); value != nil {
		return value, nil
	}
	return s.flight.Do(ctx, func(ctx context.Context) (*T, error) {
		if value := s.Peek(); value != nil {
			return value, nil // a run ended between Peek and Do
		}
		value, err := create(ctx)
		if err != nil {
			return nil, err
		}
		s.value.Store(value)
		return value, nil
	})
}

// Peek returns the value, or nil if there is none yet.
func (s *Shared[T]) Peek() *T { return s.value.Load() }
