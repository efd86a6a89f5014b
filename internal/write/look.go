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
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// surely is the time after a look at the replica in which no other writer can
	// have written unseen. Until then its file of level 0 cannot have been
	// compacted and deleted.
	surely = 10 * time.Second

	// wholeLook is the time between two looks at all levels by syncs. Where the
	// store lists all levels at once, a look costs no more requests than a listing
	// of level 0, so the time is surely.
	wholeLook = time.Minute

	// listPage is about the number of files that a store lists in one request. A
	// replica with more files is looked at less often.
	listPage = 1000
)

// ErrWrongListing means that a listing lacks a file that can be read. Such a
// listing decides nothing, and the sync is tried again.
var ErrWrongListing = errors.New("the listing of the replica is wrong")

// inspector looks for files of another writer on the replica, and for missing
// files. The goroutine that syncs uses it. Methods that other goroutines call are
// safe for concurrent use: confirm, Saw, OpenedWith, IsLookDue, SecondLook and
// those of known.
type inspector struct {
	*Deps
	queue  *queue
	known  *knownFiles
	mender *mender

	// confirmed is the last time at which the newest known state was the newest
	// state on the replica.
	confirmed atomic.Pointer[time.Time]
}

func newInspector(deps *Deps, q *queue) *inspector {
	i := &inspector{Deps: deps, queue: q, known: q.known, mender: &mender{deps, q.known}}
	i.confirm(time.Now())
	return i
}

// confirm records that the newest known state was the newest one at time t.
func (i *inspector) confirm(t time.Time) { i.confirmed.Store(&t) }

// OpenedWith records the files that the database was opened with: plan gives the
// newest state, and listed are all files of the listing.
func (i *inspector) OpenedWith(at time.Time, plan, listed []*ltx.FileInfo) {
	if i.Opts.Enabled {
		i.looked(at, plan, listed)
	}
	i.confirm(at)
}

// ConfirmEmpty checks that a replica is empty, after a listing of all levels was
// empty: it lists level by level, and reads the file that the first transaction of
// a database is in. Files of other names are found by the listings only.
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
	return fmt.Errorf("%w: it is empty, but %s exists", ErrWrongListing, first)
}

// isSure reports whether no other writer can have written unseen since the last
// look at the replica.
func (i *inspector) isSure() bool { return task.Elapsed(*i.confirmed.Load()) < surely }

// IsLookDue reports whether it is time to list all levels again.
func (i *inspector) IsLookDue() bool {
	limit := wholeLook
	if i.Store.ListsAllAtOnce() {
		limit = surely
	}
	return i.known.isOlder(limit)
}

// lookAhead ends write mode if another writer has written after the state that a
// segment changes. It reports whether a file of the segment's name exists already:
// a sync may have failed after its upload, and other writers may have continued
// from that file. findOwn and verify decide such cases.
func (i *inspector) lookAhead(ctx context.Context, s *segment) (there bool, err error) {
	at, cur := time.Now(), i.Views.Current.Load()
	files, err := i.Store.ListAll(ctx, false)
	if err != nil {
		return false, err
	}
	if isIn(s.key(), files) {
		return true, nil
	}
	why, err := i.overtaken(ctx, s, files)
	if err != nil {
		return false, err
	}
	if why != nil {
		// The listing may lack a file that this process has made before, and has to
		// take back.
		switch err := i.Store.Load(ctx, s.key(), make([]byte, ltx.HeaderSize), 0); {
		case err == nil, errors.Is(err, errs.ErrCorrupt):
			return true, nil
		case !errs.IsMissing(err):
			return false, err
		}
		return false, i.queue.lose(why)
	}
	i.Saw(cur, files)
	i.confirm(at)
	return false, nil
}

// overtaken returns in why the reason that listed files leave no place for the file
// of a segment, nil if there is none.
func (i *inspector) overtaken(ctx context.Context, s *segment, files []*ltx.FileInfo) (why, err error) {
	for _, f := range without(files, s.key(), i.known.mending()) {
		if f.MaxTXID >= s.txid() {
			return fmt.Errorf("%s exists", view.KeyOf(f)), nil
		}
	}
	if other, err := i.isOtherHistory(ctx, files); err != nil || !other {
		return nil, err
	}
	return errOtherHistory, nil
}

