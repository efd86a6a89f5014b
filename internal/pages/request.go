package pages

import (
	"context"
	"slices"
	"sync"

	"github.com/ltxvfs/litestream/internal/remote"
)

// request is the request for a span. It gets memory for its body first, and a ticket
// of the limiter after that. The other way round, requests that wait for memory could
// hold the places that those with memory wait for, and none of them would go on.
type request struct {
	queue *requestQueue
	ready chan struct{} // closed when the request has memory and a ticket

	memory int64          // bytes that it takes or waits for; guarded by requestQueue.mu
	ticket *remote.Ticket // set under requestQueue.mu, and does not change once ready is closed
}

// requestQueue bounds the memory of the bodies that are read ahead. Requests get
// memory and tickets in the order in which they are added. A request that a reader
// waits for needs no memory of the bound: the requests that have it may wait for a
// place for long, because read-ahead never takes the last places of the limiter. A
// requestQueue is safe for concurrent use.
//
// Lock order: requestQueue.mu, then the lock of the limiter.
type requestQueue struct {
	store *remote.Store
	most  int64 // bytes that requests may take; at most 0: no bound

	mu struct {
		sync.Mutex            // makes sure that memory and tickets come in the same order
		held       int64      // bytes that requests have
		waiting    []*request // that have no memory yet, in order of arrival
	}
}

// add adds a request of a class for a body of a size. The caller calls await, and
// release if that returns no error.
func (q *requestQueue) add(class remote.Class, size int64) *request {
	r := &request{queue: q, ready: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	if class == remote.Foreground || q.most <= 0 {
		r.enqueue(class)
		return r
	}
	r.memory = min(size, q.most)
	q.mu.waiting = append(q.mu.waiting, r)
	q.admit()
	return r
}

// admit gives memory to the first requests that wait, as long as there is enough. The
// caller holds mu.
func (q *requestQueue) admit() {
	for len(q.mu.waiting) > 0 && q.mu.held+q.mu.waiting[0].memory <= q.most {
		r := q.mu.waiting[0]
		q.drop(r)
		q.mu.held += r.memory
		r.enqueue(remote.Speculative)
	}
}

// drop removes a request from those that wait, and reports whether it was there. The
// caller holds mu.
func (q *requestQueue) drop(r *request) bool {
	i := slices.Index(q.mu.waiting, r)
	if i >= 0 {
		q.mu.waiting = slices.Delete(q.mu.waiting, i, i+1)
	}
	return i >= 0
}

// enqueue gets the request its ticket. The caller holds mu of the queue.
func (r *request) enqueue(class remote.Class) {
	r.ticket = r.queue.store.Limit.Enqueue(class)
	close(r.ready)
}

// promote moves a request that still waits to the foreground class. A nil request is
// one that a reader makes by itself.
func (r *request) promote() {
	if r == nil {
		return
	}
	q := r.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.drop(r) {
		q.store.Limit.Promote(r.ticket)
		return
	}
	r.memory = 0
	r.enqueue(remote.Foreground)
	q.admit() // those behind it
}

// await returns when the request has memory and a ticket. If ctx is done before, the
// request has neither, and await returns the error of ctx.
func (r *request) await(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
	}
	q := r.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.drop(r) {
		return nil // it became ready at the same time
	}
	q.admit() // those behind it
	return ctx.Err()
}

// release returns the memory of a request.
func (r *request) release() {
	q := r.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.held -= r.memory
	q.admit()
}
