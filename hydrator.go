package litestream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/task"
)

// hydrator copies the database to a local file in the background, only the
// newest page versions, and keeps up with it. Queries read from the file
// through its tier. Its goroutines end with the database.
type hydrator struct {
	*replicaAccess
	opts   hydrateOptions
	tier   *localTier
	state  *hydrationState
	copier *copier

	// Used by run only.
	file   *pagefile.File
	keeper *keeper // makes a file at an explicit path survive restarts; nil for a temporary one
}

// hydrateOptions are the options of hydration.
type hydrateOptions struct {
	name        string        // of the database
	path        string        // of the local file; empty: a temporary one
	concurrency int           // requests at a time
	rateLimit   int64         // bytes a second; 0: none
	readTimeout time.Duration // how long a request may bring no bytes; negative: no limit

	onProgress func(HydrationProgress) // nil: not called
	onDisk     diskhook.Hook           // called before and after disk operations; nil: not called
}

// replicaAccess is what hydration uses of a database and its replica.
type replicaAccess struct {
	log     *slog.Logger
	tasks   *task.Group
	store   *remote.Store
	views   *view.Views
	buffers *pages.BufferPool // for compressed frames

	// refresh brings the current view up to date with the replica.
	refresh func(context.Context)

	// refreshAnew is refresh that does not rely on a listing from before the
	// call. It returns the files that the replica has, nil if that is not known,
	// and the error that may be why.
	refreshAnew func(context.Context) ([]*ltx.FileInfo, error)

	// epochOf returns the epoch of files that were listed after a view was the
	// current one.
	epochOf func(ctx context.Context, before *view.View, files []*ltx.FileInfo) (uint32, error)

	// distrust ends the use of a file whose content does not have its checksum.
	distrust func(f *view.File, problem error)

	// forgetServed drops the pages that the tiers have, and has SQLite read
	// again what it has cached, because pages were wrong.
	forgetServed func()
}

// isCurrent reports whether an epoch is that of the current view. What is read
// after it has ended may be of another history.
func (r *replicaAccess) isCurrent(epoch uint32) bool { return epoch == r.views.Epoch() }

const (
	// patience is how long hydration gives way to queries at a time.
	patience = 200 * time.Millisecond

	// Delays after errors that may pass.
	firstHydrationDelay = time.Second
	lastHydrationDelay  = 30 * time.Second
)

func newHydrator(r *replicaAccess, opts hydrateOptions) *hydrator {
	tier := newLocalTier(r.tasks.Closed)
	state := newHydrationState(r.log, tier.wake)
	return &hydrator{
		replicaAccess: r,
		opts:          opts,
		tier:          tier,
		state:         state,
		copier:        newCopier(r, opts, tier, state),
	}
}

// start begins to hydrate.
func (h *hydrator) start() { h.tasks.Go(h.run) }

// progress tells how far hydration has come. A nil hydrator is idle.
func (h *hydrator) progress() HydrationProgress {
	if h == nil {
		return HydrationProgress{Status: HydrationIdle}
	}
	return progressOf(h.opts.name, h.state, h.local())
}

// report calls OnHydrationProgress. Only run does, so calls do not overlap.
func (h *hydrator) report() {
	var err error
	defer task.Guard(h.log, "OnHydrationProgress", &err)
	if fn := h.opts.onProgress; fn != nil {
		fn(h.progress())
	}
}

func (h *hydrator) local() *localPages { return h.tier.local.Load() }

// run hydrates until the database is closed, or something fails for good.
func (h *hydrator) run() {
	for again := false; ; {
		err := h.hydrate()
		if h.tasks.Closed() {
			return
		}
		if errors.Is(err, errLocalWrong) {
			h.forgetServed()
			if !again {
				again = true
				h.log.Warn("hydration starts over", "reason", err)
				continue
			}
		}
		if errors.Is(err, errs.ErrCorrupt) || !errs.IsDiskFull(err) && !errors.Is(err, errUnknown) {
			h.tier.offers.refuse()
			h.state.fail(err)
			h.report()
			return
		}
		h.tier.offers.set(offersPaused)
		if errs.IsDiskFull(err) {
			h.state.pauseFailed(err)
		} else {
			h.state.pause(err)
		}
		h.report()
		if !sleep(h.tasks.Context(), lastHydrationDelay) {
			return
		}
	}
}

// sleep waits for d. It reports false if ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		timer.Stop()
		return false
	}
}

// hydrate is run with the local file that it opens.
func (h *hydrator) hydrate() (err error) {
	defer task.Guard(h.log, "hydration", &err)
	if err := h.open(); err != nil {
		return err
	}
	defer func() { err = h.close(err) }()
	h.state.begin(HydrationRestoring)
	ctx, stop := context.WithCancel(h.tasks.Context())
	var copying sync.WaitGroup
	failed := make(chan error, 1)
	copying.Go(func() {
		var err error
		defer func() { failed <- err }()
		defer task.Guard(h.log, "hydration", &err)
		err = h.copier.copyAll(ctx)
	})
	defer copying.Wait()
	defer stop()
	return h.keepUp(ctx, failed)
}

