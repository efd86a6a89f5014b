package litestream

import (
	"context"
	"errors"
	"fmt"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// errStateGone means that no file holds a page as it was any more.
var errStateGone = errors.New("state is no longer available")

// find looks for another place of a page than lost, whose file was deleted by
// the primary's retention. The same content may be in a file of a higher
// level: one that ends at a transaction up to which the page did not change.
func (db *database) find(ctx context.Context, v *view, pgno uint32, lost frameLoc) (frameLoc, error) {
	if loc, ok := db.known(v, pgno, lost.version); ok {
		return loc, nil
	}
	seen := db.refresh(ctx)
	files, problem := seen.files, seen.err()
	if files == nil {
		return frameLoc{}, fmt.Errorf("%s was deleted: %w", lost.file, problem)
	}
	// A problem with the newest files need not concern this state.
	gone := func() error {
		return errors.Join(fmt.Errorf("read page %d as of transaction %s: %w: %s was deleted", pgno, v.txid, errStateGone, lost.file), problem)
	}
	if v.epoch != db.current.Load().epoch {
		return frameLoc{}, gone()
	}
	lost.file.gone.Store(!isListed(lost.file, files))
	if loc, ok := db.known(v, pgno, lost.version); ok {
		return loc, nil
	}
	// The page has changed since: only a file that ends between its version
	// and the view's transaction can have it.
	for _, info := range files {
		if info.MinTXID > lost.version || info.MaxTXID < lost.version || info.MaxTXID > v.txid || db.current.Load().isDoubtful(info.MaxTXID) {
			continue
		}
		if err := db.moveTo(ctx, v, info); err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		if loc, ok := db.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	// Or the whole state can be had in another way.
	if plan, err := planTXID(0, v.txid, files); err == nil && !hasDoubtful(db.current.Load(), plan) {
		problem = errors.Join(problem, db.rebuild(ctx, v, plan))
		if loc, ok := db.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	return frameLoc{}, gone()
}

// known returns a place of a page version that is not known to be gone, or
// wrong.
func (db *database) known(v *view, pgno uint32, version ltx.TXID) (frameLoc, bool) {
	for _, same := range []*view{v, v.state.moved.Load()} {
		if same == nil {
			continue
		}
		if loc, ok := same.lookup(pgno); ok && loc.isUsable() {
			return loc, true
		}
	}
	// Another state will do if the page is the same in it.
	cur := db.current.Load()
	loc, ok := cur.lookup(pgno)
	return loc, ok && cur.epoch == v.epoch && loc.version == version && loc.isUsable()
}

// isListed tells whether a file is among those listed, as it was.
func isListed(f *ltxFile, files []*ltx.FileInfo) bool {
	for _, info := range files {
		if keyOf(info) == f.key() {
			return f.isListedAs(info) && !f.stale.Load()
		}
	}
	return false
}

// moveTo relocates the state of v to a file.
func (db *database) moveTo(ctx context.Context, v *view, info *ltx.FileInfo) error {
	_, err := db.share(ctx, fmt.Sprintf("%p %s", v.state, keyOf(info)), func(ctx context.Context) (any, error) {
		l, err := db.store.loadFile(ctx, info)
		if err == nil {
			err = v.state.relocate(v, l)
		}
		return nil, err
	})
	return err
}

// rebuild makes the state of v from the files of a plan.
func (db *database) rebuild(ctx context.Context, v *view, plan []*ltx.FileInfo) error {
	_, err := db.share(ctx, fmt.Sprintf("%p", v.state), func(ctx context.Context) (any, error) {
		again, pages, err := db.assemble(ctx, plan)
		if err != nil {
			return nil, err
		}
		if again.commit != v.commit || again.pageSize != v.pageSize {
			return nil, fmt.Errorf("%w: %s: transaction %s has another size than it had", ErrCorrupt, again.last, v.txid)
		}
		again.epoch, again.state = v.epoch, v.state
		v.state.moved.Store(again)
		db.cachePages(again, pages)
		return nil, nil
	})
	return err
}

// share does something under the time limit of a read, once for all callers
// that ask for the same meanwhile. Each waits as long as its context allows.
func (db *database) share(ctx context.Context, key string, do func(context.Context) (any, error)) (any, error) {
	result := db.shared.DoChan(key, func() (_ any, err error) {
		defer guard(db.log, "share", &err)
		if !db.tasks.Begin() {
			return nil, ErrClosed
		}
		defer db.tasks.End()
		ctx, cancel := db.tasks.WithTimeout(db.opts.ReadTimeout)
		defer cancel()
		return do(ctx)
	})
	select {
	case r := <-result:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// relocate points pages of the state, of which v is a view, to a file.
func (s *viewState) relocate(v *view, l *loadedFile) error {
	for {
		moved := s.moved.Load()
		from := v
		if moved != nil {
			from = moved
		}
		next, n, err := from.relocate(l.file, l.index)
		if err != nil || n == 0 || s.moved.CompareAndSwap(moved, next) {
			return err
		}
	}
}

// refreshed is what a refresh came to.
type refreshed struct {
	// files is the listing. Nil if there is none, or if it does not hold
	// files of the history that the current view is of.
	files []*ltx.FileInfo

	turn int64 // the how many-th refresh it is

	news  error // why the current view may not be the newest
	moves error // why pages of it may point to files that are not there
}

func (r refreshed) err() error { return errors.Join(r.news, r.moves) }

// refresh lists all files, brings the current view up to date, and points
// its pages away from files that are no longer there. Concurrent calls share
// one.
func (db *database) refresh(ctx context.Context) refreshed {
	result, err := db.share(ctx, "refresh", func(ctx context.Context) (any, error) {
		turn := db.turns.Add(1)
		r := db.refreshNow(ctx)
		r.turn = turn
		return r, nil
	})
	if err != nil {
		return refreshed{news: err}
	}
	return result.(refreshed)
}

// refreshAnew is refresh, which may share one that began after it was called, but
// none that lists what was there before.
func (db *database) refreshAnew(ctx context.Context) refreshed {
	before := db.turns.Load()
	for {
		if r := db.refresh(ctx); r.turn == 0 || r.turn > before {
			return r
		}
	}
}

func (db *database) refreshNow(ctx context.Context) (r refreshed) {
	back := false // a listing ended before what is known
	for range planAttempts {
		before := db.current.Load()
		files, err := db.store.listAll(ctx, false)
		if err == nil && len(files) == 0 {
			if before.last == nil {
				return refreshed{files: files} // not created yet, or not synced
			}
			db.writer.suspect()
			err = ErrNoDatabase
		}
		if err != nil {
			return refreshed{news: err}
		}
		j, err := db.judge(ctx, before, files)
		if err == nil && j.back && !back {
			// Lists of several levels are not of one moment.
			back = true
			r = refreshed{news: fmt.Errorf("the replica ends before transaction %s, which it had", before.txid)}
			continue
		}
		r = db.follow(ctx, before, files, j, err)
		err = r.err()
		var missing *MissingError
		if !isMissing(err) && !errors.As(err, &missing) && !errors.Is(err, errOvertaken) {
			break
		}
	}
	return r
}

// follow brings the current view up to date with files of which it is known how
// they relate to a view that was the current one before they were listed. Err is
// why that is not known.
func (db *database) follow(ctx context.Context, before *view, files []*ltx.FileInfo, j judgement, err error) (r refreshed) {
	if err != nil {
		return refreshed{news: err} // nobody knows whose they are
	}
	other := j.verdict == otherHistory || j.verdict == unknownHistory && j.upTo == 0
	if other && db.writer.isEnabled() {
		if other, err = db.writer.secondLook(ctx, before, files); err != nil {
			return refreshed{news: err}
		}
		j.upTo = before.txid // or files of it are merely missing
	}
	other = other || db.ending.Load() == int64(before.epoch)+1
	if !other {
		db.writer.saw(before, files)
		r.news = db.advanceBy(ctx, before, j.upTo, files)
		other = errors.Is(r.news, errDisagrees) || errors.Is(r.news, errOtherPageSize)
	}
	if other {
		err := db.restart(ctx, before, files)
		if err == nil {
			db.writer.forget()
			return refreshed{files: files}
		}
		if j.verdict == otherHistory || !j.damaged || !errors.Is(err, ErrCorrupt) {
			return refreshed{news: errors.Join(r.news, err)}
		}
		// A damaged file delays no news: that others are the same has to do.
		r.news = db.advanceBy(ctx, before, before.txid, files)
	}
	if r.news != nil && j.verdict == unknownHistory {
		return r
	}
	r.files = files
	if db.current.Load().epoch == before.epoch {
		r.moves = db.relocateBy(ctx, before, files, j.loaded)
		if r.err() == nil {
			db.remember(before.epoch, files)
		}
	}
	return r
}

// advanceBy publishes the newest state that the files give, which are known to
// hold the transactions of a view, the current one when they were listed, as far
// as one. If it fails on the way, it publishes how far it came: that is a state as
// well.
func (db *database) advanceBy(ctx context.Context, before *view, upTo ltx.TXID, files []*ltx.FileInfo) error {
	for {
		cur := db.current.Load()
		if cur.epoch != before.epoch || upTo < before.txid && cur.txid != before.txid {
			return errOvertaken
		}
		if cur.txid == 0 && len(files) == 0 {
			return nil
		}
		plan, err := planLatest(cur.txid, files)
		if err == nil && len(plan) == 0 && upTo < before.txid {
			err = fmt.Errorf("transaction %s: %w, or nothing tells that it is not", cur.txid, errDisagrees)
		}
		if err != nil || len(plan) == 0 {
			return err
		}
		next := cur
		pages := make(keptPages)
		err = db.store.loadFiles(ctx, plan, func(l *loadedFile) error {
			v, err := next.advance(l.file, l.index)
			if err == nil && next == cur && upTo < before.txid {
				v, err = bridge(cur, v, l.file, l.index, upTo)
			}
			if err == nil {
				next = v
				pages.keep(l, db.opts.CacheSize)
			}
			return err
		})
		if next != cur {
			if cur.last == nil {
				next.epoch++ // who looked for the past of nothing may have found another history
			}
			db.arriving.Add(1)
			failed := db.replace(cur, db.newState(next))
			if failed == nil {
				if cur.pageSize != next.pageSize {
					db.reader.cache.Store(newPageCache(db.opts.CacheSize, next.pageSize))
				}
				db.cachePages(next, pages)
			}
			db.arriving.Add(-1)
			db.reader.copies.notify()
			if failed == errOvertaken {
				continue // somebody else was faster; there may be nothing left to do
			}
			if failed != nil {
				return failed
			}
			db.log.Debug("view advanced", "from", cur.txid, "txid", next.txid, "pages", next.commit)
		}
		return err
	}
}

// relocateBy points the pages of the current view away from files that it
// had before files were listed, and that are not among them. One of these may be
// loaded already.
func (db *database) relocateBy(ctx context.Context, before *view, files []*ltx.FileInfo, loaded *loadedFile) error {
	lost, problems := db.checkListed(ctx, before, files)
	if !lost {
		return problems
	}
	cur := db.current.Load()
	has := cur.files()
	plan, _ := extend(0, cur.txid, files) // as far as it goes
	for _, info := range plan {
		if f := has[keyOf(info)]; f != nil && !f.gone.Load() {
			continue
		}
		var err error
		l := loaded
		if l == nil || l.file.key() != keyOf(info) {
			l, err = db.store.loadFile(ctx, info)
		}
		if err == nil {
			err = db.relocateCurrent(l, func(cur *view) bool { return cur.epoch == before.epoch })
		}
		problems = errors.Join(problems, err)
	}
	return problems
}

// maxChecks is how many files are checked at once.
const maxChecks = 16

// checkListed notes which of the files that a view had are gone. One that is
// listed with another version or time, as copies are, is the same if its content
// is, which is asked once. It reports whether any is gone.
func (db *database) checkListed(ctx context.Context, before *view, files []*ltx.FileInfo) (lost bool, err error) {
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
				same, err := db.isSameContent(ctx, f, info)
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

// relocateCurrent points pages of the current view to a file, if the view is
// one of which that is allowed.
func (db *database) relocateCurrent(l *loadedFile, allowed func(*view) bool) error {
	for {
		cur := db.current.Load()
		if !allowed(cur) || l.file.pageSize != cur.pageSize {
			return nil // of a page size that the database had before, it has no page
		}
		next, n, err := cur.relocate(l.file, l.index)
		if err != nil || n == 0 {
			return err
		}
		if db.current.CompareAndSwap(cur, next) {
			db.log.Debug("pages relocated", "file", l.file, "pages", n)
			db.reader.copies.notify()
			return cur.state.relocate(cur, l) // for those who have it pinned
		}
	}
}

// relocateIfKnown points pages of the current view to a file, if the timestamp
// of its last transaction tells that it is of the same history.
func (db *database) relocateIfKnown(l *loadedFile) error {
	return db.relocateCurrent(l, func(cur *view) bool {
		timestamp, ok := cur.stampOf(l.file.maxTXID)
		return ok && timestamp == l.file.timestamp
	})
}
