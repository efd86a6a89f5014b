package litestream

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
	"github.com/superfly/ltx"
	"golang.org/x/sync/singleflight"
)

// index makes the views of a database: it lists the files of the replica, plans
// which of them give a state, loads these, and publishes what comes of them. It
// tells histories of the replica apart, and points pages away from files that
// were deleted. It is safe for concurrent use.
type index struct {
	views

	store *store
	tasks *task.Group
	log   *slog.Logger

	cacheSize   int64         // bytes of pages that are kept when they come with files
	readTimeout time.Duration // of what many callers share; negative: no limit

	pages  pageSink
	writer writeMode

	// inUse returns the views that connections have pinned.
	inUse func() []*view

	past   pastViews
	seen   atomic.Pointer[seenFiles]
	turns  atomic.Int64       // refreshes that have begun
	ending atomic.Int64       // epoch that the next refresh is to end, plus 1; 0: none
	shared singleflight.Group // see share
}

// pageSink takes the pages that come with the files of a view. It is what the
// index needs of the source of pages.
type pageSink interface {
	// cachePages takes pages that a view has in that version. The view is
	// published.
	cachePages(v *view, pages keptPages)

	// reset drops the cached pages, and makes room for pages of a size.
	reset(pageSize uint32)

	// dropLocal drops the pages of the local file.
	dropLocal()

	// notify tells that a view was published, or that pages of it have moved.
	notify()
}

// writeMode is what the index needs of the writer of a database. News of the
// replica mean a conflict, or have to wait, while there are commits that are not
// on the replica.
type writeMode interface {
	// replace publishes next as the newest view of the replica. It returns
	// errOvertaken if cur is not the newest one any more, and errWriting if
	// there are commits that would not be in next.
	replace(cur, next *view) error

	isEnabled() bool
	isWriting() bool

	// suspect makes the writer look at the replica again: files seem to be
	// missing.
	suspect()

	// secondLook decides whether files that seem to be of another history
	// are, before the index drops what this process has written.
	secondLook(ctx context.Context, before *view, files []*ltx.FileInfo) (other bool, err error)

	// saw takes a listing of the history that the view before is of.
	saw(before *view, files []*ltx.FileInfo)

	// forget drops what saw took: the history has ended.
	forget()

	// stampLocal makes the newest view another state, so that SQLite reads
	// again what it has cached.
	stampLocal()
}

// planAttempts is how often a plan is made anew because a listing did not
// hold together, or a file of it was deleted meanwhile.
const planAttempts = 3

// openedFiles are the files that a database was opened with.
type openedFiles struct{ plan, listed []*ltx.FileInfo }

// buildNewest makes the newest view.
func (x *index) buildNewest(ctx context.Context) (v *view, from openedFiles, pages keptPages, err error) {
	v, pages, err = x.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		plan, err := planLatest(0, files)
		from = openedFiles{plan, files}
		return plan, err
	})
	return v, from, pages, err
}

// build makes a view from nothing by the plan that choose picks from a
// listing of all files.
func (x *index) build(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view, keptPages, error) {
	var err error
	for range planAttempts {
		var files, plan []*ltx.FileInfo
		if files, err = x.store.listAll(ctx, false); err != nil {
			return nil, nil, err
		}
		if plan, err = choose(files); err == nil {
			v, pages, err := x.assemble(ctx, plan)
			if !isMissing(err) {
				return v, pages, err
			}
			continue
		}
		// Lists of several levels are not of one moment: a file that was
		// compacted and deleted in between looks like a gap, or is missing
		// when its header is read.
		var missing *MissingError
		if !errors.As(err, &missing) && !isMissing(err) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// assemble makes a view from the files of a plan from nothing.
func (x *index) assemble(ctx context.Context, plan []*ltx.FileInfo) (*view, keptPages, error) {
	v := new(view)
	pages := make(keptPages)
	err := x.store.loadFiles(ctx, plan, func(l *loadedFile) (err error) {
		if v, err = v.advance(l.file, l.index); err != nil {
			return err
		}
		pages.keep(l, x.cacheSize)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return v, pages, nil
}

// share does something under the time limit of a read, once for all callers
// that ask for the same meanwhile. Each waits as long as its context allows.
func (x *index) share(ctx context.Context, key string, do func(context.Context) (any, error)) (any, error) {
	result := x.shared.DoChan(key, func() (_ any, err error) {
		defer guard(x.log, "share", &err)
		if !x.tasks.Begin() {
			return nil, ErrClosed
		}
		defer x.tasks.End()
		ctx, cancel := x.tasks.WithTimeout(x.readTimeout)
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
