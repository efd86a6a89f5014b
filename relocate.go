package litestream

import (
	"context"
	"errors"
	"fmt"

	"github.com/superfly/ltx"
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
	files, err := db.refresh()
	if err != nil {
		return frameLoc{}, fmt.Errorf("%s was deleted: %w", lost.file, err)
	}
	for _, f := range files {
		if keyOf(f) == lost.file.key() {
			lost.file.gone.Store(false) // back again, or never away
		}
	}
	if loc, ok := db.known(v, pgno, lost.version); ok {
		return loc, nil
	}
	// The page has changed since: only a file that ends between its version
	// and the view's transaction can have it.
	for _, info := range files {
		if info.MinTXID > lost.version || info.MaxTXID < lost.version || info.MaxTXID > v.txid || keyOf(info) == lost.file.key() {
			continue
		}
		if err := db.moveTo(ctx, v, info); err != nil {
			return frameLoc{}, err
		}
		if loc, ok := db.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	// Or the whole state can be had in another way.
	if plan, err := planTXID(0, v.txid, files); err == nil {
		again, pages, err := db.assemble(ctx, plan)
		if err != nil {
			return frameLoc{}, err
		}
		again.state = v.state
		v.state.moved.Store(again)
		db.cachePages(again, pages)
		if loc, ok := db.known(v, pgno, lost.version); ok {
			return loc, nil
		}
	}
	return frameLoc{}, fmt.Errorf("read page %d as of transaction %s: %w: %s was deleted", pgno, v.txid, errStateGone, lost.file)
}

// moveTo relocates the state of v to a file. Of two calls at a time the last
// stays; what the other found is found again.
func (db *database) moveTo(ctx context.Context, v *view, info *ltx.FileInfo) error {
	l, err := db.store.loadFile(ctx, info)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	from := v
	if moved := v.state.moved.Load(); moved != nil {
		from = moved
	}
	next, n, err := from.relocate(l.file, l.index)
	if err == nil && n > 0 {
		v.state.moved.Store(next)
	}
	return err
}

// known returns a place of a page version that is not known to be gone.
func (db *database) known(v *view, pgno uint32, version ltx.TXID) (frameLoc, bool) {
	for _, same := range []*view{v, v.state.moved.Load()} {
		if same == nil {
			continue
		}
		if loc, ok := same.lookup(pgno); ok && !loc.file.gone.Load() {
			return loc, true
		}
	}
	// Another state will do if the page is the same in it.
	loc, ok := db.current.Load().lookup(pgno)
	return loc, ok && loc.version == version && !loc.file.gone.Load()
}

// refresh lists all files, brings the current view up to date, and points
// its pages away from files that are no longer there. It returns the
// listing. Concurrent calls share one.
func (db *database) refresh() ([]*ltx.FileInfo, error) {
	result, err, _ := db.refreshes.Do("", func() (any, error) {
		ctx, cancel := db.withTimeout(db.opts.ReadTimeout)
		defer cancel()
		return db.refreshNow(ctx)
	})
	files, _ := result.([]*ltx.FileInfo)
	return files, err
}

func (db *database) refreshNow(ctx context.Context) (files []*ltx.FileInfo, err error) {
	for range planAttempts {
		if files, err = db.store.listAll(ctx, false); err != nil {
			return nil, err
		}
		if err = db.advanceBy(ctx, files); err == nil {
			err = db.relocateBy(ctx, files)
		}
		var missing *MissingError
		if !isMissing(err) && !errors.As(err, &missing) {
			break
		}
	}
	return files, err
}

// advanceBy publishes the newest state that the files give.
func (db *database) advanceBy(ctx context.Context, files []*ltx.FileInfo) error {
	plan, err := planLatest(db.current.Load().txid, files)
	if err != nil {
		return err
	}
	var loaded []*loadedFile
	pages := make(keptPages)
	if err := db.store.loadFiles(ctx, plan, func(l *loadedFile) error {
		pages.keep(l, db.opts.CacheSize)
		loaded = append(loaded, &loadedFile{file: l.file, index: l.index})
		return nil
	}); err != nil {
		return err
	}
	for {
		cur := db.current.Load()
		next := cur
		for _, l := range loaded {
			if l.file.maxTXID <= next.txid {
				continue // somebody else brought it
			}
			if next, err = next.advance(l.file, l.index); err != nil {
				return err
			}
		}
		if next == cur {
			return nil
		}
		if db.current.CompareAndSwap(cur, db.stamp(next)) {
			db.cachePages(next, pages)
			db.log.Debug("view advanced", "from", cur.txid, "txid", next.txid, "pages", next.commit)
			return nil
		}
	}
}

// relocateBy points the pages of the current view away from files that are
// not among those listed.
func (db *database) relocateBy(ctx context.Context, files []*ltx.FileInfo) error {
	cur := db.current.Load()
	listed := make(map[fileKey]bool, len(files))
	for _, f := range files {
		listed[keyOf(f)] = true
	}
	refs := cur.files()
	lost := false
	for key, f := range refs {
		f.gone.Store(!listed[key])
		lost = lost || !listed[key]
	}
	if !lost {
		return nil
	}
	plan, err := planTXID(0, cur.txid, files)
	if err != nil {
		return err
	}
	for _, info := range plan {
		if refs[keyOf(info)] != nil {
			continue
		}
		l, err := db.store.loadFile(ctx, info)
		if err != nil {
			return err
		}
		for {
			cur := db.current.Load()
			next, n, err := cur.relocate(l.file, l.index)
			if err != nil || n == 0 {
				if err != nil {
					return err
				}
				break
			}
			if db.current.CompareAndSwap(cur, next) {
				cur.state.moved.Store(next)
				db.log.Debug("pages relocated", "file", l.file, "pages", n)
				break
			}
		}
	}
	return nil
}
