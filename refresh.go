package litestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// refreshed is the result of a refresh.
type refreshed struct {
	// files is the listing. It is nil if the listing failed, or if it does not
	// hold files of the history of the current view.
	files []*ltx.FileInfo

	turn int64 // number of this refresh, counted from 1

	news  error // why the current view may not be the newest
	moves error // why pages of the current view may point to deleted files
}

func (r refreshed) err() error { return errors.Join(r.news, r.moves) }

// refresh lists all files, advances the current view to the newest state, and
// points its pages away from files that do not exist any more. Concurrent calls
// share one refresh. If a shared refresh that began before the call found that
// files changed under it, refresh shares the next one: the files may have come
// to rest before the call.
func (x *index) refresh(ctx context.Context) refreshed { return x.refreshWith(ctx, nil) }

// refreshWith is refresh. It does not read the files again that were read by name
// in the version that is listed, unless it shares a refresh that had begun.
func (x *index) refreshWith(ctx context.Context, named namedFiles) refreshed {
	before := x.turns.Load()
	for {
		if r := x.shareRefresh(ctx, named); r.turn == 0 || r.turn > before || !isOutdated(r.err()) {
			return r
		}
	}
}

func (x *index) shareRefresh(ctx context.Context, named namedFiles) refreshed {
	result, err := x.share(ctx, "refresh", func(ctx context.Context) (any, error) {
		turn := x.turns.Add(1)
		r := x.refreshNow(ctx, named)
		r.turn = turn
		return r, nil
	})
	if err != nil {
		return refreshed{news: err}
	}
	return result.(refreshed)
}

// refreshAnew is refresh, but the shared refresh must have begun after
// refreshAnew was called. An earlier one may have listed older files.
func (x *index) refreshAnew(ctx context.Context) refreshed {
	before := x.turns.Load()
	for {
		if r := x.shareRefresh(ctx, nil); r.turn == 0 || r.turn > before {
			return r
		}
	}
}

func (x *index) refreshNow(ctx context.Context, named namedFiles) (r refreshed) {
	back := false // a listing ended before the current view
	for range planAttempts {
		before, at := x.Current.Load(), time.Now()
		files, err := x.store.ListAll(ctx, false)
		if err == nil && len(files) == 0 {
			if before.Last == nil {
				return refreshed{files: files} // not created yet, or not synced
			}
			x.writer.Suspect()
			err = ErrNoDatabase
		}
		if err != nil {
			return refreshed{news: err}
		}
		j, err := x.judge(ctx, before, files)
		if err == nil && j.back && !back {
			// The listings of the levels are not taken at one moment, so list
			// again.
			back = true
			r = refreshed{news: fmt.Errorf("the replica ends before transaction %s, which it had", before.TXID)}
			continue
		}
		r = x.follow(ctx, before, files, named, j, err)
		if r.news == nil {
			x.following.listedAll(at)
		}
		if !isOutdated(r.err()) {
			break
		}
	}
	return r
}

// isOutdated reports whether err may be due to a listing that was not up to
// date any more when it was used: files were deleted, or another goroutine has
// begun another epoch. A new listing may give no error.
func isOutdated(err error) bool {
	var missing *MissingError
	return errs.IsMissing(err) || errors.As(err, &missing) || errors.Is(err, errs.ErrOvertaken)
}

// follow advances the current view with the listed files. The judgement j says
// how the files relate to view before, which was the current view before they
// were listed; err is the reason if there is no judgement. Files in named need no
// read.
func (x *index) follow(ctx context.Context, before *view.View, files []*ltx.FileInfo, named namedFiles, j judgement, err error) (r refreshed) {
	if err != nil {
		return refreshed{news: err} // the history of the files is unknown
	}
	other := j.verdict == otherHistory || j.verdict == unknownHistory && j.upTo == 0
	if other && x.writer.IsEnabled() {
		if other, err = x.writer.SecondLook(ctx, before, files); err != nil {
			return refreshed{news: err}
		}
		j.upTo = before.TXID // files of the history may be missing
	}
	other = other || x.ending.Load() == int64(before.Epoch)+1
	if !other {
		x.writer.Saw(before, files)
		r.news = x.advanceBy(ctx, before, j.upTo, files, named)
		other = errors.Is(r.news, view.ErrDisagrees) || errors.Is(r.news, view.ErrOtherPageSize)
	}
	if other {
		err := x.restart(ctx, before, files)
		if err == nil {
			x.writer.Forget()
			return refreshed{files: files}
		}
		if j.verdict == otherHistory || !j.damaged || !errors.Is(err, ErrCorrupt) {
			return refreshed{news: errors.Join(r.news, err)}
		}
		// A damaged file does not delay new transactions. The other files show
		// the history.
		r.news = x.advanceBy(ctx, before, before.TXID, files, named)
	}
	if r.news != nil && j.verdict == unknownHistory {
		return r
	}
	r.files = files
	if x.Current.Load().Epoch == before.Epoch {
		r.moves = x.relocateBy(ctx, before, files, j.loaded)
		if r.err() == nil {
			x.remember(before.Epoch, files)
		}
	}
	return r
}

// advanceBy publishes the newest state that the files give. The files are known
// to hold the transactions of view before, which was current when they were
// listed, up to upTo. If advanceBy fails on the way, it publishes the state it
// has reached, which is a complete state, too. It does not read the files again
// that were read by name in the version that is listed.
func (x *index) advanceBy(ctx context.Context, before *view.View, upTo ltx.TXID, files []*ltx.FileInfo, named namedFiles) error {
	for {
		cur := x.Current.Load()
		if cur.Epoch != before.Epoch || upTo < before.TXID && cur.TXID != before.TXID {
			return errs.ErrOvertaken
		}
		if cur.TXID == 0 && len(files) == 0 {
			return nil
		}
		plan, err := view.PlanLatest(cur.TXID, files)
		if err == nil && len(plan) == 0 && upTo < before.TXID {
			err = fmt.Errorf("transaction %s: %w, or its history is not known", cur.TXID, view.ErrDisagrees)
		}
		if err != nil || len(plan) == 0 {
			return err
		}
		next := cur
		kept := make(pages.Kept)
		apply := func(l *remote.Loaded) error {
			v, err := next.Advance(l.File, l.Index)
			if err == nil && next == cur && upTo < before.TXID {
				v, err = view.Bridge(cur, v, l.File, l.Index, upTo)
			}
			if err == nil {
				next = v
				kept.Keep(l, x.cacheSize)
			}
			return err
		}
		for err == nil && len(plan) > 0 {
			l := x.store.LoadNamed(named[view.KeyOf(plan[0])], plan[0])
			if l == nil {
				break
			}
			err, plan = apply(l), plan[1:]
		}
		if err == nil {
			err = x.store.LoadFiles(ctx, plan, apply)
		}
		if next != cur {
			if cur.Last == nil {
				next.Epoch++ // a goroutine that looked for a past state of the empty replica may have found another history
			}
			x.Arriving.Add(1)
			failed := x.writer.Replace(cur, x.NewState(next))
			if failed == nil {
				if cur.PageSize != next.PageSize {
					x.pages.Reset(next.PageSize)
				}
				x.pages.CachePages(next, kept)
			}
			x.Arriving.Add(-1)
			x.pages.Notify()
			x.readRest()
			if failed == errs.ErrOvertaken {
				continue // another goroutine has published a view; there may be nothing left to do
			}
			if failed != nil {
				return failed
			}
			x.log.Debug("view advanced", "from", cur.TXID, "txid", next.TXID, "pages", next.Commit)
		}
		return err
	}
}
