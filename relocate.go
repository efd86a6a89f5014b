package litestream

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// find returns another location of a page. The file of the location lost was
// deleted by the primary's retention. A file of a higher level may have the
// same content, if it ends at a transaction up to which the page did not
// change.
func (x *index) find(ctx context.Context, v *view, pgno uint32, lost frameLoc) (frameLoc, error) {
	if loc, ok := x.known(v, pgno, lost.version); ok {
		return loc, nil
	}
	seen := x.refresh(ctx)
	files, problem := seen.files, seen.err()
	if files == nil {
		return frameLoc{}, fmt.Errorf("%s was deleted: %w", lost.file, problem)
	}
	// A problem with the newest files need not affect this state.
	gone := func() error {
		return errors.Join(fmt.Errorf("read page %d as of transaction %s: %w: %s was deleted", pgno, v.txid, errs.ErrStateGone, lost.file), problem)
	}
	if v.epoch != x.current.Load().epoch {
		return frameLoc{}, gone()
	}
	lost.file.gone.Store(!isListed(lost.file, files))
	if loc, ok := x.known(v, pgno, lost.version); ok {
		return loc, nil
	}
	// The page has changed since. Only a file that ends between the version of
	// the page and the view's transaction can hold it.
	for _, info := range files {
		if info.MinTXID > lost.version || info.MaxTXID < lost.version || info.MaxTXID > v.txid || x.current.Load().isDoubtful(info.MaxTXID) {
			continue
		}
		if err := x.moveTo(ctx, v, info); err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		if loc, ok := x.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	// Other files may still give the whole state.
	if plan, err := planTXID(0, v.txid, files); err == nil && !hasDoubtful(x.current.Load(), plan) {
		problem = errors.Join(problem, x.rebuild(ctx, v, plan))
		if loc, ok := x.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	return frameLoc{}, gone()
}

// known returns a location of a page version that is not known to be deleted or
// wrong.
func (x *index) known(v *view, pgno uint32, version ltx.TXID) (frameLoc, bool) {
	for _, same := range []*view{v, v.state.moved.Load()} {
		if same == nil {
			continue
		}
		if loc, ok := same.lookup(pgno); ok && loc.isUsable() {
			return loc, true
		}
	}
	// The current view may hold the page in the same version.
	cur := x.current.Load()
	loc, ok := cur.lookup(pgno)
	return loc, ok && cur.epoch == v.epoch && loc.version == version && loc.isUsable()
}

// moveTo relocates the state of v to a file.
func (x *index) moveTo(ctx context.Context, v *view, info *ltx.FileInfo) error {
	_, err := x.share(ctx, fmt.Sprintf("%p %s", v.state, keyOf(info)), func(ctx context.Context) (any, error) {
		l, err := x.store.loadFile(ctx, info)
		if err == nil {
			err = v.state.relocate(v, l.file, l.index)
		}
		return nil, err
	})
	return err
}

// rebuild builds the state of v again from the files of a plan.
func (x *index) rebuild(ctx context.Context, v *view, plan []*ltx.FileInfo) error {
	_, err := x.share(ctx, fmt.Sprintf("%p", v.state), func(ctx context.Context) (any, error) {
		again, pages, err := x.assemble(ctx, plan)
		if err != nil {
			return nil, err
		}
		if again.commit != v.commit || again.pageSize != v.pageSize {
			return nil, fmt.Errorf("%w: %s: transaction %s has another size than it had", ErrCorrupt, again.last, v.txid)
		}
		again.epoch, again.state = v.epoch, v.state
		v.state.moved.Store(again)
		x.pages.cachePages(again, pages)
		return nil, nil
	})
	return err
}

// relocateBy points pages of the current view away from files that view before
// had when files were listed and that are not in the listing. If loaded is not
// nil, it is a file that needs no second read.
func (x *index) relocateBy(ctx context.Context, before *view, files []*ltx.FileInfo, loaded *loadedFile) error {
	lost, problems := x.checkListed(ctx, before, files)
	if !lost {
		return problems
	}
	cur := x.current.Load()
	has := cur.files()
	plan, _ := extend(0, cur.txid, files) // may end before cur.txid
	for _, info := range plan {
		if f := has[keyOf(info)]; f != nil && !f.gone.Load() {
			continue
		}
		var err error
		l := loaded
		if l == nil || l.file.key() != keyOf(info) {
			l, err = x.store.loadFile(ctx, info)
		}
		if err == nil {
			err = x.relocateCurrent(l, func(cur *view) bool { return cur.epoch == before.epoch })
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
func (x *index) checkListed(ctx context.Context, before *view, files []*ltx.FileInfo) (lost bool, err error) {
	listed := make(map[fileKey]*ltx.FileInfo, len(files))
	for _, info := range files {
		listed[keyOf(info)] = info
	}
	had := before.files()
	last := before.last
	if last != nil {
		had[last.key()] = last
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxChecks)
	for key, f := range had {
		info := listed[key]
		switch {
		case info == nil:
			f.gone.Store(true)
		case f.isListedAs(info):
			f.gone.Store(f.stale.Load())
			if !f.stale.Load() && f.version.Load() == nil {
				f.setContent(info, true)
			}
		default:
			g.Go(func() error {
				same, err := x.isSameContent(ctx, f, info)
				if err == nil {
					f.setContent(info, same)
				}
				return err
			})
		}
	}
	err = g.Wait()
	for _, f := range had {
		lost = lost || f.gone.Load()
	}
	return lost, err
}

// relocateCurrent points pages of the current view to a file if allowed accepts
// the view.
func (x *index) relocateCurrent(l *loadedFile, allowed func(*view) bool) error {
	for {
		cur := x.current.Load()
		if !allowed(cur) || l.file.pageSize != cur.pageSize {
			return nil // the file has an earlier page size and holds no page of this view
		}
		next, n, err := cur.relocate(l.file, l.index)
		if err != nil || n == 0 {
			return err
		}
		if x.current.CompareAndSwap(cur, next) {
			x.log.Debug("pages relocated", "file", l.file, "pages", n)
			x.pages.notify()
			return cur.state.relocate(cur, l.file, l.index) // for transactions that have the view pinned
		}
	}
}

// relocateIfKnown points pages of the current view to a file if the timestamp
// of the file's last transaction shows that it is of the same history.
func (x *index) relocateIfKnown(l *loadedFile) error {
	return x.relocateCurrent(l, func(cur *view) bool {
		timestamp, ok := cur.stampOf(l.file.maxTXID)
		return ok && timestamp == l.file.timestamp
	})
}
