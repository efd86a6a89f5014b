package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/view"
)

// composePages makes the parts of a database that read its pages. PageSize is
// 0 for a database that is yet to be created.
func (db *database) composePages(pageSize uint32) {
	db.pages = newPageSource(db.store, db.index, pageOptions{
		cacheSize:    db.opts.CacheSize,
		prefetchSize: db.opts.ReadAheadSize,
	}, max(pageSize, dbheader.MinPageSize))
	db.index.pages = db.pages
	db.prefetcher = newPrefetcher(db.pages, db.tasks, db.opts.ReadTimeout)
	if db.opts.HydrationEnabled {
		db.hydrator = db.newHydration()
		db.pages.setLocal(db.hydrator.tier)
	}
}

var (
	_ pageSink = (*pageSource)(nil)
	_ locator  = (*index)(nil)
	_ tier     = (*localTier)(nil)
)

// isStillListed is a method of locator.
func (x *index) isStillListed(ctx context.Context, epoch uint32, f *view.File) (bool, error) {
	seen := x.refreshAnew(ctx)
	return seen.files == nil || epoch == x.Epoch() && view.IsListed(f, seen.files), seen.err()
}
