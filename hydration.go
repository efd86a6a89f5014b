package litestream

import (
	"context"

	"github.com/superfly/ltx"
)

// newHydration returns a hydrator of the database, which is yet to be started.
func (db *database) newHydration() *hydrator {
	return newHydrator(db.replicaAccess(), hydrateOptions{
		name:        db.name,
		path:        db.opts.HydrationPath,
		concurrency: db.opts.HydrationConcurrency,
		rateLimit:   db.opts.HydrationRateLimit,
		readTimeout: db.opts.ReadTimeout,
		onProgress:  db.opts.OnHydrationProgress,
		onDisk:      db.opts.onDisk,
	})
}

// replicaAccess returns what hydration uses of the database.
func (db *database) replicaAccess() *replicaAccess {
	return &replicaAccess{
		log:     db.log,
		tasks:   db.tasks,
		store:   db.store,
		views:   &db.Views,
		buffers: db.pages.Buffers,
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
