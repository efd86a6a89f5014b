package pages

import (
	"context"

	"github.com/ltxvfs/litestream/internal/view"
)

// A Tier is a local store of pages. It belongs to the page source, which asks
// it before object storage and offers it the pages that it fetches. Hydration
// provides one.
//
// All methods are safe for concurrent use, and none but OfferWait blocks on
// anything but a local disk. A page is served only in the version that was
// asked for: a tier that cannot tell does not have the page. A tier deals with
// its own errors, and does not have a page that it cannot read.
type Tier interface {
	// Read returns a page version in memory of its own, nil if it is not here.
	Read(key Key) []byte

	// Peek is Read for a page that no query asked for. An error does not end
	// the use of the tier.
	Peek(key Key) []byte

	// ReadView fills p with page pgno of v. It reports false if the page is not
	// here in the version that v has, or p is not one page long. Even then p may
	// be overwritten.
	ReadView(v *view.View, pgno uint32, p []byte) bool

	// Has reports whether a page version is here.
	Has(key Key) bool

	// Offer gives the tier a page that was fetched for another purpose. The tier
	// must not change page, and takes it only if it is of use. Verified means
	// that a compared checksum of a whole file covers the page.
	Offer(key Key, page []byte, verified bool)

	// OfferWait is Offer, but waits until the tier has room, as long as ctx
	// allows.
	OfferWait(ctx context.Context, key Key, page []byte, verified bool)

	// Needs tells how pages come to the tier.
	Needs() Needs

	// Want tells that a query waits for a page that storage has to provide. Its
	// neighbours are likely to be asked for next.
	Want(pgno uint32)

	// Notify tells that another view may have become the current one.
	Notify()

	// IsComplete reports whether no read of the newest view that the tier knows
	// of needs storage.
	IsComplete() bool

	// Drop forgets every page, because some may be wrong.
	Drop()
}

// Needs tells what a tier needs to have the pages that queries come to.
type Needs uint8

const (
	// NeedsNothing means that the tier fetches all pages by itself, or never has
	// any.
	NeedsNothing Needs = iota

	// NeedsPages means that the tier has only pages that it was offered.
	NeedsPages
)

func (n Needs) String() string { return [...]string{"nothing", "pages"}[n] }

// noTier is the tier of a database without hydration. It never has a page.
type noTier struct{}

var _ Tier = noTier{}

func (noTier) Read(Key) []byte                              { return nil }
func (noTier) Peek(Key) []byte                              { return nil }
func (noTier) ReadView(*view.View, uint32, []byte) bool     { return false }
func (noTier) Has(Key) bool                                 { return false }
func (noTier) Offer(Key, []byte, bool)                      {}
func (noTier) OfferWait(context.Context, Key, []byte, bool) {}
func (noTier) Needs() Needs                                 { return NeedsNothing }
func (noTier) Want(uint32)                                  {}
func (noTier) Notify()                                      {}
func (noTier) IsComplete() bool                             { return false }
func (noTier) Drop()                                        {}
