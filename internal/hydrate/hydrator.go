// Package hydrate copies a database to a local file in the background, keeps up
// with it, and serves its pages as a tier from the moment they are there. The
// file survives restarts with a record of what it holds.
package hydrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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

// Hydrator copies the database to a local file in the background, only the
// newest page versions, and keeps up with it. Queries read from the file
// through its tier. Its goroutines end with the database.
type Hydrator struct {
	*Access
	opts   Options
	Tier   *Tier
	state  *hydrationState
	copier *copier
	polled atomic.Pointer[polled] // the last poll that found nothing newer; nil: none

	// Used by run only.
	file     *pagefile.File
	keeper   *keeper    // makes a file at an explicit path survive restarts; nil for a temporary one
	failed   chan error // holds why the use of the file ends
	sharing  sharing
	recalled *Recalled // a state that storage need not confirm; nil: none
	isOpen   bool      // OpenRecalled has opened the file
}

// Mode says which pages come to the local file.
type Mode string

// The modes of a hydration.
const (
	All   Mode = "all"   // every page of the newest view
	Pages Mode = "pages" // those that queries fetch
)

// begins returns the status of a hydration that has just begun.
func (m Mode) begins() Status {
	if m == Pages {
		return OnDemand
	}
	return Restoring
}

// Options are the options of hydration.
type Options struct {
	Name        string        // of the database
	Mode        Mode          // which pages come to the local file
	Path        string        // of the local file; empty: a temporary one
	Replica     string        // identity of the replica, without secrets; empty: not known
	Concurrency int           // requests at a time
	RateLimit   int64         // bytes a second; 0: none
	ReadTimeout time.Duration // how long a request may bring no bytes; negative: no limit

	OnProgress func(Progress) // nil: not called
	OnDisk     diskhook.Hook  // called before and after disk operations; nil: not called
}

// Access is what hydration uses of a database and its replica.
type Access struct {
	Log     *slog.Logger
	Tasks   *task.Group
	Store   *remote.Store
	Views   *view.Views
	Buffers *pages.BufferPool // for compressed frames

	// Refresh brings the current view up to date with the replica.
	Refresh func(context.Context)

	// RefreshAnew is Refresh with a listing that begins after the call. It
	// returns the files of the replica, or nil if they are not known. The error
	// may be set in both cases.
	RefreshAnew func(context.Context) ([]*ltx.FileInfo, error)

	// EpochOf returns the epoch of files that were listed after the view before
	// was the current one.
	EpochOf func(ctx context.Context, before *view.View, files []*ltx.FileInfo) (uint32, error)

	// Fresh returns when the current view was last known to be the newest.
	Fresh func() time.Time

	// Distrust ends the use of a file whose content does not have its checksum.
	Distrust func(f *view.File, problem error)

	// UsedElsewhere is called about every second in which another process that
	// shares the local file has read the database. It may be nil.
	UsedElsewhere func()

	// News is called when the process that owns the local file knows of newer
	// transactions than this one. It may be nil.
	News func()

	// LastUse tells when a transaction of this process last ran. It may be nil.
	LastUse func() time.Time

	// ForgetServed is called when pages were wrong. It drops the pages of all
	// tiers, and makes SQLite drop its cache.
	ForgetServed func()
}

// isCurrent reports whether an epoch is that of the current view. Bytes that are
// read after the epoch has ended may be of another history.
func (r *Access) isCurrent(epoch uint32) bool { return epoch == r.Views.Epoch() }

const (
	// patience is how long hydration gives way to queries at a time.
	patience = 200 * time.Millisecond

	// Bounds of the delay after a transient error.
	firstHydrationDelay = time.Second
	lastHydrationDelay  = 30 * time.Second
)

// New returns a hydrator. It does nothing before Start.
func New(r *Access, opts Options) *Hydrator {
	tier := newLocalTier(r.Tasks.Closed, opts.Mode)
	state := newHydrationState(r.Log, tier.wake, opts.Mode.begins())
	return &Hydrator{
		Access: r,
		opts:   opts,
		Tier:   tier,
		state:  state,
		copier: newCopier(r, opts, tier, state),
	}
}

// Start begins to hydrate.
func (h *Hydrator) Start() { h.Tasks.Go(h.run) }

// Progress tells how far hydration has come. A nil hydrator is idle.
func (h *Hydrator) Progress() Progress {
	if h == nil {
		return Progress{Status: Idle}
	}
	p := progressOf(h.opts.Name, h.state, h.local())
	if l := h.Tier.lent.Load(); l != nil && h.local() == nil {
		l.progress(&p)
	}
	return p
}

// report calls OnProgress. Only the goroutine of run calls it, so calls do not
// overlap.
func (h *Hydrator) report() {
	var err error
	defer task.Guard(h.Log, "OnHydrationProgress", &err)
	if fn := h.opts.OnProgress; fn != nil {
		fn(h.Progress())
	}
}

