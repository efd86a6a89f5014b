package hydrate

import (
	"context"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// Tier is the tier of a database that is hydrated. It serves pages from the local
// file, and passes on to hydration which other pages queries have fetched or wait
// for. It is safe for concurrent use.
type Tier struct {
	local  atomic.Pointer[localPages] // nil before hydration begins, and while another process owns the file
	lent   atomic.Pointer[lentPages]  // a file that another process owns; nil: none
	offers offerQueue
	hot    hotPages
	wake   chan struct{} // holds one if there may be a new view, or an offer
	broken chan error    // holds why the local file cannot be read any more
	closed func() bool   // reports whether the database is closed
	mode   Mode
}

func newLocalTier(closed func() bool, mode Mode) *Tier {
	wake := make(chan struct{}, 1)
	return &Tier{offers: newOfferQueue(wake), wake: wake, broken: make(chan error, 1), closed: closed, mode: mode}
}

// Needs reports what the tier needs from queries.
func (t *Tier) Needs() pages.Needs {
	if t.mode == Pages {
		return pages.NeedsPages
	}
	return pages.NeedsNothing
}

// Read returns a page version, nil if it is not local. An error of the file ends
// the use of the file.
func (t *Tier) Read(key pages.Key) []byte {
	if l := t.local.Load(); l != nil {
		page, err := l.readKey(key)
		if err == nil {
			return page
		}
		t.broke(l, err)
	}
	if l := t.lent.Load(); l != nil {
		return l.readKey(key)
	}
	return nil
}

// Peek is Read for a page that no query asked for. It ignores errors.
func (t *Tier) Peek(key pages.Key) []byte {
	if l := t.local.Load(); l != nil {
		if page, err := l.readKey(key); err == nil {
			return page
		}
	}
	if l := t.lent.Load(); l != nil {
		return l.readKey(key)
	}
	return nil
}

// ReadView fills p with page pgno of v, and reports whether the page is local.
func (t *Tier) ReadView(v *view.View, pgno uint32, p []byte) bool {
	if l := t.local.Load(); l != nil && int64(len(p)) == l.size {
		err := l.read(v, pgno, p)
		if err == nil {
			return true
		}
		t.broke(l, err)
	}
	l := t.lent.Load()
	return l != nil && l.read(v, pgno, p)
}

// Has reports whether a page version is local.
func (t *Tier) Has(key pages.Key) bool {
	if l := t.local.Load(); l != nil && l.hasKey(key) {
		return true
	}
	l := t.lent.Load()
	return l != nil && l.hasKey(key)
}

// Offer puts a page into the queue of offers, if it is of use and there is room.
func (t *Tier) Offer(key pages.Key, page []byte, verified bool) {
	t.offer(key, page, verified)
}

// offer is Offer. It reports false if there is no room.
func (t *Tier) offer(key pages.Key, page []byte, verified bool) bool {
	if t.offers.is(offersRefused) || !t.local.Load().wants(key) {
		return true
	}
	return t.offers.put(offer{key, page, verified})
}

// OfferWait is Offer, but waits until there is room or ctx is done.
func (t *Tier) OfferWait(ctx context.Context, key pages.Key, page []byte, verified bool) {
	// Another goroutine may take the room first.
	for t.offers.wait(ctx, len(page)) && !t.offer(key, page, verified) && t.offers.is(offersTaken) {
	}
}

// Want notes a page that a query waits for. Its neighbours are copied next.
func (t *Tier) Want(pgno uint32) {
	if !t.IsComplete() {
		t.hot.add(pgno)
	}
}

// Notify wakes hydration up, because there may be a new view.
func (t *Tier) Notify() { task.Signal(t.wake) }

// IsComplete reports whether every page of the view that is held is local, and
// no checksum is left to be compared.
func (t *Tier) IsComplete() bool {
	if l := t.local.Load(); l != nil {
		return l.isComplete()
	}
	l := t.lent.Load()
	return l != nil && l.isComplete()
}

// Drop forgets every page.
func (t *Tier) Drop() {
	if l := t.local.Load(); l != nil {
		l.drop()
	}
	if l := t.lent.Load(); l != nil {
		l.common.Store(nil) // until the histories are compared again
	}
}

// broke ends the use of a local file that could not be read. It does nothing
// if the error only says that a page is not local.
func (t *Tier) broke(l *localPages, err error) {
	if err == errNotHere || t.closed() || l != t.local.Load() {
		return
	}
	l.drop()
	select {
	case t.broken <- err:
	default:
	}
}