// Saw compares view v with a listing of all levels that was made after it. If the
// files do not give the view, the next sync looks for missing files.
func (i *inspector) Saw(v *view.View, files []*ltx.FileInfo) {
	if i.queue.mode() != modeOn {
		return
	}
	if _, end := view.Extend(0, v.TXID, files); end != v.TXID {
		i.queue.Suspect()
	}
}

// lookAgain looks at all levels when there is no segment to upload, with the time
// limit of a sync.
func (i *inspector) lookAgain() error {
	ctx, cancel := i.Tasks.WithTimeout(i.Opts.ReadTimeout)
	defer cancel()
	if err := i.look(ctx); err != nil {
		return err
	}
	i.mender.settle(ctx)
	return nil
}

// look looks at all levels when there is no segment to upload.
func (i *inspector) look(ctx context.Context) error {
	at := time.Now()
	files, err := i.Store.ListAll(ctx, false)
	if err != nil {
		return err
	}
	cur := i.Views.Current.Load()
	if slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > cur.TXID }) {
		// Another writer has written, and no commit of ours conflicts with that.
		i.looked(at, nil, files)
		return i.Index.CatchUp(ctx)
	}
	if err := i.checkHistory(ctx, files); err != nil {
		return err
	}
	looks := looks{files}
	if looks.gap(cur.TXID) != nil {
		again, err := i.Store.ListLevels(ctx, false)
		if err != nil {
			return err
		}
		looks = append(looks, again)
	}
	return i.checkWhole(ctx, at, nil, looks)
}

// looks are listings of all levels, the oldest first. There is a second one if the
// first raised doubts: files that are compacted between the lists of two levels
// look like a gap.
type looks [][]*ltx.FileInfo

// gap returns an error that names the gap of the first listing that does not give
// the state after a transaction, nil if each listing gives it.
func (l looks) gap(txid ltx.TXID) error {
	for _, files := range l {
		if _, end := view.Extend(0, txid, files); end != txid {
			return gapAfter(end, txid, files)
		}
	}
	return nil
}

// beyond returns a listed file with transactions after txid, nil if there is none.
func (l looks) beyond(txid ltx.TXID) *ltx.FileInfo {
	for _, files := range l {
		if n := slices.IndexFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > txid }); n >= 0 {
			return files[n]
		}
	}
	return nil
}

// isTorn reports whether the files of all listings together have a transaction that
// does not follow from the first one.
func (l looks) isTorn() bool {
	files := l.union()
	newest := ltx.TXID(0)
	for _, f := range files {
		newest = max(newest, f.MaxTXID)
	}
	_, end := view.Extend(0, newest, files)
	return end != newest
}

// union returns the files that any of the listings has.
func (l looks) union() []*ltx.FileInfo {
	files := l[0]
	for _, again := range l[1:] {
		have := fileSet(files)
		files = append(slices.Clip(files), slices.DeleteFunc(slices.Clone(again), func(f *ltx.FileInfo) bool { return have[view.KeyOf(f)] != nil })...)
	}
	return files
}

// checkWhole checks that the listed files give the newest state: the one after
// segment s, which was just uploaded, or the current one if s is nil. If they do
// not, it fills the hole or returns an error.
func (i *inspector) checkWhole(ctx context.Context, at time.Time, s *segment, looks looks) error {
	target := i.Views.Current.Load().TXID
	if s != nil {
		target = s.txid()
	}
	gap, beyond := looks.gap(target), looks.beyond(target)
	if gap != nil && beyond != nil {
		// Another writer continues while this one would fill the hole, or has made the
		// transaction before, in a file that one of the listings lacks.
		return fmt.Errorf("%w, and another writer has made %s", gap, view.KeyOf(beyond))
	}
	files := looks[len(looks)-1]
	plan, end := view.Extend(0, target, files)
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

// gapAfter returns the error for a plan that ends before its target.
func gapAfter(end, target ltx.TXID, files []*ltx.FileInfo) error {
	next := target + 1
	for _, f := range files {
		if f.MaxTXID > end {
			next = min(next, f.MinTXID)
		}
	}
	return errs.Gap(end+1, next)
}

// looked records that a look at all levels found the replica whole. Plan holds
// those of the listed files that give its newest state.
func (i *inspector) looked(at time.Time, plan, listed []*ltx.FileInfo) {
	if i.known.looked(at, plan, listed) && i.queue.mode().hasBuffer() {
		i.Compact()
	}
}
