package litestream

import (
	"context"

	"github.com/superfly/ltx"
)

// composePages makes the parts of a database that read its pages. PageSize is
// 0 for a database that is yet to be created.
func (db *database) composePages(pageSize uint32) {
	db.pages = newPageSource(db.store, db.index, pageOptions{
		cacheSize:    db.opts.CacheSize,
		prefetchSize: db.opts.ReadAheadSize,
	}, max(pageSize, minPageSize))
	db.index.pages = db.pages
	db.prefetcher = newPrefetcher(db.pages, db.tasks, db.opts.ReadTimeout)
	if db.opts.HydrationEnabled {
		db.hydrator = newHydrator(db.replicaAccess(), hydrateOptions{
			name:        db.name,
			path:        db.opts.HydrationPath,
			concurrency: db.opts.HydrationConcurrency,
			rateLimit:   db.opts.HydrationRateLimit,
			readTimeout: db.opts.ReadTimeout,
			onProgress:  db.opts.OnHydrationProgress,
			onDisk:      db.opts.onDisk,
		})
		db.pages.local = db.hydrator.tier
	}
}

// replicaAccess returns what hydration uses of the database.
func (db *database) replicaAccess() *replicaAccess {
	return &replicaAccess{
		log:     db.log,
		tasks:   db.tasks,
		store:   db.store,
		views:   &db.views,
		buffers: db.pages.buffers,
		refresh: func(ctx context.Context) { db.refresh(ctx) },
		refreshAnew: func(ctx context.Context) ([]*ltx.FileInfo, error) {
			r := db.refreshAnew(ctx)
			return r.files, r.news
		},
		epochOf:      db.epochOf,
		distrust:     db.distrust,
		forgetServed: db.forgetServed,
	}
}

var _ locator = (*index)(nil)

// isStillListed is a method of locator.
func (x *index) isStillListed(ctx context.Context, epoch uint32, f *ltxFile) (bool, error) {
	seen := x.refreshAnew(ctx)
	return seen.files == nil || epoch == x.epoch() && isListed(f, seen.files), seen.err()
}

// epoch returns the epoch of the current view.
func (s *views) epoch() uint32 { return s.current.Load().epoch }
