package pages

import (
	"context"

	"github.com/ltxvfs/litestream/internal/view"
)

// A Tier is a local place of pages between the memory cache and object
// storage. It belongs to the page source, which asks it before storage and
// offers it the pages that it fetches. Hydration provides one.
//
// All methods are safe for concurrent use, and none but offerWait blocks on
// anything but a local disk. A page is served only in the version that was
// asked for: a tier that cannot tell does not have the page. A tier deals with
// its own errors, and does not have a page that it cannot read.
type Tier interface {
	// Read returns a page version in memory of its own, nil if it is not here.
	Read(key Key) []byte

	// Peek is read for a page that no query asked for. An error does not end
	// the use of the tier.
	Peek(key Key) []byte

	// ReadView fills p with page pgno of v. It reports false if the page is not
	// here in the version that v has, or p is not one page long. Then p may be
	// overwritten all the same.
	ReadView(v *view.View, pgno uint32, p []byte) bool

	// Has reports whether a page version is here.
	Has(key Key) bool

	// Offer gives the tier a page that was fetched for another purpose. The tier
	// must not change page, and takes it only if it is of use. Verified means
	// that a compared checksum of a whole file covers the page.
	Offer(key Key, page []byte, verified bool)

	// OfferWait is offer, but waits until the tier has room, as long as ctx
	// allows.
	OfferWait(ctx context.Context, key Key, page []byte, verified bool)

	// Want tells that a query waits for a page that storage has to provide. Its
	// neighbours are likely to be asked for next.
	Want(pgno uint32)

	// Notify tells that another view may have become the current one.
	Notify()

	// IsComplete reports whether no read of the newest view that the tier knows of
	// needs storage.
	IsComplete() bool

	// Drop forgets every page, because some may be wrong.
	Drop()
}

// NoTier is the tier of a database without hydration. It never has a page.
type NoTier struct{}

var _ Tier = NoTier{}

func (NoTier) Read(Key) []byte                              { return nil }
func (NoTier) Peek(Key) []byte                              { return nil }
func (NoTier) ReadView(*view.View, uint32, []byte) bool     { return false }
func (NoTier) Has(Key) bool                                 { return false }
func (NoTier) Offer(Key, []byte, bool)                      {}
func (NoTier) OfferWait(context.Context, Key, []byte, bool) {}
func (NoTier) Want(uint32)                                  {}
func (NoTier) Notify()                                      {}
func (NoTier) IsComplete() bool                             { return false }
func (NoTier) Drop()                                        {}
