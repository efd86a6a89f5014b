package hydrate

import (
	"errors"
	"time"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// reviewEvery is how often an owner looks whether its table is still there.
	// Borrowers wait longer for it.
	reviewEvery = patienceForTable / 2

	// Bounds of the time after which a process with a temporary file looks again
	// whether it can use the file at the path. That reads local files only, unless
	// the histories have to be compared.
	firstLookAgain = 30 * time.Second
	lastLookAgain  = 10 * time.Minute
)

// returns says how a process that uses a temporary file may come back to the file at
// the path.
type returns int

const (
	mayOwn    returns = 1 << iota // if no process has locked it
	mayBorrow                     // if its owner lends it
)

// alone is the state of a process that uses a temporary file, because it could not
// share the one at the path.
type alone struct {
	how   returns // 0: it does not
	next  time.Time
	delay time.Duration // until next
}

func (a *alone) is() bool { return a.how != 0 }

// begin begins to use a temporary file. A process that has just come back, and finds
// that it cannot share the file after all, waits longer than the last time.
func (a *alone) begin(how returns) {
	a.how = how
	a.wait()
}

// wait sets when to look again.
func (a *alone) wait() {
	a.delay = min(max(2*a.delay, firstLookAgain), lastLookAgain)
	a.next = time.Now().Add(a.delay)
}

// goAlone makes this process use a temporary file, until it may come back.
func (h *Hydrator) goAlone(why error, how returns) error {
	h.Log.Warn("the hydration file is in use by another database or process, and cannot be shared; a temporary one is used",
		"file", h.opts.Path, "reason", why)
	h.sharing.alone.begin(how)
	return errOtherRole
}

// reviewSharing returns errOtherRole if this process has a temporary file, and can
// use the one at the path now. An owner whose table was lost makes another one.
func (h *Hydrator) reviewSharing() error {
	a := &h.sharing.alone
	switch {
	case h.keeper != nil:
		h.shareAgain()
		return nil
	case !a.is() || time.Now().Before(a.next):
		return nil
	case !h.canReturn(a.how):
		a.wait()
		return nil
	}
	h.Log.Info("the hydration file can be shared now, the temporary one is given up", "file", h.opts.Path)
	a.how = 0
	h.sharing.since = time.Time{}
	return errOtherRole
}

// canReturn reports whether this process can own the file at the path, or borrow it.
// It does not borrow a file that has fewer pages than its own.
func (h *Hydrator) canReturn(how returns) bool {
	if how&mayOwn != 0 {
		if err := h.tryToOwn(); err != nil {
			return errors.Is(err, errOtherRole)
		}
	}
	if how&mayBorrow == 0 {
		return false
	}
	lent, err := openLent(h.opts.Path, h.Views, make(chan struct{}, 1))
	if err != nil {
		return false
	}
	defer func() { _ = lent.close() }() // only read
	s, ok := lent.compare(h.Access, h.sharing.asks.may)
	return ok && s.State == pageshare.InUse && lent.common.Load() != nil &&
		pageshare.Now()-s.Beat <= int64(stoppedAfter) && s.Progress.Pages >= h.local().count.Load()
}

// shareAgain makes another table of the local file if the one that borrowers read was
// removed or cut off, or could not be written.
func (h *Hydrator) shareAgain() {
	l := h.local()
	old, v := l.share.Load(), l.view()
	if v == nil || isSparse(v) || old.IsIntact() || !h.file.IsThere() {
		return
	}
	h.sharing.end() // the new table ends the use of the old one
	defer func() { h.sharing.begin(h, l) }()
	var t *pageshare.Table
	err := old.Unlink() // what is in it may not look like a table any more
	if err == nil {
		t, err = h.keeper.newTable(l, v.PageSize)
	}
	if err == nil {
		if err = l.lendWith(t); err != nil {
			err = errors.Join(err, t.Remove(), t.Close())
		}
	}
	if err != nil {
		h.Log.Debug("other processes still cannot share the hydration file", "file", h.opts.Path, "error", err)
		return
	}
	if err := old.Close(); err != nil {
		h.Log.Debug("close of a table failed", "error", err)
	}
	l.note()
	h.tellPolled()
	h.Log.Info("other processes can share the hydration file again", "file", h.opts.Path)
}

// lendWith lends the pages that are present with another table, in place of the one
// of before.
func (l *localPages) lendWith(t *pageshare.Table) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held.Load()
	if held == nil {
		return errNotHere
	}
	t.Moved(l.file.MarkAt())
	if err := t.Room(held.view.Pages.End()); err != nil {
		return err
	}
	held.lend(t)
	old := l.share.Load()
	old.Withdraw() // a process that has it mapped may look for another one long after a page has changed
	if err := old.Err(); err != nil {
		return err
	}
	l.share.Store(t)
	l.publish(held.view)
	return nil
}

// sparePages are what a temporary file has that is not used any more. Nil has none.
type sparePages struct {
	pages *localPages
	file  *pagefile.File
}

// read fills p with a page of a view, and reports whether it is here.
func (s *sparePages) read(v *view.View, pgno uint32, p []byte) bool {
	return s != nil && int64(len(p)) == s.pages.size && s.pages.read(v, pgno, p) == nil
}

// settle settles a page of l that has come from here if it is settled here.
func (s *sparePages) settle(l *localPages, key pages.Key) {
	if held := s.pages.held.Load(); held.hasKey(key) && held.settled.Has(key.Pgno) {
		l.settleKey(key, held.compared.Has(key.Pgno))
	}
}

// isComplete reports whether every page of a view is here.
func (s *sparePages) isComplete(v *view.View) bool {
	return s != nil && s.pages.view() == v && s.pages.missing() == 0
}

// dropSpare ends the use of a temporary file.
func (h *Hydrator) dropSpare() {
	s := h.sharing.spare
	if s == nil {
		return
	}
	h.sharing.spare = nil
	s.pages.drop()
	if err := s.file.Close(); err != nil {
		h.Log.Debug("close of a temporary hydration file failed", "error", err)
	}
}

// endSharing closes what one role has left for the next.
func (h *Hydrator) endSharing() {
	h.stopBorrowing()
	h.dropSpare()
	if k := h.sharing.begun; k != nil {
		h.sharing.begun = nil
		if err := k.close(); err != nil {
			h.Log.Debug("close of a hydration file failed", "error", err)
		}
	}
}
