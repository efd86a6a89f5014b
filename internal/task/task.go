// Package task ties goroutines and requests to the lifetime of their owner.
package task

import (
	"context"
	"sync"
	"time"
)

// Group is the goroutines and requests of one owner. After Close, no goroutine
// or request begins any more, and the context of the group is done. A Group is
// safe for concurrent use.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // incremented under mu

	mu struct {
		sync.Mutex // makes sure that nothing begins after Close
		closed     bool
	}
}

// NewGroup returns an open group.
func NewGroup() *Group {
	g := new(Group)
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Context returns the context of the group, which is done after Close. Its
// cause is the error given to Close.
func (g *Group) Context() context.Context { return g.ctx }

// Closed reports whether Close was called.
func (g *Group) Closed() bool { return g.ctx.Err() != nil }

// WithTimeout derives a context from the context of the group. A negative d
// means no limit.
func (g *Group) WithTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return WithTimeout(g.ctx, d)
}

// WithTimeout is context.WithTimeout, except that a negative d means no limit.
func WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(parent)
	}
	return context.WithTimeout(parent, d)
}

// Go runs fn in a goroutine of the group unless the group is closed. It reports
// whether fn runs.
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

// Begin registers work that runs in the background until End is called. If the
// group is closed, Begin registers nothing and returns false.
func (g *Group) Begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.closed {
		g.wg.Add(1)
	}
	return !g.mu.closed
}

// End marks work that Begin registered as done.
func (g *Group) End() { g.wg.Done() }

// Close ends the context of the group with a cause. It does not wait for
// goroutines or requests.
func (g *Group) Close(cause error) {
	g.mu.Lock()
	g.mu.closed = true
	g.mu.Unlock()
	g.cancel(cause)
}

// Wait waits until all registered work is done. It must be called after Close.
func (g *Group) Wait() { g.wg.Wait() }
