package litestream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/ltxvfs/litestream/internal/pagefile"
)

// hydrator copies the database to a local file in the background, newest
// versions only, and keeps up with it. Its goroutines end with the database.
type hydrator struct {
	db   *database
	rate *rate.Limiter // bytes; nil: no limit

	// streams bounds requests, maxBatch for each of HydrationConcurrency.
	streams *semaphore.Weighted
	runs    sync.Pool // *[]byte of runSize, for decoded pages

	file *pagefile.File

	// keeper is what a file at an explicit path survives restarts by; nil for a
	// temporary one.
	keeper *keeper

	offers  chan offer
	offered atomic.Int64  // bytes in offers
	room    chan struct{} // holds one if there may be room in offers
	wake    chan struct{} // holds one if there may be a new view, or a page was offered
	work    chan struct{} // holds one if pages may be missing
	broken  chan error    // holds why the local file cannot be read any more
	over    atomic.Bool   // it failed for good
	idle    atomic.Bool   // nobody takes offers for a while
	bytes   atomic.Int64  // read from storage

	mu      sync.Mutex      // duty: what follows
	status  HydrationStatus // guarded by mu
	problem error           // guarded by mu; why it failed or pauses
	since   time.Time       // guarded by mu; when this status began
	already int64           // guarded by mu; bytes when this status began
	step    int             // guarded by mu; tenths that were logged
	hot     []uint32        // guarded by mu; pages that queries waited for, the newest last
	changed bool            // guarded by mu; since it was reported
}

// offer is a page that somebody else has fetched.
type offer struct {
	key      pageKey
	page     []byte
	compared bool // it came with a whole file whose checksum is right
}

const (
	// maxOffered bounds the pages that wait to be written, bytes. Others are
	// left to be read again.
	maxOffered = 8 << 20
	maxOffers  = 1 << 12

	// maxHot is how many pages that queries waited for are remembered.
	maxHot = 64

	// patience is how long hydration gives way to queries at a time.
	patience = 200 * time.Millisecond

	// Delays after errors that may pass.
	firstHydrationDelay = time.Second
	lastHydrationDelay  = 30 * time.Second
)

func newHydrator(db *database) *hydrator {
	h := &hydrator{
		db:     db,
		offers: make(chan offer, maxOffers),
		room:   make(chan struct{}, 1),
		wake:   make(chan struct{}, 1),
		work:   make(chan struct{}, 1),
		broken: make(chan error, 1),
		status: HydrationIdle,

		// Half of one more, so that what is small need not wait for what is not.
		streams: semaphore.NewWeighted(int64(db.opts.HydrationConcurrency)*maxBatch + maxBatch/2),
		runs:    sync.Pool{New: func() any { b := make([]byte, 0, runSize); return &b }},
	}
	if n := db.opts.HydrationRateLimit; n > 0 {
		h.rate = rate.NewLimiter(rate.Limit(n), int(max(n/10, readPart)))
	}
	return h
}

// start begins to hydrate.
func (h *hydrator) start() { h.db.tasks.Go(h.run) }

// run hydrates until the database is closed, or something fails for good.
func (h *hydrator) run() {
	for again := false; ; {
		err := h.hydrate()
		if h.db.tasks.Closed() {
			return
		}
		if errors.Is(err, errLocalWrong) {
			h.db.forgetServed()
			if !again {
				again = true
				h.db.log.Warn("hydration starts over", "reason", err)
				continue
			}
		}
		if errors.Is(err, ErrCorrupt) || !isDiskFull(err) && !errors.Is(err, errUnknown) {
			h.fail(err)
			return
		}
		h.rest(true)
		h.pauses(isDiskFull(err), err)
		h.report()
		timer := time.NewTimer(lastHydrationDelay)
		select {
		case <-timer.C:
		case <-h.db.tasks.Context().Done():
			timer.Stop()
			return
		}
	}
}

// hydrate is run with the local file that it opens.
func (h *hydrator) hydrate() (err error) {
	defer guard(h.db.log, "hydration", &err)
	if err := h.open(); err != nil {
		return err
	}
	defer func() { err = h.close(err) }()
	h.begin(HydrationRestoring)
	ctx, stop := context.WithCancel(h.db.tasks.Context())
	var copying sync.WaitGroup
	failed := make(chan error, 1)
	copying.Go(func() {
		var err error
		defer func() { failed <- err }()
		defer guard(h.db.log, "hydration", &err)
		err = h.copyAll(ctx)
	})
	defer copying.Wait()
	defer stop()
	return h.keepUp(ctx, failed)
}

