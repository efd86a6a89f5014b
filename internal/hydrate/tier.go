package hydrate

import (
	"context"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// Tier is the tier of a database that is hydrated: its local file, and
// what queries tell hydration of pages that are not in it. It is safe for
// concurrent use.
type Tier struct {
	local  atomic.Pointer[localPages] // nil before hydration begins
	offers offerQueue
	hot    hotPages
	wake   chan struct{} // holds one if there may be a new view, or an offer
	broken chan error    // holds why the local file cannot be read any more
	closed func() bool   // the database is closed
}

func newLocalTier(closed func() bool) *Tier {
	wake := make(chan struct{}, 1)
	return &Tier{offers: newOfferQueue(wake), wake: wake, broken: make(chan error, 1), closed: closed}
}

func (t *Tier) Read(key pages.Key) []byte {
	l := t.local.Load()
	if l == nil {
		return nil
	}
	page, err := l.readKey(key)
	if err != nil {
		t.Broke(l, err)
		return nil
	}
	return page
}

func (t *Tier) Peek(key pages.Key) []byte {
	if l := t.local.Load(); l != nil {
		if page, err := l.readKey(key); err == nil {
			return page
		}
	}
	return nil
}

func (t *Tier) ReadView(v *view.View, pgno uint32, p []byte) bool {
	l := t.local.Load()
	if l == nil || int64(len(p)) != l.size {
		return false
	}
	if err := l.Read(v, pgno, p); err != nil {
		t.Broke(l, err)
		return false
	}
	return true
}

func (t *Tier) Has(key pages.Key) bool {
	l := t.local.Load()
	return l != nil && l.hasKey(key)
}

func (t *Tier) Offer(key pages.Key, page []byte, verified bool) {
	if !t.offers.is(offersRefused) && t.local.Load().wants(key) {
		t.offers.put(offer{key, page, verified})
	}
}

func (t *Tier) OfferWait(ctx context.Context, key pages.Key, page []byte, verified bool) {
	if t.offers.wait(ctx, len(page)) {
		t.Offer(key, page, verified)
	}
}

func (t *Tier) Want(pgno uint32) {
	if !t.IsComplete() {
		t.hot.add(pgno)
	}
}

func (t *Tier) Notify() { task.Signal(t.wake) }

// isComplete reports whether every page of the view that is held is here, and
// no checksum is left to be compared.
func (t *Tier) IsComplete() bool {
	l := t.local.Load()
	return l != nil && l.IsComplete()
}

func (t *Tier) Drop() {
	if l := t.local.Load(); l != nil {
		l.Drop()
	}
}

// Broke ends the use of a local file that could not be read. It does nothing
// if the page was just not there.
func (t *Tier) Broke(l *localPages, err error) {
	if err == errNotHere || t.closed() || l != t.local.Load() {
		return
	}
	l.Drop()
	select {
	case t.broken <- err:
	default:
	}
}
