package litestream

import (
	"context"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
)

// composePages makes the parts of a database that read its pages. PageSize is 0
// if the database does not exist yet.
func (db *database) composePages(pageSize uint32) {
	db.pages = pages.NewSource(db.store, db.index, pages.Options{
		CacheSize:    db.opts.CacheSize,
		PrefetchSize: db.opts.ReadAheadSize,
	}, max(pageSize, dbheader.MinPageSize))
	db.index.pages = db.pages
	db.prefetcher = pages.NewPrefetcher(db.pages, db.tasks, db.opts.ReadTimeout)
	if db.opts.HydrationEnabled {
		db.hydrator = db.newHydration()
		db.pages.SetLocal(db.hydrator.Tier)
	}
}

var (
	_ pageSink      = (*pages.Source)(nil)
	_ pages.Locator = (*index)(nil)
	_ pages.Tier    = (*hydrate.Tier)(nil)
)

// IsStillListed reports whether the replica still has file f of an epoch. It is a
// method of pages.Locator.
func (x *index) IsStillListed(ctx context.Context, epoch uint32, f *view.File) (bool, error) {
	seen := x.refreshAnew(ctx)
	return seen.files == nil || epoch == x.Epoch() && view.IsListed(f, seen.files), seen.err()
}
