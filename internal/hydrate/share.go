package hydrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

const (
	// beatEvery is how often an owner says that it runs.
	beatEvery = time.Second

	// stoppedAfter is how long an owner does not say so until others take it for
	// stopped. A process that only waits for the processor or the disk runs sooner.
	stoppedAfter = 10 * time.Second

	// witnessLimit bounds how long storage is asked for the history of an owner.
	// Its answer is not needed, only of use.
	witnessLimit = 2 * time.Second
)

// errSuperseded means that another process has put another file in the place of
// the local file, because this process did not run for long.
var errSuperseded = errors.New("another process has taken over the local file")

// publish tells borrowers which view is held. The caller holds mu.
func (l *localPages) publish(v *view.View) {
	share := l.share.Load()
	if share == nil {
		return
	}
	p := pageshare.Published{TXID: v.TXID, MarkAt: l.file.MarkAt(), Total: l.total.Load()}
	for _, f := range recordFiles(v) {
		p.Anchors = append(p.Anchors, pageshare.Anchor(f))
	}
	slices.SortFunc(p.Anchors, func(a, b pageshare.Anchor) int { return cmp.Compare(b.MaxTXID, a.MaxTXID) })
	share.Publish(p)
}

// note tells borrowers how far the copy has come.
func (l *localPages) note() {
	l.share.Load().Note(pageshare.Progress{Pages: l.count.Load(), Total: l.total.Load(), Settled: l.isComplete()})
}

// dropWrong forgets every page, because pages may be wrong, and tells borrowers. A
// borrower that hears of it while the words are still there may read wrong pages once
// more before they are gone, so it is told again afterwards. The first call tells it
// even if this process is killed before the second one.
func (l *localPages) dropWrong() {
	l.share.Load().NoteWrong()
	l.drop()
	l.share.Load().NoteWrong()
}

// tableID returns what tells the file of a table from others.
func tableID(f *pagefile.File) pageshare.FileID {
	return pageshare.FileID{Mark: f.ID(), Number: f.Identity().InBoot()}
}

// claim opens the table of the local file, or makes one, and returns the pages that
// the last owner has left, if the host has not started anew since. The table stays
// as it is until own.
func (k *keeper) claim(l *localPages, v *view.View, r *Access, hasBorrowed bool) trustedPages {
	path, id := k.file.Path()+pageshare.Suffix, tableID(k.file)
	if k.marked {
		t, err := pageshare.Claim(path, id)
		if err == nil {
			if s, ok := t.Status(); ok && (s.State == pageshare.InUse || s.State == pageshare.Beginning) {
				l.share.Store(t)
				k.table = s.Generation
				return leftBy(t, v, r, hasBorrowed)
			}
			err = t.Close() // its last owner has given it up
		}
		k.log.Debug("the table of the hydration file is made anew", "file", path, "reason", err)
	}
	t, err := k.newTable(l, v.PageSize)
	switch {
	case err == nil:
		l.share.Store(t)
	case errors.Is(err, errors.ErrUnsupported):
	default:
		k.log.Warn("other processes cannot share the hydration file", "file", k.file.Path(), "error", err)
	}
	return trustedPages{}
}

// newTable makes a table of the local file, in place of one that may be there.
func (k *keeper) newTable(l *localPages, pageSize uint32) (t *pageshare.Table, err error) {
	path := k.file.Path()
	err = l.do("share", func() error {
		if err := canShare(path); err != nil {
			return err
		}
		t, err = pageshare.Create(path+pageshare.Suffix, tableID(k.file), pageSize, k.file.Handle())
		return err
	})
	return t, err
}

// canShare returns an error if processes of this host cannot share a file at a path.
// On a network file system, a lock and a memory map may be of one host only, or fail
// when the network does.
func canShare(path string) error {
	if err := pageshare.Supported(); err != nil {
		return err
	}
	if name := ownfile.Network(filepath.Dir(path)); name != "" {
		return fmt.Errorf("%w: it is on a network file system, %s", pageshare.ErrNotShared, name)
	}
	return nil
}

// own makes this process the owner of the table, before anything is done to the
// file.
func (k *keeper) own(l *localPages) {
	if err := l.share.Load().Own(uint32(l.size)); err != nil {
		k.log.Warn("other processes cannot share the hydration file", "file", k.file.Path(), "error", err)
	}
}

