package litestream

import (
	"context"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// newHydration returns the hydrator of the database. It does nothing before Start.
func (db *database) newHydration() *hydrate.Hydrator {
	opts := hydrate.Options{
		Name:        db.name,
		Mode:        hydrate.Mode(db.opts.HydrationMode),
		Path:        db.opts.HydrationPath,
		Replica:     db.owner.Replica,
		Concurrency: db.opts.HydrationConcurrency,
		RateLimit:   db.opts.HydrationRateLimit,
		ReadTimeout: db.opts.ReadTimeout,
		OnDisk:      db.opts.onDisk,
	}
	if report := db.opts.OnHydrationProgress; report != nil {
		opts.OnProgress = func(p hydrate.Progress) { report(publicProgress(p)) }
	}
	return hydrate.New(db.replicaAccess(), opts)
}

// replicaAccess returns what hydration uses of the database.
func (db *database) replicaAccess() *hydrate.Access {
	return &hydrate.Access{
		Log:     db.log,
		Tasks:   db.tasks,
		Store:   db.store,
		Views:   &db.Views,
		Buffers: db.pages.Buffers,
		Refresh: func(ctx context.Context) { db.refresh(ctx) },
		RefreshAnew: func(ctx context.Context) ([]*ltx.FileInfo, error) {
			r := db.refreshAnew(ctx)
			return r.files, r.news
		},
		EpochOf:      db.epochOf,
		Fresh:        func() time.Time { return time.Unix(0, db.poller.fresh.Load()) },
		Distrust:     db.distrust,
		ForgetServed: db.forgetServed,

		UsedElsewhere: db.poller.useElsewhere,
		News:          db.poller.hurry,
		LastUse:       func() time.Time { return time.Unix(0, db.poller.lastUse.Load()) },
	}
}

// databasePolls tells the poller of a database what other processes know.
type databasePolls struct {
	current  func() *view.View
	hydrator func() *hydrate.Hydrator // nil without hydration
}

func (p databasePolls) IsNewest(within time.Duration) (time.Time, bool) {
	if h := p.hydrator(); h != nil {
		return h.IsNewest(p.current(), within)
	}
	return time.Time{}, false
}

func (p databasePolls) Polled(at time.Time) {
	if h := p.hydrator(); h != nil {
		h.Polled(p.current().TXID, at)
	}
}