// View returns the view whose pages are copied to the local file. It returns nil
// before hydration begins and after the pages were dropped.
func (h *Hydrator) View() *view.View {
	if l := h.local(); l != nil {
		return l.view()
	}
	return nil
}

// local returns the pages of the local file, nil before there is one.
func (h *Hydrator) local() *localPages { return h.Tier.local.Load() }

// run hydrates until the database is closed, or something fails for good.
func (h *Hydrator) run() {
	defer h.endSharing()
	for again := false; ; {
		err := h.hydrate()
		if h.Tasks.Closed() {
			return
		}
		if errors.Is(err, errLocalWrong) {
			h.ForgetServed()
		}
		if errors.Is(err, errOtherRole) {
			continue
		}
		if errors.Is(err, errSuperseded) {
			h.Log.Warn("another process has taken over the hydration file, because this one did not run for long", "file", h.opts.Path)
			continue
		}
		if errors.Is(err, errLocalWrong) && !again {
			again = true
			h.Log.Warn("hydration starts over", "reason", err)
			continue
		}
		if errors.Is(err, errs.ErrCorrupt) || !errs.IsDiskFull(err) && !errors.Is(err, errUnknown) {
			h.Tier.offers.refuse()
			h.state.fail(err)
			h.report()
			return
		}
		h.Tier.offers.set(offersPaused)
		if errs.IsDiskFull(err) {
			h.state.pauseFailed(err)
		} else {
			h.state.pause(err)
		}
		h.report()
		if !sleep(h.Tasks.Context(), lastHydrationDelay) {
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
func (h *Hydrator) hydrate() (err error) {
	defer task.Guard(h.Log, "hydration", &err)
	if !h.isOpen {
		err = h.open()
	}
	h.isOpen = false
	if errors.Is(err, pagefile.ErrLocked) {
		return h.borrow()
	}
	if err != nil {
		return err
	}
	failed := h.failed
	defer func() { err = h.close(withAll(err, failed)) }()
	h.state.begin(h.opts.Mode.begins())
	ctx, stop := context.WithCancel(h.Tasks.Context())
	var copying sync.WaitGroup
	if h.opts.Mode != Pages {
		copying.Go(func() {
			var err error
			defer func() { failed <- err }()
			defer task.Guard(h.Log, "hydration", &err)
			err = h.copier.copyAll(ctx)
		})
	}
	defer copying.Wait()
	defer stop()
	return h.keepUp(ctx, failed)
}

// withAll returns err with the errors that wait in failed. Whatever ends the use of a
// file first, another goroutine may have found meanwhile that its pages are wrong. Its
// other errors are of no interest if err is nil, because the database is closed then.
func withAll(err error, failed <-chan error) error {
	for {
		select {
		case also := <-failed:
			if err != nil || errors.Is(also, errLocalWrong) {
				err = errors.Join(err, also)
			}
		default:
			return err
		}
	}
}

// open opens the local file, with the pages that an earlier process left in
// it.
func (h *Hydrator) open() (err error) {
	select {
	case <-h.Tier.broken: // of the file before
	default:
	}
	// All of this is about one view: the next may have pages of another size.
	v := h.Views.Current.Load()
	if err := h.openFile(); err != nil {
		return fmt.Errorf("open hydration file: %w", err)
	}
	l := newLocalPages(h.file, v.PageSize, h.opts.OnDisk)
	isOpen := false
	defer func() { // also after a panic: other processes would wait for this one for ever
		if !isOpen {
			h.Tier.local.Store(nil)
			h.sharing.end()
			err = errors.Join(err, h.sharing.giveUp(l), h.closeFile())
		}
	}()
	h.failed = make(chan error, 2)
	if h.keeper != nil {
		left := h.keeper.claim(l, v, h.Access, h.sharing.proved)
		h.sharing.begin(h, l)
		err = h.keeper.resume(l, v, h.Access, left, h.sharing.proved, h.sharing.spare.isComplete(v), h.recalled)
	} else {
		err = l.hold(v)
	}
	if err != nil {
		return err
	}
	h.recalled = nil // the next file is not that of the record
	if h.sharing.lentIsWrong() {
		h.closeLent()  // none of its pages is copied
		h.forgetLent() // before the local file, which this would drop, is in use
	}
	h.Tier.local.Store(l)
	if err := h.sharing.salvage(l, v, h.Tasks.Closed); err != nil {
		h.Log.Warn("not every page of the hydration file that was replaced could be used", "file", h.opts.Path, "error", err)
	}
	if h.sharing.lentIsWrong() {
		h.closeLent()
		l.dropWrong() // other processes may have read what was copied
		return fmt.Errorf("%w: pages were copied from a file that has wrong ones", errLocalWrong)
	}
	isOpen = true
	h.closeLent()
	h.dropSpare()
	return nil
}

// closeFile closes the local file, and its record if it has one.
func (h *Hydrator) closeFile() error {
	if h.keeper != nil {
		return h.keeper.close()
	}
	return h.file.Close()
}

// openFile opens the file at the path of the options, or a temporary one. The
// error is pagefile.ErrLocked if another process has the file at the path, which
// it may share.
func (h *Hydrator) openFile() (err error) {
	h.file, h.keeper = nil, nil
	switch path := h.opts.Path; {
	case h.sharing.begun != nil:
		h.keeper, h.sharing.begun = h.sharing.begun, nil
		h.file = h.keeper.file
		return nil
	case path != "" && !h.sharing.alone.is():
		h.file, h.keeper, err = openKept(path, h.opts.Replica, h.Log, h.Fresh)
		return err
	}
	h.file, err = pagefile.CreateTemp()
	return err
}

// close ends the use of the local file. Problem is why, nil if the database is
// closed.
func (h *Hydrator) close(problem error) error {
	// Nothing takes offers before the next file is open, which may wait for requests
	// behind those that offer pages.
	h.Tier.offers.set(offersPaused)
	l := h.local()
	h.sharing.end()
	err := problem
	wrong := errors.Is(problem, errs.ErrCorrupt) || errors.Is(problem, errLocalWrong) // pages may be wrong
	switch {
	case h.keeper == nil && errors.Is(problem, errOtherRole) && !wrong:
		h.sharing.spare = &sparePages{l, h.file}
		return problem
	case h.keeper == nil:
	case problem != nil && h.isSuperseded(l):
		err = errors.Join(errSuperseded, problem)
		if wrong {
			l.dropWrong()
		}
		_ = l.share.Load().Close() // the process that has taken over may still copy pages by it
	case wrong:
		l.dropWrong()
		// If the record cannot be replaced, it is refused because the pages are
		// gone.
		err = errors.Join(problem, h.file.Reset(), h.keeper.discard(l))
	case problem == nil:
		h.keeper.closing = true
		err = h.keeper.checkpoint(l)
		l.note()
		err = errors.Join(err, l.share.Load().Close()) // the next owner goes on with what it says
	}
	l.drop()
	return errors.Join(err, l.share.Load().Close(), h.closeFile())
}

// keepUp follows the newest view and writes the pages that are offered, until
// copying fails or ctx is done.
func (h *Hydrator) keepUp(ctx context.Context, failed <-chan error) error {
	var retry <-chan time.Time // nil unless the disk was full
	due := time.NewTimer(0)    // for the next checkpoint
	defer due.Stop()
	var review <-chan time.Time // of how the file is shared
	if h.opts.Path != "" {
		ticker := time.NewTicker(reviewEvery)
		defer ticker.Stop()
		review = ticker.C
	}
	for {
		select {
		case err := <-h.Tier.broken:
			return err
		case <-retry:
			retry = nil
			h.state.resume()
		default:
		}
		if retry == nil {
			err := h.maintain()
			if err != nil && (!errs.IsDiskFull(err) || errors.Is(err, errUnsynced)) {
				return err
			}
			if err != nil {
				h.state.pauseFailed(err)
				retry = time.After(lastHydrationDelay)
			}
		}
		if retry != nil {
			h.Tier.offers.set(offersPaused)
		} else {
			h.Tier.offers.set(offersTaken)
		}
		h.local().note()
		h.tellPolled()
		if h.state.update(h.local()) {
			h.report()
		}
		task.Signal(h.copier.work)
		due.Stop()
		if h.keeper != nil && retry == nil && h.keeper.isBehind(h.local()) {
			due.Reset(time.Until(h.keeper.written.Add(checkpointEvery)))
		}
		select {
		case <-h.Tier.wake:
		case <-due.C:
		case <-review:
			if err := h.reviewSharing(); err != nil {
				return err
			}
		case <-retry:
			retry = nil
			h.state.resume()
		case err := <-failed:
			return err
		case err := <-h.Tier.broken:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// maintain does what there is to do now.
func (h *Hydrator) maintain() error {
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
func (h *Hydrator) follow() error {
	for {
		l, cur := h.local(), h.Views.Current.Load()
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
func (h *Hydrator) restart(l *localPages, cur *view.View) error {
	if h.keeper != nil {
		if err := h.keeper.discard(l); err != nil {
			return err
		}
	}
	l.drop()
	if err := h.file.Reset(); err != nil {
		return err
	}
	share := l.share.Load()
	l = newLocalPages(h.file, cur.PageSize, h.opts.OnDisk)
	l.share.Store(share)
	h.Tier.local.Store(l)
	err := l.hold(cur)
	if err != nil {
		h.Tier.broke(l, err) // it holds nothing, so trying that again is of no use
	}
	return err
}

// adopt writes the pages that were offered.
func (h *Hydrator) adopt() error {
	for {
		o, ok := h.Tier.offers.take()
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
			l.settleKey(o.key, true)
		}
	}
}
