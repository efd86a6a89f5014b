// Package task ties goroutines and requests to the life of their owner.
package task

import (
	"context"
	"sync"
	"time"
)

// Group is the goroutines and requests of one owner. After Close none begins
// any more, and the context of all of them is done. It is safe for concurrent
// use.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // added to under mu

	mu struct {
		sync.Mutex // duty: nothing begins after Close
		closed     bool
	}
}

// NewGroup returns a group whose context ends with Close.
func NewGroup() *Group {
	g := new(Group)
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Context returns the context that ends with the group. Its cause is that
// given to Close.
func (g *Group) Context() context.Context { return g.ctx }

// Closed reports whether Close was called.
func (g *Group) Closed() bool { return g.ctx.Err() != nil }

// WithTimeout derives a context from that of the group. A negative d is no
// limit.
func (g *Group) WithTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return WithTimeout(g.ctx, d)
}

// WithTimeout is context.WithTimeout, for which a negative d is no limit.
func WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(parent)
	}
	return context.WithTimeout(parent, d)
}

// Go runs fn in a goroutine of the group, unless the group is closed. It
// reports whether it does.
func (g *Group) Go(fn func()) bool {
	if !g.Begin() {
		return false
	}
	go func() {
		defer g.End()
		fn()
	}()
	return true
}

// Begin counts something that runs in the background, until End. It reports
// false, and counts nothing, if the group is closed.
func (g *Group) Begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.closed {
		g.wg.Add(1)
	}
	return !g.mu.closed
}

// End ends what Begin has counted.
func (g *Group) End() { g.wg.Done() }

// Close ends the context of the group with a cause. It does not wait.
func (g *Group) Close(cause error) {
	g.mu.Lock()
	g.mu.closed = true
	g.mu.Unlock()
	g.cancel(cause)
}

// Wait waits until everything that has begun has ended. It is called after
// Close.
func (g *Group) Wait() { g.wg.Wait() }