// open opens the local file, and takes from it what an earlier process left.
func (h *hydrator) open() error {
	select {
	case <-h.broken: // of the file before
	default:
	}
	// All of this is about one view: the next may have pages of another size.
	v := h.db.current.Load()
	var err error
	if path := h.db.opts.HydrationPath; path != "" {
		h.file, h.keeper, err = openKept(h, path)
		if errors.Is(err, pagefile.ErrLocked) {
			h.db.log.Warn("the hydration file is in use by another database or process; a temporary one is used", "file", path)
			h.file, err = pagefile.CreateTemp()
		}
	} else {
		h.file, err = pagefile.CreateTemp()
	}
	if err != nil {
		return fmt.Errorf("open hydration file: %w", err)
	}
	l := newLocalPages(h.file, v.pageSize, h.db.opts.onDisk)
	if h.keeper != nil {
		err = h.keeper.resume(l, v)
	} else {
		err = l.hold(v)
	}
	if err != nil {
		return errors.Join(err, h.file.Close())
	}
	h.db.reader.local.Store(l)
	return nil
}

// close ends the use of the local file. Problem is why, if it is not that the
// database is closed.
func (h *hydrator) close(problem error) error {
	l := h.local()
	err := problem
	switch {
	case h.keeper == nil:
	case errors.Is(problem, ErrCorrupt), errors.Is(problem, errLocalWrong): // pages of it may be wrong
		l.drop()
		// Without them the record is refused, should it be impossible to replace it.
		err = errors.Join(problem, h.file.Reset(), h.keeper.discard(l))
	case problem == nil:
		err = h.keeper.checkpoint(l)
	}
	l.drop()
	return errors.Join(err, h.file.Close())
}

func (h *hydrator) local() *localPages { return h.db.reader.local.Load() }

// offer gives a page to the local file that somebody has fetched, maybe in a
// whole file whose checksum was compared. It does not wait.
func (h *hydrator) offer(key pageKey, page []byte, compared bool) {
	if h == nil || h.over.Load() || !h.local().wants(key) {
		return
	}
	if h.offered.Add(int64(len(page))) > maxOffered {
		h.offered.Add(-int64(len(page)))
		return
	}
	select {
	case h.offers <- offer{key, page, compared}:
	default:
		h.offered.Add(-int64(len(page)))
	}
	signal(h.wake)
}

// offerSurely is offer, but waits while there is no room, as long as ctx allows and
// somebody makes room.
func (h *hydrator) offerSurely(ctx context.Context, key pageKey, page []byte, compared bool) {
	isFull := func() bool { return h.offered.Load()+int64(len(page)) > maxOffered || len(h.offers) == cap(h.offers) }
	for h != nil && !h.over.Load() && !h.idle.Load() && isFull() {
		signal(h.wake)
		select {
		case <-h.room:
		case <-ctx.Done():
			return
		}
	}
	h.offer(key, page, compared)
}

// rest notes whether offers are left lying.
func (h *hydrator) rest(idle bool) {
	h.idle.Store(idle)
	signal(h.room)
}

// notify tells that there may be a new view.
func (h *hydrator) notify() {
	if h != nil {
		signal(h.wake)
	}
}

// signal puts one into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// broke is told why a page could not be read from the local file. If that is
// not just that it is not there, nothing is read from it any more.
func (h *hydrator) broke(l *localPages, err error) {
	if err == errNotHere || h.db.tasks.Closed() || l != h.local() {
		return
	}
	l.drop()
	select {
	case h.broken <- err:
	default:
	}
}

// want tells that a query waits for a page: others near it come next.
func (h *hydrator) want(pgno uint32) {
	if h == nil || h.isComplete() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.hot) == maxHot {
		h.hot = append(h.hot[:0], h.hot[1:]...)
	}
	h.hot = append(h.hot, pgno)
}

