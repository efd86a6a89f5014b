package hydrate

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// copier reads the pages that are missing in the local file, and compares the
// checksums of the files that they come from.
type copier struct {
	*Access
	tier        *Tier
	state       *hydrationState
	reader      *partReader
	comparer    *comparer
	concurrency int
	work        chan struct{} // holds one if pages may be missing
	runs        sync.Pool     // *[]byte of runSize, for decoded pages
}

func newCopier(r *Access, opts Options, tier *Tier, state *hydrationState) *copier {
	reader := newPartReader(r, opts, state)
	return &copier{
		Access:      r,
		tier:        tier,
		state:       state,
		reader:      reader,
		comparer:    &comparer{reader, tier, opts.Concurrency},
		concurrency: opts.Concurrency,
		work:        make(chan struct{}, 1),
		runs:        sync.Pool{New: func() any { b := make([]byte, 0, runSize); return &b }},
	}
}

// copyAll reads what is missing whenever there is work, until ctx is done or
// it cannot go on.
func (c *copier) copyAll(ctx context.Context) error {
	delay := firstHydrationDelay // after a step that did not help
	caughtUp := false
	for {
		select {
		case <-c.work:
		case <-ctx.Done():
			return nil
		}
		if c.Views.Arriving.Load() > 0 || caughtUp && c.tier.offers.bytes.Load() > 0 {
			continue // the pages are there in a moment, and then there is work again
		}
		if err := c.catchUp(ctx, &delay); err != nil {
			return err
		}
		caughtUp = true
	}
}

// catchUp reads what is missing until the local file is complete.
func (c *copier) catchUp(ctx context.Context, delay *time.Duration) error {
	paused := false
	for ctx.Err() == nil && c.tier.local.Load().held.Load() != nil && !c.tier.IsComplete() {
		progressed, err := c.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && progressed:
			*delay = firstHydrationDelay
			continue
		case err == nil: // the view has moved on, or will with the next refresh
		case errs.IsDiskFull(err):
			c.state.pauseFailed(err)
			paused = true
		case errs.IsMissing(err), errors.Is(err, errs.ErrCorrupt):
			if err := c.checkStale(ctx, err); err != nil {
				return err
			}
		default:
			return err
		}
		task.Signal(c.tier.wake)
		if !sleep(ctx, *delay) {
			return nil
		}
		*delay = min(2**delay, lastHydrationDelay)
	}
	if paused && ctx.Err() == nil {
		c.state.resume()
	}
	return nil
}

// step reads all pages that are missing, or compares checksums if none is. It
// reports whether that changed anything.
func (c *copier) step(ctx context.Context) (progressed bool, err error) {
	l := c.tier.local.Load()
	count, settled := l.count.Load(), l.settled.Load()
	if l.missing() == 0 {
		err = c.comparer.compare(ctx)
	} else {
		err = c.pass(ctx)
	}
	if errors.Is(err, errOtherEpoch) {
		err = nil // the next step is of the next view
	}
	return l.count.Load() != count || l.settled.Load() != settled, err
}

// checkStale returns problem, the error of reading a file, if a new listing shows
// that the replica still has the file. It returns nil if the file was deleted or
// replaced, because the next view does not need it. If the listing fails,
// hydration pauses.
func (c *copier) checkStale(ctx context.Context, problem error) error {
	files, err := c.RefreshAnew(ctx)
	if files == nil {
		c.state.pause(errors.Join(problem, err))
		return nil
	}
	var bad *fileError
	if errors.As(problem, &bad) && c.isCurrent(bad.epoch) && view.IsListed(bad.file, files) && !errs.IsMissing(problem) {
		if bad.wrong {
			c.Distrust(bad.file, problem)
		}
		return problem
	}
	return nil
}

// fileError is an error about the content of a file of an epoch.
type fileError struct {
	file  *view.File
	epoch uint32
	wrong bool // its checksum is wrong, so any of its pages may be
	error
}

func (e *fileError) Unwrap() error { return e.error }

// pass reads all pages of the current view of the local file that are missing.
func (c *copier) pass(ctx context.Context) error {
	held := c.tier.local.Load().held.Load()
	if held == nil {
		return nil
	}
	v := held.view
	if err := c.reader.readIndexes(ctx, v); err != nil {
		return err
	}
	at := c.reader.places(ctx)
	batches := newCopyPlan(at, v, held.present, c.concurrency).batches()
	if at.err != nil {
		return at.err
	}
	work := newCopyWork(batches)
	turn := semaphore.NewWeighted(1)
	g, ctx := errgroup.WithContext(ctx)
	// While some goroutines decode pages, others read.
	for range min(c.concurrency+runtime.GOMAXPROCS(0), len(batches)) {
		g.Go(func() error {
			for {
				copied, err := c.copyNext(ctx, v, work, turn)
				if err != nil || !copied {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// copyNext copies the next batch, and reports whether there was one. It holds
// the turn from before it chooses the batch until the first request of the batch
// may be sent. No goroutine chooses a batch meanwhile, so the pages near one that
// a query waits for come right after that batch.
func (c *copier) copyNext(ctx context.Context, v *view.View, work *copyWork, turn *semaphore.Weighted) (copied bool, err error) {
	if err := turn.Acquire(ctx, 1); err != nil {
		return false, err
	}
	endTurn := sync.OnceFunc(func() { turn.Release(1) })
	defer endTurn() // a batch may need no request, or fail before it
	batch := c.nextBatch(work)
	if batch == nil {
		return false, nil
	}
	return true, c.copyParts(ctx, v, batch, endTurn)
}

// nextBatch returns the parts to read next: those near a page that a query
// waited for, otherwise the next ones in order.
func (c *copier) nextBatch(work *copyWork) []part {
	for {
		pgno, ok := c.tier.hot.take()
		if !ok {
			return work.next()
		}
		if batch := work.near(pgno); batch != nil {
			return batch
		}
	}
}
