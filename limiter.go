package litestream

import (
	"context"
	"slices"
	"sync"
	"time"
)

// requestClass tells who waits for a request.
type requestClass int

const (
	foreground  requestClass = iota // SQLite does, for a page
	loading                         // an open, a poll, a travel: listings, and what tells what is in a file
	speculative                     // nobody yet: read-ahead
	hydrating                       // nobody: the copy of the whole database
	numClasses
)

// limiter bounds the requests under way. Those that are waited for go first.
// Loading never takes the last eighth of the places, read-ahead never the
// last quarter, and hydration never the second half. It is safe for concurrent use; a nil limiter has no limit.
type limiter struct {
	limit int

	mu      sync.Mutex            // duty: what follows
	running [numClasses]int       // guarded by mu
	queried time.Time             // guarded by mu; when a request for a query ended last
	quiet   chan struct{}         // guarded by mu; closed when only hydration runs; nil: nobody waits for that
	waiting [numClasses][]*ticket // guarded by mu; first come, first served
}

// ticket is a place in the queue for a request, then the right to make it.
type ticket struct {
	class   requestClass  // guarded by limiter.mu
	granted chan struct{} // closed when it is its turn
}

// newLimiter returns a limiter of so many requests; nil if the limit is negative.
func newLimiter(limit int) *limiter {
	if limit < 0 {
		return nil
	}
	return &limiter{limit: max(1, limit)}
}

// enqueue asks for a place.
func (l *limiter) enqueue(class requestClass) *ticket {
	if l == nil {
		return nil
	}
	t := &ticket{class: class, granted: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[class] = append(l.waiting[class], t)
	l.grant()
	return t
}

// wait returns when it is the ticket's turn, or gives it back when ctx is done.
func (l *limiter) wait(ctx context.Context, t *ticket) error {
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
		l.done(t)
		return ctx.Err()
	}
}

// promote makes a request that still waits one of the foreground.
func (l *limiter) promote(t *ticket) {
	if l == nil || t == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.class != foreground && l.drop(t) {
		t.class = foreground
		l.waiting[foreground] = append(l.waiting[foreground], t)
		l.grant()
	}
}

// done gives a ticket back, whether its turn had come or not.
func (l *limiter) done(t *ticket) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.drop(t) {
		l.running[t.class]--
	}
	if t.class == foreground || t.class == speculative {
		l.queried = time.Now()
	}
	l.grant()
	if l.quiet != nil && l.isQuiet() {
		close(l.quiet)
		l.quiet = nil
	}
}

// total returns how many requests are under way. Called under mu.
func (l *limiter) total() (n int) {
	for _, running := range l.running {
		n += running
	}
	return n
}

// isQuiet reports whether only hydration is under way. Called under mu.
func (l *limiter) isQuiet() bool { return l.total() == l.running[hydrating] }

// isQueried reports whether a query has asked for something within the last
// second.
func (l *limiter) isQueried() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isQuiet() || !l.queried.IsZero() && time.Since(l.queried) < time.Second
}

// awaitQuiet returns when only hydration is under way, or after a time.
func (l *limiter) awaitQuiet(ctx context.Context, most time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.isQuiet() {
		l.mu.Unlock()
		return
	}
	if l.quiet == nil {
		l.quiet = make(chan struct{})
	}
	quiet := l.quiet
	l.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-quiet:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drop takes a ticket out of the queue. It reports whether it was there.
// Called under mu.
func (l *limiter) drop(t *ticket) bool {
	queue := l.waiting[t.class]
	i := slices.Index(queue, t)
	if i >= 0 {
		l.waiting[t.class] = slices.Delete(queue, i, i+1)
	}
	return i >= 0
}

// grant gives out the places that are free. Called under mu.
func (l *limiter) grant() {
	for class := range numClasses {
		most := l.limit
		switch class {
		case loading:
			most = max(1, l.limit*7/8)
		case speculative:
			most = max(1, l.limit*3/4)
		case hydrating:
			most = max(1, l.limit/2)
		}
		for len(l.waiting[class]) > 0 && l.total() < most {
			t := l.waiting[class][0]
			l.waiting[class] = l.waiting[class][1:]
			l.running[class]++
			close(t.granted)
		}
	}
}
