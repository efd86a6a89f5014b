package pages

import (
	"context"
	"errors"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// fetchBody begins to fetch a body of pages of a view. It reports false if the
// database is closed.
func (p *Prefetcher) fetchBody(v *view.View, b *body) bool {
	if !p.tasks.Begin() {
		p.pages.bodies.end(b, errs.ErrClosed)
		return false
	}
	t := p.pages.store.Limit.Enqueue(remote.Speculative)
	p.pages.bodies.setTicket(b, t)
	go func() {
		defer p.tasks.End()
		p.readBody(v, b, t)
	}()
	return true
}

var errReplaced = errors.New("the replica was replaced")

// readBody makes the request of a body.
func (p *Prefetcher) readBody(v *view.View, b *body, t *remote.Ticket) {
	store, file := p.pages.store, b.wants[0].loc.File
	err := errPrefetch
	defer task.Guard(store.Log, "read ahead", &err)
	defer func() { p.pages.bodies.end(b, err) }()
	ctx, cancel := p.tasks.WithTimeout(p.timeout)
	defer cancel()
	if err = store.Limit.Wait(ctx, t); err != nil {
		return
	}
	if !p.pages.bodies.holds(b) {
		store.Limit.Done(t)
		err = errNotWanted
		return
	}
	isCurrent := func() bool { return v.Epoch == p.pages.locator.Epoch() }
	// There is no second attempt: a reader that needs a page makes its own.
	err = store.Guard(func() error {
		_, err := store.ReadOnce(file.Reading(ctx), remote.Speculative, t, file.Key(), b.buf, b.offset(), func(got []byte) {
			if isCurrent() { // else the bytes may be of another history
				p.pages.bodies.arrive(b, len(got))
			}
		})
		return err
	})
	switch {
	case err != nil:
	case !isCurrent():
		err = errReplaced
	case p.pages.local.Needs() == NeedsPages:
		p.offerBody(ctx, b)
	}
}

// offerBody gives the pages of a body to the local tier, and waits until it has
// room.
func (p *Prefetcher) offerBody(ctx context.Context, b *body) {
	for i, w := range b.wants {
		if p.pages.local.Has(w.key) {
			continue
		}
		page, err := decodePage(w.loc, (frame{b, i}).bytes(), w.key.Pgno)
		if err != nil {
			return // a request for the page itself tells what is wrong
		}
		p.pages.Learn(w.key.Pgno, page)
		p.pages.local.OfferWait(ctx, w.key, page, false)
	}
}
