package hydrate

import (
	"errors"
	"fmt"
	"time"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

const (
	// lookEvery is how often a borrower looks whether the owner has ended, and
	// what it has published.
	lookEvery = 500 * time.Millisecond

	// newsEvery is how often a borrower looks whether the owner knows of new
	// transactions. That reads mapped memory.
	newsEvery = 100 * time.Millisecond

	// patienceForTable is how long a process waits for the table of a file that
	// another has locked. That may be a process that does not share it.
	patienceForTable = 10 * time.Second

	// patienceForHistory is how long a process waits for a view of an owner that
	// has anything in common with its own. The owner may copy another replica.
	patienceForHistory = 3 * time.Second

	// Bounds of the time after which storage is asked again for the history of an
	// owner.
	firstAskAgain = time.Second
	lastAskAgain  = time.Minute
)

// errOtherRole means that a process that has borrowed the local file is to be its
// owner, or uses a file of its own.
var errOtherRole = errors.New("the role has changed")

// sharing is what is left of one role for the next. Only the goroutine of run
// uses it.
type sharing struct {
	alone alone
	spare *sparePages // what a temporary file has; nil: none
	since time.Time   // when this process began to wait for something to borrow; zero: it does not
	asks  asks

	proved bool // a history was shared with an owner

	told ltx.TXID // newest transaction of an owner that this process was told to look for

	stalled stalled

	stop func() // ends saying that this process owns the file; nil: it does not

	begun *keeper    // of a file that this process has put in the place of another
	lent  *lentPages // the file that is borrowed, or that was replaced
}

// borrow reads from the file of another process until the database is closed, or
// this process is to do something else.
func (h *Hydrator) borrow() error {
	if err := h.opts.OnDisk.Do("borrow", func() error { return canShare(h.opts.Path) }); err != nil {
		return h.goAlone(err, mayOwn)
	}
	h.Tier.local.Store(nil)
	h.Tier.offers.refuse() // pages come to the file by its owner
	h.state.begin(h.opts.Mode.begins())
	h.report()
	recheck := make(chan struct{}, 1)
	ticker := time.NewTicker(newsEvery)
	defer ticker.Stop()
	for ticks := 0; ; {
		if ticks%(int(lookEvery/newsEvery)) == 0 {
			if err := h.look(recheck); err != nil {
				if h.sharing.begun == nil { // else its pages are still needed
					h.stopBorrowing()
				}
				return err
			}
		}
		select {
		case <-ticker.C:
			ticks++
			if l := h.sharing.lent; l != nil && h.tellNews(l) {
				ticks = 0
			}
		case <-h.Tier.wake:
			ticks = 0
		case <-recheck:
			ticks = 0
		case <-h.Tasks.Context().Done():
			h.stopBorrowing()
			return nil
		}
	}
}

// tellNews makes this process look for new transactions if the owner of the local
// file knows of some. It reports whether the owner has published another view
// since the histories were compared.
func (h *Hydrator) tellNews(l *lentPages) (changed bool) {
	status, ok := l.table.Status()
	common := l.common.Load()
	if !ok || common == nil || status.Generation != common.generation {
		return true
	}
	// The owner may copy another replica, which goes on after the same history. So
	// this process looks once for each of its transactions, and polls otherwise.
	if status.TXID > h.Views.Current.Load().TXID && status.TXID != h.sharing.told && h.News != nil {
		h.sharing.told = status.TXID
		h.News()
	}
	return status.Turn != common.turn
}

// look looks at the file of the other process once. It returns nil if this process
// goes on to borrow it or waits for it, and errOtherRole otherwise.
func (h *Hydrator) look(recheck chan struct{}) error {
	s := &h.sharing
	if s.lentIsWrong() {
		h.forgetLent()
	}
	if s.lent != nil && !s.lent.isThere() {
		h.stopBorrowing()
	}
	if s.since.IsZero() && s.lent == nil {
		s.since = time.Now()
	}
	if s.lent == nil {
		lent, err := openLent(h.opts.Path, h.Views, recheck)
		switch {
		case errors.Is(err, pageshare.ErrFormat), err != nil && time.Since(s.since) > patienceForTable:
			return h.goAlone(err, mayOwn|mayBorrow)
		case err != nil:
			return h.tryToOwn()
		}
		s.lent = lent
		h.Tier.lent.Store(lent)
	}
	if err := s.lent.file.TryLock(); err == nil {
		return errOtherRole // closing the file gives the lock back
	}
	h.tellUse(s.lent)
	status, ok := s.lent.compare(h.Access, s.asks.may)
	if !ok {
		h.stopBorrowing()
		return nil
	}
	switch {
	case status.State == pageshare.Withdrawn: // its owner may make another one soon
		if s.since.IsZero() {
			s.since = time.Now()
		}
		if time.Since(s.since) > patienceForTable {
			return h.goAlone(errors.New("its owner cannot write the table"), mayOwn|mayBorrow)
		}
		return nil
	case status.State == pageshare.Abandoned || s.stalled.is(status.Beat):
		if s.begun = h.supersede(s.lent, status); s.begun != nil {
			return errOtherRole
		}
		return nil
	}
	if common := s.lent.common.Load(); common != nil {
		s.since, s.proved = time.Time{}, true
		h.dropSpare()
		h.tellNews(s.lent)
	} else if !s.proved && status.State == pageshare.InUse && time.Since(s.since) > patienceForHistory {
		return h.goAlone(errors.New("it has nothing in common with this database"), mayBorrow)
	}
	if h.state.borrows(s.lent.isComplete(), status.Owner) {
		h.report()
	}
	return nil
}

// tryToOwn returns errOtherRole if the file at the path is not locked.
func (h *Hydrator) tryToOwn() error {
	file, err := pagefile.Open(h.opts.Path, hasRecord(h.opts.Path+recordSuffix))
	if errors.Is(err, pagefile.ErrLocked) {
		return nil
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("open hydration file: %w", err)
	}
	return errOtherRole
}

// stalled tells whether an owner has stopped.
type stalled struct {
	beat  int64     // when it last ran
	since time.Time // when this process has seen first that it did not run since for long
}

// is reports whether the owner, which has last run at a time, has stopped. This
// process must have seen that for a while: if it did not run itself, the owner may
// go on at the same time.
func (s *stalled) is(beat int64) bool {
	if pageshare.Now()-beat <= int64(stoppedAfter) {
		*s = stalled{}
		return false
	}
	if s.since.IsZero() || s.beat != beat {
		*s = stalled{beat, time.Now()}
	}
	return time.Since(s.since) >= 2*beatEvery
}

// asks bounds how often storage is asked for the history of an owner.
type asks struct {
	generation uint64 // of the table that it was asked for
	next       time.Time
	delay      time.Duration
}

// may reports whether storage is asked now.
func (a *asks) may(generation uint64) bool {
	if generation != a.generation {
		*a = asks{generation: generation}
	}
	if time.Now().Before(a.next) {
		return false
	}
	a.delay = min(max(2*a.delay, firstAskAgain), lastAskAgain)
	a.next = time.Now().Add(a.delay)
	return true
}

// lentIsWrong reports whether pages of the file that is borrowed were found to be wrong
// since the last call.
func (s *sharing) lentIsWrong() bool { return s.lent != nil && s.lent.turnedOutWrong() }

// forgetLent forgets what was read from the file of the other process.
func (h *Hydrator) forgetLent() {
	h.Log.Warn("pages of the shared local file were wrong; what was read from it is forgotten", "file", h.opts.Path)
	h.ForgetServed()
}

// stopBorrowing ends the use of the file of the other process. Its owner may have said
// just before it ended that pages were wrong, which nobody finds out later.
func (h *Hydrator) stopBorrowing() {
	h.Tier.lent.Store(nil)
	if h.sharing.lentIsWrong() && !h.Tasks.Closed() {
		h.forgetLent()
	}
	h.closeLent()
}

// closeLent closes the file of the other process.
func (h *Hydrator) closeLent() {
	l := h.sharing.lent
	if l == nil {
		return
	}
	h.Tier.lent.Store(nil)
	h.sharing.lent = nil
	if err := l.close(); err != nil {
		h.Log.Debug("close of a borrowed hydration file failed", "error", err)
	}
}

// supersede puts a new file in the place of one whose owner has stopped. Its owner
// may go on at any moment and finish a write, so that file must not be written by
// another process. It returns nil if another process does so or is quicker.
func (h *Hydrator) supersede(l *lentPages, seen pageshare.Status) *keeper {
	if !l.table.Elect() {
		return nil
	}
	defer l.table.EndElection()
	file, err := pagefile.CreateMarked(h.opts.Path, l.file, func() error {
		now, ok := l.table.Status()
		if !ok || !l.isThere() || now.Beat != seen.Beat || now.Generation != seen.Generation {
			return errOtherRole
		}
		l.table.Abandon()
		return nil
	})
	if err != nil {
		if !errors.Is(err, errOtherRole) {
			h.Log.Warn("the process that owns the hydration file has stopped, and the file cannot be replaced",
				"file", h.opts.Path, "owner", seen.Owner, "error", err)
		}
		return nil
	}
	h.Log.Warn("the process that owns the hydration file has stopped; this one takes over with a new file",
		"file", h.opts.Path, "owner", seen.Owner)
	return &keeper{log: h.Log, fresh: h.Fresh, replica: h.opts.Replica, path: h.opts.Path + recordSuffix, file: file, marked: true}
}

// salvage copies the pages of the file that was used before, or replaced, to the new
// one, until the database is closed.
func (s *sharing) salvage(l *localPages, v *view.View, closed func() bool) error {
	if s.lent == nil && s.spare == nil {
		return nil
	}
	page := make([]byte, l.size)
	var failed error
	v.Pages.EachMissing(l.held.Load().present, 1, v.Commit, func(pgno uint32, loc view.Loc) bool {
		switch key := (pages.Key{Epoch: v.Epoch, Pgno: pgno, Version: loc.Version}); {
		case s.lent != nil && s.lent.read(v, pgno, page):
			_, failed = l.write(v.Epoch, pgno, []ltx.TXID{loc.Version}, page)
		case s.spare.read(v, pgno, page):
			if _, failed = l.write(v.Epoch, pgno, []ltx.TXID{loc.Version}, page); failed == nil {
				s.spare.settle(l, key)
			}
		}
		return failed == nil && !closed()
	})
	return failed
}

// isSuperseded reports whether another process has put another file in the place
// of the local one.
func (h *Hydrator) isSuperseded(l *localPages) bool {
	share := l.share.Load()
	if share == nil {
		return false
	}
	s, ok := share.Status()
	return ok && s.State == pageshare.Abandoned || h.isReplaced()
}

// progress tells how far the owner of the file has come.
func (l *lentPages) progress(p *Progress) {
	s, ok := l.table.Status()
	if !ok {
		return
	}
	p.File, p.Owner = l.file.Path(), s.Owner
	p.Pages, p.TotalPages = s.Progress.Pages, s.Progress.Total
	if p.TotalPages > 0 {
		p.Progress = min(100*float64(p.Pages)/float64(p.TotalPages), mostProgress)
	}
	switch {
	case p.Status == Complete && l.isComplete():
		p.Progress = 100
	case p.Status == Complete:
		p.Status = CatchingUp
	}
}
