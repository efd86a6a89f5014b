package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/view"
)

// A tier is a local place of pages between the memory cache and object
// storage. It belongs to the page source, which asks it before storage and
// offers it the pages that it fetches. Hydration provides one.
//
// All methods are safe for concurrent use, and none but offerWait blocks on
// anything but a local disk. A page is served only in the version that was
// asked for: a tier that cannot tell does not have the page. A tier deals with
// its own errors, and does not have a page that it cannot read.
type tier interface {
	// read returns a page version in memory of its own, nil if it is not here.
	read(key pageKey) []byte

	// peek is read for a page that no query asked for. An error does not end
	// the use of the tier.
	peek(key pageKey) []byte

	// readView fills p with page pgno of v. It reports false if the page is not
	// here in the version that v has, or p is not one page long. Then p may be
	// overwritten all the same.
	readView(v *view.View, pgno uint32, p []byte) bool

	// has reports whether a page version is here.
	has(key pageKey) bool

	// offer gives the tier a page that was fetched for another purpose. The tier
	// must not change page, and takes it only if it is of use. Verified means
	// that a compared checksum of a whole file covers the page.
	offer(key pageKey, page []byte, verified bool)

	// offerWait is offer, but waits until the tier has room, as long as ctx
	// allows.
	offerWait(ctx context.Context, key pageKey, page []byte, verified bool)

	// want tells that a query waits for a page that storage has to provide. Its
	// neighbours are likely to be asked for next.
	want(pgno uint32)

	// notify tells that another view may have become the current one.
	notify()

	// isComplete reports whether no read of the newest view that the tier knows of
	// needs storage.
	isComplete() bool

	// drop forgets every page, because some may be wrong.
	drop()
}

// noTier is the tier of a database without hydration. It never has a page.
type noTier struct{}

var _ tier = noTier{}

func (noTier) read(pageKey) []byte                              { return nil }
func (noTier) peek(pageKey) []byte                              { return nil }
func (noTier) readView(*view.View, uint32, []byte) bool         { return false }
func (noTier) has(pageKey) bool                                 { return false }
func (noTier) offer(pageKey, []byte, bool)                      {}
func (noTier) offerWait(context.Context, pageKey, []byte, bool) {}
func (noTier) want(uint32)                                      {}
func (noTier) notify()                                          {}
func (noTier) isComplete() bool                                 { return false }
func (noTier) drop()                                            {}
