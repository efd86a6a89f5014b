package write

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// surely is how long after a look at the replica no other writer can have
	// written to it unseen: that takes a file of level 0 to be compacted and
	// deleted.
	surely = 10 * time.Second

	// wholeLook is how long after a look at all levels a sync makes the next
	// one. Where the store lists all levels at once, a look costs no more
	// requests than a listing of level 0, so it comes after surely.
	wholeLook = time.Minute

	// listPage is how many files a store lists in one request, or about so. A
	// replica with more of them is looked at less often.
	listPage = 1000
)

// ErrWrongListing means that a listing lacks a file which can be read. Nothing
// is decided by such a listing; the sync is tried again.
var ErrWrongListing = errors.New("the listing of the replica is wrong")

// inspector looks at the replica for files of another writer, and for files
// that are missing. The goroutine that syncs uses it; confirm, Saw, OpenedWith,
// SecondLook and what it knows of files are safe for concurrent use.
type inspector struct {
	*Deps
	queue  *queue
	known  *knownFiles
	mender *mender

	// confirmed is when no other writer was known to have written.
	confirmed atomic.Pointer[time.Time]
}

func newInspector(deps *Deps, q *queue) *inspector {
	i := &inspector{Deps: deps, queue: q, known: q.known, mender: &mender{deps, q.known}}
	i.confirm(time.Now())
	return i
}

// confirm notes that at a time the newest state that we know was the newest.
func (i *inspector) confirm(t time.Time) { i.confirmed.Store(&t) }

// OpenedWith notes the files that a database was opened with.
func (i *inspector) OpenedWith(at time.Time, plan, listed []*ltx.FileInfo) {
	if i.Opts.Enabled {
		i.looked(at, plan, listed)
	}
	i.confirm(at)
}

// ConfirmEmpty looks in other ways whether a replica is empty, after a listing
// of all levels said so: level by level, and by reading the file that the first
// transaction of a database is in. If that is known by another name, only a
// listing tells.
func ConfirmEmpty(ctx context.Context, s *remote.Store) error {
	files, err := s.ListLevels(ctx, false)
	if err != nil {
		return err
	}
	first := view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}
	if len(files) > 0 {
		first = view.KeyOf(files[0])
	} else if err := s.Load(ctx, first, make([]byte, ltx.HeaderSize), 0); errs.IsMissing(err) {
		return nil
	} else if err != nil && !errors.Is(err, errs.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: it says that the replica is empty, and %s is there", ErrWrongListing, first)
}

// isSure reports whether no other writer can have written unseen since the
// replica was looked at. Not all clocks go on while a machine is suspended.
func (i *inspector) isSure() bool {
	at := *i.confirmed.Load()
	return time.Since(at) < surely && time.Now().Round(0).Sub(at.Round(0)) < surely
}

// IsLookDue reports whether the next look is to be one at all levels.
func (i *inspector) IsLookDue() bool {
	limit := wholeLook
	if i.Store.ListsAllAtOnce() {
		limit = surely
	}
	return i.known.isOlder(limit)
}

// lookAhead looks whether another writer has written beyond the state that a
// segment changes. It reports whether the file of the segment is there already:
// a sync may have failed after its upload, and others may have gone on from the
// file. That is for findOwn and verify to judge.
func (i *inspector) lookAhead(ctx context.Context, s *segment) (there bool, err error) {
	at, cur := time.Now(), i.Views.Current.Load()
	files, err := i.Store.ListAll(ctx, false)
	if err != nil {
		return false, err
	}
	if isIn(s.key(), files) {
		return true, nil
	}
	for _, f := range without(files, s.key(), i.known.mending()) {
		if f.MaxTXID >= s.txid() {
			return false, i.queue.lose(fmt.Errorf("%s is there", view.KeyOf(f)))
		}
	}
	if err := i.checkHistory(ctx, files); err != nil {
		return false, err
	}
	i.Saw(cur, files)
	i.confirm(at)
	return false, nil
}

// Saw compares a view with a listing of all levels that was made after it. If
// the files do not give the view, the next sync finds out why.
func (i *inspector) Saw(v *view.View, files []*ltx.FileInfo) {
	if i.queue.mode() != modeOn {
		return
	}
	if _, end := view.Extend(0, v.TXID, files); end != v.TXID {
		i.queue.Suspect()
	}
}

// lookAgain looks at all levels without a segment to upload.
func (i *inspector) lookAgain() error {
	ctx, cancel := i.Tasks.WithTimeout(i.Opts.ReadTimeout)
	defer cancel()
	if err := i.look(ctx); err != nil {
		return err
	}
	i.mender.settle(ctx)
	return nil
}

// look looks at all levels while there is nothing to upload.
func (i *inspector) look(ctx context.Context) error {
	at := time.Now()
	files, err := i.Store.ListAll(ctx, false)
	if err != nil {
		return err
	}
	cur := i.Views.Current.Load()
	if slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > cur.TXID }) {
		// Another writer has written, and nothing of ours is in its way.
		i.looked(at, nil, files)
		return i.Index.CatchUp(ctx)
	}
	if err := i.checkHistory(ctx, files); err != nil {
		return err
	}
	return i.checkWhole(ctx, at, nil, files)
}

// checkWhole looks whether the files that are listed give the newest state on
// the replica: that after a segment, which was just uploaded, or the current one
// if s is nil. If they do not, it fills the hole, or fails.
func (i *inspector) checkWhole(ctx context.Context, at time.Time, s *segment, files []*ltx.FileInfo) error {
	target := i.Views.Current.Load().TXID
	if s != nil {
		target = s.txid()
	}
	plan, end := view.Extend(0, target, files)
	if end != target {
		// Files that are compacted between the lists of two levels look like a gap.
		var err error
		if files, err = i.Store.ListLevels(ctx, false); err != nil {
			return err
		}
		plan, end = view.Extend(0, target, files)
	}
	if beyond := slices.IndexFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > target }); end != target && beyond >= 0 {
		// Another writer goes on while this one would make up for what is missing.
		return fmt.Errorf("%w, and %s is another writer's", gapAfter(end, target, files), view.KeyOf(files[beyond]))
	}
	if end != target {
		snapshot, err := i.mend(ctx, s, files, gapAfter(end, target, files))
		if err != nil {
			return err
		}
		plan = []*ltx.FileInfo{snapshot}
	}
	i.looked(at, plan, files)
	i.confirm(at)
	return nil
}

// gapAfter describes the gap that ends a plan which does not reach a transaction.
func gapAfter(end, target ltx.TXID, files []*ltx.FileInfo) error {
	next := target + 1
	for _, f := range files {
		if f.MaxTXID > end {
			next = min(next, f.MinTXID)
		}
	}
	return errs.Gap(end+1, next)
}

// looked notes that a look at all levels found the replica whole, and the files
// that give its newest state, of those that were listed.
func (i *inspector) looked(at time.Time, plan, listed []*ltx.FileInfo) {
	if i.known.looked(at, plan, listed) && i.queue.mode().hasBuffer() {
		i.Compact()
	}
}