// nextHot returns the page that a query waited for last, false if none did.
func (h *hydrator) nextHot() (pgno uint32, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.hot)
	if n == 0 {
		return 0, false
	}
	pgno = h.hot[n-1]
	h.hot = h.hot[:n-1]
	return pgno, true
}

// isComplete tells whether no page is missing, and none is to be compared.
func (h *hydrator) isComplete() bool {
	l := h.local()
	return l != nil && l.isComplete()
}

// keepUp follows the newest view and writes pages that are offered, until
// copying fails or ctx is done.
func (h *hydrator) keepUp(ctx context.Context, failed <-chan error) error {
	var retry <-chan time.Time // nil unless the disk was full
	for {
		select {
		case err := <-h.broken:
			return err
		case <-retry:
			retry = nil
			h.resumes()
		default:
		}
		if retry == nil {
			err := h.maintain()
			if err != nil && !isDiskFull(err) {
				return err
			}
			if err != nil {
				h.pauses(true, err)
				retry = time.After(lastHydrationDelay)
			}
		}
		h.rest(retry != nil)
		h.progressed()
		signal(h.work)
		select {
		case <-h.wake:
		case <-retry:
			retry = nil
			h.resumes()
		case err := <-failed:
			return err
		case err := <-h.broken:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// maintain does what there is to be done now.
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

// follow makes the local file that of the newest view.
func (h *hydrator) follow() error {
	for {
		l, cur := h.local(), h.db.current.Load()
		held := l.view()
		if held == cur || held == nil { // nil: a reader found it broken
			return nil
		}
		if held.pageSize != cur.pageSize {
			// Another database: begun again in the same file.
			if h.keeper != nil {
				if err := h.keeper.discard(l); err != nil {
					return err
				}
			}
			l.drop()
			if err := h.file.Reset(); err != nil {
				return err
			}
			l = newLocalPages(h.file, cur.pageSize, h.db.opts.onDisk)
			h.db.reader.local.Store(l)
			if err := l.hold(cur); err != nil {
				h.broke(l, err) // it holds nothing, so it is of no use to try that again
				return err
			}
			continue
		}
		var err error
		if h.keeper != nil {
			err = h.keeper.forget(l, held, cur)
		} else {
			err = l.hold(cur)
		}
		if err != nil {
			return err
		}
	}
}

// adopt writes pages that were offered.
func (h *hydrator) adopt() error {
	for {
		select {
		case o := <-h.offers:
			h.offered.Add(-int64(len(o.page)))
			signal(h.room)
			if err := h.follow(); err != nil {
				return err
			}
			l := h.local()
			if int64(len(o.page)) != l.size {
				continue
			}
			already, err := l.write(o.key.epoch, o.key.pgno, []ltx.TXID{o.key.version}, o.page)
			if err != nil {
				return err
			}
			if o.compared && already == 0 {
				l.settleKey(o.key)
			}
		default:
			return nil
		}
	}
}

// begin sets the status of a hydration that goes on.
func (h *hydrator) begin(status HydrationStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = true
	h.problem = nil
	if h.status != status {
		h.status, h.since, h.already, h.step = status, time.Now(), h.bytes.Load(), 0
	}
	signal(h.wake)
}

// pauses notes why hydration does not go on for now. Failed changes the status,
// too: for trouble that somebody has to see to.
func (h *hydrator) pauses(failed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.problem == nil {
		h.db.log.Warn("hydration pauses", "error", err)
	}
	h.changed = true
	h.problem = err
	if failed {
		h.status = HydrationFailed
	}
	signal(h.wake)
}

// resumes ends a pause.
func (h *hydrator) resumes() {
	h.mu.Lock()
	paused, failed := h.problem != nil, h.status == HydrationFailed
	h.problem = nil
	h.mu.Unlock()
	if paused {
		h.db.log.Info("hydration goes on")
	}
	if failed {
		h.begin(HydrationRestoring)
	}
}

// fail ends hydration. Pages are remote from now on.
func (h *hydrator) fail(err error) {
	h.over.Store(true)
	signal(h.room)
	for len(h.offers) > 0 {
		<-h.offers // nobody else takes them now
	}
	h.mu.Lock()
	h.status, h.problem = HydrationFailed, err
	h.mu.Unlock()
	h.db.log.Error("hydration failed", "error", err)
	h.report()
}
