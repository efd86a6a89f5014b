package remote

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Class says what a request is made for.
type Class int

const (
	Foreground  Class = iota // SQLite waits for a page
	Loading                  // a listing or a part of a file that an open, a poll or a time travel waits for
	Speculative              // read-ahead; no query waits for it yet
	Hydrating                // the copy of the whole database; no query waits for it
	numClasses
)

// Limiter bounds the number of requests in flight. Classes have the priority of
// their order. Loading never takes the last 32nd of the places, read-ahead never
// the last quarter, and hydration never the second half. A limiter is safe for
// concurrent use. A nil limiter has no limit.
type Limiter struct {
	limit int

	mu struct {
		sync.Mutex
		running [numClasses]int       // number of requests in flight
		queried time.Time             // when the last request for a query ended
		quiet   chan struct{}         // closed when only hydration runs; nil if no goroutine waits for that
		waiting [numClasses][]*Ticket // in order of arrival
	}
}

// Ticket is a place in the queue and, once granted, the right to make one
// request.
type Ticket struct {
	class   Class         // guarded by Limiter.mu
	granted chan struct{} // closed when the request may start
}

// NewLimiter returns a limiter of limit requests, or nil if limit is negative.
func NewLimiter(limit int) *Limiter {
	if limit < 0 {
		return nil
	}
	return &Limiter{limit: max(1, limit)}
}

// Enqueue adds a request to the queue and returns its ticket.
func (l *Limiter) Enqueue(class Class) *Ticket {
	if l == nil {
		return nil
	}
	t := &Ticket{class: class, granted: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.waiting[class] = append(l.mu.waiting[class], t)
	l.grant()
	return t
}

// Wait returns when the ticket is granted. If ctx is done first, Wait returns
// the ticket to the limiter and returns the error of ctx.
func (l *Limiter) Wait(ctx context.Context, t *Ticket) error {
	if l == nil {
		return ctx.Err()
	}
	select {
	case <-t.granted:
		return nil
	default:
	}
	select {
	case <-t.granted:
		return nil
	case <-ctx.Done():
		l.Done(t)
		return ctx.Err()
	}
}

// Promote moves a request that still waits to the foreground class.
func (l *Limiter) Promote(t *Ticket) {
	if l == nil || t == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.class != Foreground && l.drop(t) {
		t.class = Foreground
		l.mu.waiting[Foreground] = append(l.mu.waiting[Foreground], t)
		l.grant()
	}
}

// Done returns a ticket, whether it has been granted or not.
func (l *Limiter) Done(t *Ticket) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.drop(t) {
		l.mu.running[t.class]--
	}
	if t.class == Foreground || t.class == Speculative {
		l.mu.queried = time.Now()
	}
	l.grant()
	if l.mu.quiet != nil && l.isQuiet() {
		close(l.mu.quiet)
		l.mu.quiet = nil
	}
}

// total returns the number of requests in flight. The caller holds mu.
func (l *Limiter) total() (n int) {
	for _, running := range l.mu.running {
		n += running
	}
	return n
}

// isQuiet reports whether no requests but those of hydration are in flight. The
// caller holds mu.
func (l *Limiter) isQuiet() bool { return l.total() == l.mu.running[Hydrating] }

// isQueried reports whether a query made a request within the last second.
func (l *Limiter) isQueried() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isQuiet() || !l.mu.queried.IsZero() && time.Since(l.mu.queried) < time.Second
}

// AwaitQuiet returns when only hydration has requests in flight, when most has
// passed, or when ctx is done.
func (l *Limiter) AwaitQuiet(ctx context.Context, most time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.isQuiet() {
		l.mu.Unlock()
		return
	}
	if l.mu.quiet == nil {
		l.mu.quiet = make(chan struct{})
	}
	quiet := l.mu.quiet
	l.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-quiet:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drop removes a ticket from the queue and reports whether the ticket was
// there. The caller holds mu.
func (l *Limiter) drop(t *Ticket) bool {
	queue := l.mu.waiting[t.class]
	i := slices.Index(queue, t)
	if i >= 0 {
		l.mu.waiting[t.class] = slices.Delete(queue, i, i+1)
	}
	return i >= 0
}

// grant grants the free places to waiting tickets. The caller holds mu.
func (l *Limiter) grant() {
	for class := range numClasses {
		most := l.limit
		switch class {
		case Loading:
			most = max(1, l.limit*31/32)
		case Speculative:
			most = max(1, l.limit*3/4)
		case Hydrating:
			most = max(1, l.limit/2)
		}
		for len(l.mu.waiting[class]) > 0 && l.total() < most {
			t := l.mu.waiting[class][0]
			l.mu.waiting[class] = l.mu.waiting[class][1:]
			l.mu.running[class]++
			close(t.granted)
		}
	}
}

// Load returns the number of requests in flight, and the number of requests that
// wait for their turn. Tests use it to see that nothing is left over.
func (l *Limiter) Load() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for class := range numClasses {
		running += l.mu.running[class]
		waiting += len(l.mu.waiting[class])
	}
	return running, waiting
}
