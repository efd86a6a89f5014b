package litestream

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// Find returns another location of a page. The file of the location lost was
// deleted by the primary's retention. A file of a higher level may have the
// same content, if it ends at a transaction up to which the page did not
// change.
func (x *index) Find(ctx context.Context, v *view.View, pgno uint32, lost view.Loc) (view.Loc, error) {
	if loc, ok := x.Known(v, pgno, lost.Version); ok {
		return loc, nil
	}
	seen := x.refresh(ctx)
	files, problem := seen.files, seen.err()
	if files == nil {
		return view.Loc{}, fmt.Errorf("%s was deleted: %w", lost.File, problem)
	}
	// A problem with the newest files need not affect this state.
	gone := func() error {
		return errors.Join(fmt.Errorf("read page %d as of transaction %s: %w: %s was deleted", pgno, v.TXID, errs.ErrStateGone, lost.File), problem)
	}
	if v.Epoch != x.Current.Load().Epoch {
		return view.Loc{}, gone()
	}
	lost.File.SetGone(!view.IsListed(lost.File, files))
	if loc, ok := x.Known(v, pgno, lost.Version); ok {
		return loc, nil
	}
	// The page has changed since. Only a file that ends between the version of
	// the page and the view's transaction can hold it.
	for _, info := range files {
		if info.MinTXID > lost.Version || info.MaxTXID < lost.Version || info.MaxTXID > v.TXID || x.Current.Load().IsDoubtful(info.MaxTXID) {
			continue
		}
		if err := x.moveTo(ctx, v, info); err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		if loc, ok := x.Known(v, pgno, lost.Version); ok {
			return loc, nil
		}
	}
	// Other files may still give the whole state.
	if plan, err := view.PlanTXID(0, v.TXID, files); err == nil && !hasDoubtful(x.Current.Load(), plan) {
		problem = errors.Join(problem, x.rebuild(ctx, v, plan))
		if loc, ok := x.Known(v, pgno, lost.Version); ok {
			return loc, nil
		}
	}
	return view.Loc{}, gone()
}

// Known returns a location of a page version that is not known to be deleted or
// wrong.
func (x *index) Known(v *view.View, pgno uint32, version ltx.TXID) (view.Loc, bool) {
	for _, same := range []*view.View{v, v.State.Moved.Load()} {
		if same == nil {
			continue
		}
		if loc, ok := same.Lookup(pgno); ok && loc.IsUsable() {
			return loc, true
		}
	}
	// The current view may hold the page in the same version.
	cur := x.Current.Load()
	loc, ok := cur.Lookup(pgno)
	return loc, ok && cur.Epoch == v.Epoch && loc.Version == version && loc.IsUsable()
}

// moveTo relocates the state of v to a file.
func (x *index) moveTo(ctx context.Context, v *view.View, info *ltx.FileInfo) error {
	_, err := x.share(ctx, fmt.Sprintf("%p %s", v.State, view.KeyOf(info)), func(ctx context.Context) (any, error) {
		l, err := x.store.LoadFile(ctx, info)
		if err == nil {
			err = v.State.Relocate(v, l.File, l.Index)
		}
		return nil, err
	})
	return err
}

// rebuild builds the state of v again from the files of a plan.
func (x *index) rebuild(ctx context.Context, v *view.View, plan []*ltx.FileInfo) error {
	_, err := x.share(ctx, fmt.Sprintf("%p", v.State), func(ctx context.Context) (any, error) {
		again, pages, err := x.assemble(ctx, plan)
		if err != nil {
			return nil, err
		}
		if again.Commit != v.Commit || again.PageSize != v.PageSize {
			return nil, fmt.Errorf("%w: %s: transaction %s has another size than it had", ErrCorrupt, again.Last, v.TXID)
		}
		again.Epoch, again.State = v.Epoch, v.State
		v.State.Moved.Store(again)
		x.pages.CachePages(again, pages)
		return nil, nil
	})
	return err
}

// relocateBy points pages of the current view away from files that view before
// had when files were listed and that are not in the listing. If loaded is not
// nil, it is a file that needs no second read.
func (x *index) relocateBy(ctx context.Context, before *view.View, files []*ltx.FileInfo, loaded *remote.Loaded) error {
	lost, problems := x.checkListed(ctx, before, files)
	if !lost {
		return problems
	}
	cur := x.Current.Load()
	has := cur.Files()
	plan, _ := view.Extend(0, cur.TXID, files) // may end before cur.TXID
	for _, info := range plan {
		if f := has[view.KeyOf(info)]; f != nil && !f.Gone.Load() {
			continue
		}
		var err error
		l := loaded
		if l == nil || l.File.Key() != view.KeyOf(info) {
			l, err = x.store.LoadFile(ctx, info)
		}
		if err == nil {
			err = x.relocateCurrent(l, func(cur *view.View) bool { return cur.Epoch == before.Epoch })
		}
		problems = errors.Join(problems, err)
	}
	return problems
}

// maxChecks is the number of files that are checked in parallel.
const maxChecks = 16

// checkListed records which files of view before are gone, and reports whether
// any is. A copy of a file is listed with another version or time. It is the
// same file if its content is the same, which takes requests only once.
func (x *index) checkListed(ctx context.Context, before *view.View, files []*ltx.FileInfo) (lost bool, err error) {
	listed := make(map[view.Key]*ltx.FileInfo, len(files))
	for _, info := range files {
		listed[view.KeyOf(info)] = info
	}
	had := before.Files()
	last := before.Last
	if last != nil {
		had[last.Key()] = last
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxChecks)
	for key, f := range had {
		info := listed[key]
		switch {
		case info == nil:
			f.SetGone(true)
		case f.IsListedAs(info):
			f.SetGone(f.Stale.Load())
			if !f.Stale.Load() && f.Version.Load() == nil {
				f.SetContent(info, true)
			}
		default:
			g.Go(func() error {
				same, err := x.isSameContent(ctx, f, info)
				if err == nil {
					f.SetContent(info, same)
				}
				return err
			})
		}
	}
	err = g.Wait()
	for _, f := range had {
		lost = lost || f.Gone.Load()
	}
	return lost, err
}

// relocateCurrent points pages of the current view to a file if allowed accepts
// the view.
func (x *index) relocateCurrent(l *remote.Loaded, allowed func(*view.View) bool) error {
	for {
		cur := x.Current.Load()
		if !allowed(cur) || l.File.PageSize != cur.PageSize {
			return nil // the file has an earlier page size and holds no page of this view
		}
		next, n, err := cur.Relocate(l.File, l.Index)
		if err != nil || n == 0 {
			return err
		}
		if x.Current.CompareAndSwap(cur, next) {
			x.log.Debug("pages relocated", "file", l.File, "pages", n)
			x.pages.Notify()
			x.readRest()
			return cur.State.Relocate(cur, l.File, l.Index) // for transactions that have the view pinned
		}
	}
}

// relocateIfKnown points pages of the current view to a file if the timestamp of the
// file's last transaction shows that it is of the same history. View since is an
// earlier one. If the current view is of its history, it tells the timestamp of a
// transaction that the current view does not remember any more.
func (x *index) relocateIfKnown(l *remote.Loaded, since *view.View) error {
	return x.relocateCurrent(l, func(cur *view.View) bool {
		timestamp, ok := cur.StampOf(l.File.MaxTXID)
		if !ok && cur.Epoch == since.Epoch {
			timestamp, ok = since.StampOf(l.File.MaxTXID)
		}
		return ok && timestamp == l.File.Timestamp
	})
}