// open opens the local file, with the pages that an earlier process left in
// it.
func (h *hydrator) open() error {
	select {
	case <-h.tier.broken: // of the file before
	default:
	}
	// All of this is about one view: the next may have pages of another size.
	v := h.views.Current.Load()
	if err := h.openFile(); err != nil {
		return fmt.Errorf("open hydration file: %w", err)
	}
	l := newLocalPages(h.file, v.PageSize, h.opts.onDisk)
	var err error
	if h.keeper != nil {
		err = h.keeper.resume(l, v, h.replicaAccess)
	} else {
		err = l.hold(v)
	}
	if err != nil {
		return errors.Join(err, h.file.Close())
	}
	h.tier.local.Store(l)
	return nil
}

// openFile opens the file at the path of the options. If there is none, or
// another process uses the file, it creates a temporary one.
func (h *hydrator) openFile() (err error) {
	if path := h.opts.path; path != "" {
		h.file, h.keeper, err = openKept(path, h.log)
		if !errors.Is(err, pagefile.ErrLocked) {
			return err
		}
		h.log.Warn("the hydration file is in use by another database or process; a temporary one is used", "file", path)
	}
	h.file, err = pagefile.CreateTemp()
	return err
}

// close ends the use of the local file. Problem is why, nil if the database is
// closed.
func (h *hydrator) close(problem error) error {
	l := h.local()
	err := problem
	switch {
	case h.keeper == nil:
	case errors.Is(problem, errs.ErrCorrupt), errors.Is(problem, errLocalWrong): // pages of it may be wrong
		l.drop()
		// If the record cannot be replaced, it is refused because the pages are gone.
		err = errors.Join(problem, h.file.Reset(), h.keeper.discard(l))
	case problem == nil:
		err = h.keeper.checkpoint(l)
	}
	l.drop()
	return errors.Join(err, h.file.Close())
}

// keepUp follows the newest view and writes the pages that are offered, until
// copying fails or ctx is done.
func (h *hydrator) keepUp(ctx context.Context, failed <-chan error) error {
	var retry <-chan time.Time // nil unless the disk was full
	for {
		select {
		case err := <-h.tier.broken:
			return err
		case <-retry:
			retry = nil
			h.state.resume()
		default:
		}
		if retry == nil {
			err := h.maintain()
			if err != nil && !errs.IsDiskFull(err) {
				return err
			}
			if err != nil {
				h.state.pauseFailed(err)
				retry = time.After(lastHydrationDelay)
			}
		}
		if retry != nil {
			h.tier.offers.set(offersPaused)
		} else {
			h.tier.offers.set(offersTaken)
		}
		if h.state.update(h.local()) {
			h.report()
		}
		task.Signal(h.copier.work)
		select {
		case <-h.tier.wake:
		case <-retry:
			retry = nil
			h.state.resume()
		case err := <-failed:
			return err
		case err := <-h.tier.broken:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// maintain does what there is to do now.
func (h *hydrator) maintain() error {
	err := h.follow()
	if err == nil {
		err = h.adopt()
	}
	if err == nil && h.keeper != nil {
		err = h.keeper.checkpointIfDue(h.local())
	}
	return err
}

// follow makes the local file hold the newest view.
func (h *hydrator) follow() error {
	for {
		l, cur := h.local(), h.views.Current.Load()
		held := l.view()
		if held == cur || held == nil { // nil: a reader found it broken
			return nil
		}
		var err error
		switch {
		case held.PageSize != cur.PageSize:
			err = h.restart(l, cur)
		case h.keeper != nil:
			err = h.keeper.forget(l, held, cur)
		default:
			err = l.hold(cur)
		}
		if err != nil {
			return err
		}
	}
}

// restart empties the file for a view with pages of another size.
func (h *hydrator) restart(l *localPages, cur *view.View) error {
	if h.keeper != nil {
		if err := h.keeper.discard(l); err != nil {
			return err
		}
	}
	l.drop()
	if err := h.file.Reset(); err != nil {
		return err
	}
	l = newLocalPages(h.file, cur.PageSize, h.opts.onDisk)
	h.tier.local.Store(l)
	err := l.hold(cur)
	if err != nil {
		h.tier.broke(l, err) // it holds nothing, so trying that again is of no use
	}
	return err
}

// adopt writes the pages that were offered.
func (h *hydrator) adopt() error {
	for {
		o, ok := h.tier.offers.take()
		if !ok {
			return nil
		}
		if err := h.follow(); err != nil {
			return err
		}
		l := h.local()
		if int64(len(o.page)) != l.size {
			continue
		}
		already, err := l.write(o.key.Epoch, o.key.Pgno, []ltx.TXID{o.key.Version}, o.page)
		if err != nil {
			return err
		}
		if o.verified && already == 0 {
			l.settleKey(o.key)
		}
	}
}
