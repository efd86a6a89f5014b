package hydrate

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
)

// offer is a page that was fetched for a purpose other than hydration.
type offer struct {
	key      pages.Key
	page     []byte
	verified bool // it came with a whole file whose checksum is right
}

const (
	// maxOffered bounds the offers that wait to be written, bytes. Pages that are
	// offered beyond that are read again later.
	maxOffered = 8 << 20
	maxOffers  = 1 << 12
)

// offerQueue holds the pages that were offered and are not written yet. It is
// safe for concurrent use.
type offerQueue struct {
	offers chan offer
	bytes  atomic.Int64  // size of the pages in offers
	room   chan struct{} // holds one if there may be room in offers
	wake   chan struct{} // holds one if hydration has something to do
	state  atomic.Int32  // offerState
}

// offerState tells whether hydration takes offers out of the queue.
type offerState int32

const (
	offersPaused offerState = iota // they are left in the queue for a while, as before hydration has begun
	offersTaken
	offersRefused // hydration failed for good, or another process owns the file
)

func (s offerState) String() string { return [...]string{"paused", "taken", "refused"}[s] }

func newOfferQueue(wake chan struct{}) offerQueue {
	return offerQueue{offers: make(chan offer, maxOffers), room: make(chan struct{}, 1), wake: wake}
}

func (q *offerQueue) is(s offerState) bool { return offerState(q.state.Load()) == s }

// set sets the state, and wakes the goroutines that wait for room.
func (q *offerQueue) set(s offerState) {
	q.state.Store(int32(s))
	task.Signal(q.room)
}

// put adds an offer, if there is room, and reports whether there was. It does not
// wait.
func (q *offerQueue) put(o offer) bool {
	if q.bytes.Add(int64(len(o.page))) > maxOffered {
		q.bytes.Add(-int64(len(o.page)))
		return false
	}
	defer task.Signal(q.wake)
	select {
	case q.offers <- o:
		return true
	default:
		q.bytes.Add(-int64(len(o.page)))
		return false
	}
}

// wait returns true when there is room for n bytes or the state is not
// offersTaken. It returns false if ctx is done first.
func (q *offerQueue) wait(ctx context.Context, n int) bool {
	waited := false
	isFull := func() bool { return q.bytes.Load()+int64(n) > maxOffered || len(q.offers) == cap(q.offers) }
	for q.is(offersTaken) && isFull() {
		task.Signal(q.wake)
		select {
		case <-q.room:
			waited = true
		case <-ctx.Done():
			return false
		}
	}
	if waited {
		task.Signal(q.room) // room wakes one goroutine, and there may be room for the next
	}
	return true
}

// take removes and returns the oldest offer. It returns false if there is none.
func (q *offerQueue) take() (offer, bool) {
	select {
	case o := <-q.offers:
		q.bytes.Add(-int64(len(o.page)))
		task.Signal(q.room)
		return o, true
	default:
		return offer{}, false
	}
}

// refuse empties the queue, which takes no offers until another state is set.
func (q *offerQueue) refuse() {
	q.set(offersRefused)
	for {
		if _, ok := q.take(); !ok {
			return
		}
	}
}

// maxHot is the number of remembered pages that queries have waited for.
const maxHot = 64

// hotPages are the pages that queries waited for last. It is safe for
// concurrent use; the zero value is empty.
type hotPages struct {
	mu struct {
		sync.Mutex
		pgnos []uint32 // the newest last
	}
}

// add adds a page. It takes the place of the oldest if there are many.
func (h *hotPages) add(pgno uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.pgnos) == maxHot {
		h.mu.pgnos = append(h.mu.pgnos[:0], h.mu.pgnos[1:]...)
	}
	h.mu.pgnos = append(h.mu.pgnos, pgno)
}

// take takes the newest page out, false if there is none.
func (h *hotPages) take() (pgno uint32, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.mu.pgnos)
	if n == 0 {
		return 0, false
	}
	pgno = h.mu.pgnos[n-1]
	h.mu.pgnos = h.mu.pgnos[:n-1]
	return pgno, true
}