// leftBy returns the pages that an owner that has ended has left in the file and
// that are as in a view.
func leftBy(t *pageshare.Table, v *view.View, r *Access, mayAsk bool) trustedPages {
	s, ok := t.Status()
	if !ok || s.PageSize != v.PageSize || s.State != pageshare.InUse || t.Follow() != nil {
		return trustedPages{}
	}
	upTo := commonHistory(t, v, r, func(uint64) bool { return mayAsk }).upTo
	if upTo == 0 {
		return trustedPages{}
	}
	end := v.Pages.End()
	pages := trustedPages{set: view.NewBitmap(end), compared: view.NewBitmap(end)}
	v.Pages.EachMissing(nil, 1, v.Commit, func(pgno uint32, loc view.Loc) bool {
		version, compared := t.Word(pgno)
		if version == 0 || version > min(upTo, v.TXID) || loc.Version > upTo || v.IsDoubtful(max(version, loc.Version)) {
			return true
		}
		if pages.set.Set(pgno) {
			pages.n++
		}
		if compared && pages.compared.Set(pgno) {
			pages.covered++
		}
		return true
	})
	if pages.n == 0 {
		return trustedPages{}
	}
	return pages
}

// history is up to which transaction the owner of a table and this process have
// the same history.
type history struct {
	epoch      uint32
	generation uint64 // of the table
	turn       uint64 // of the anchors
	upTo       ltx.TXID
}

// commonHistory compares the files of the view of an owner with those of a view of
// this process. If that does not tell as much as it could, because the files were
// compacted in between, the replica may: it is asked if mayAsk allows that.
func commonHistory(t *pageshare.Table, v *view.View, r *Access, mayAsk func(generation uint64) bool) history {
	anchors, generation, turn, ok := t.Anchors()
	h := history{epoch: v.Epoch, generation: generation, turn: turn}
	if !ok {
		return history{}
	}
	mine := make(map[recordFile]bool)
	for _, f := range recordFiles(v) {
		mine[f] = true
	}
	best := ltx.TXID(0)
	var theirs []recordFile
	for _, a := range anchors {
		f := recordFile(a)
		if mine[f] {
			h.upTo = max(h.upTo, f.MaxTXID)
		}
		if f.MaxTXID <= v.TXID {
			best = max(best, f.MaxTXID)
		}
		theirs = append(theirs, f)
	}
	if h.upTo < best && mayAsk(generation) {
		upTo, _, err := r.witness(theirs, v, witnessLimit)
		if err == nil && r.isCurrent(v.Epoch) {
			h.upTo = max(h.upTo, upTo)
		}
	}
	return h
}

// begin says from now on that this process owns the file of l, and ends the use
// of the file if it does not any more.
func (s *sharing) begin(h *Hydrator, l *localPages) {
	share := l.share.Load()
	if share == nil {
		return
	}
	ctx, cancel := context.WithCancel(h.Tasks.Context())
	done := make(chan struct{})
	s.stop = func() { cancel(); <-done }
	failed := h.failed
	go func() {
		defer close(done)
		h.beat(ctx, share, failed)
	}()
}

// giveUp ends the use of the table of a file that could not be opened. A table that
// was made for that is removed. Another one stays for the next owner.
func (s *sharing) giveUp(l *localPages) error {
	var err error
	share := l.share.Load()
	if share.IsNew() {
		err = share.Remove()
	}
	return errors.Join(err, share.Close())
}

// end ends what begin has begun.
func (s *sharing) end() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// beat says that this process owns the local file until ctx is done, or another
// process has put another file in its place.
func (h *Hydrator) beat(ctx context.Context, t *pageshare.Table, failed chan<- error) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	last := int64(-1)
	for {
		state, used := t.Beat()
		if state == pageshare.Abandoned || h.isReplaced() {
			failed <- errSuperseded
			return
		}
		if used > last && last >= 0 && h.UsedElsewhere != nil {
			h.UsedElsewhere()
		}
		last = used
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// isReplaced reports whether another process has put another hydration file in
// the place of the one that this process has open.
func (h *Hydrator) isReplaced() bool {
	if h.file.IsThere() {
		return false
	}
	id, ok := pagefile.IDAt(h.file.Path())
	return ok && id != h.file.ID()
}
