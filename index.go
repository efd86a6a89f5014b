package litestream

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/singleflight"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// index builds the views of a database: it lists the files of the replica,
// plans which of them give a state, loads these files, and publishes the
// result. It tells histories of the replica apart and points pages away from
// files that were deleted. It is safe for concurrent use.
type index struct {
	view.Views
	*histories // with the store

	tasks *task.Group
	log   *slog.Logger

	cacheSize   int64         // bytes of pages that are kept when they arrive with files
	readTimeout time.Duration // limit of shared operations; negative: no limit

	pages  pageSink
	writer writeMode

	following following

	// inUse returns the views that connections have pinned, and the past views
	// that they have travelled to.
	inUse func() []*view.View

	rest   indexRest
	turns  atomic.Int64       // number of refreshes started
	ending atomic.Int64       // epoch that the next refresh has to end, plus 1; 0 if there is none
	shared singleflight.Group // deduplicates operations; see share
}

// pageSink receives the pages that arrive with the files of a view. The source
// of pages implements it.
type pageSink interface {
	// CachePages adds pages to the cache that a published view has in that
	// version.
	CachePages(v *view.View, kept pages.Kept)

	// Reset drops the cached pages and prepares the cache for pages of pageSize
	// bytes.
	Reset(pageSize uint32)

	// DropLocal drops the pages of the local file.
	DropLocal()

	// Notify is called when a view was published or pages of it were relocated.
	Notify()
}

// writeMode is the part of the writer that the index needs. While there are
// commits that are not on the replica, new transactions on the replica mean a
// conflict or have to wait.
type writeMode interface {
	// Replace publishes next as the newest view of the replica. It returns
	// errs.ErrOvertaken if cur is not the newest view any more, and
	// errs.ErrWriting if next would lack commits that are not on the replica yet.
	Replace(cur, next *view.View) error

	// IsEnabled reports whether connections may write.
	IsEnabled() bool

	// IsWriting reports whether a connection writes, or there are commits that are
	// not on the replica.
	IsWriting() bool

	// Suspect makes the writer check the replica again, because files seem to
	// be missing.
	Suspect()

	// SecondLook decides whether files that seem to be of another history
	// really are, before the index drops what this process has written.
	SecondLook(ctx context.Context, before *view.View, files []*ltx.FileInfo) (other bool, err error)

	// Saw compares view before with a listing of its history that was made after
	// it. If the files do not give the view, the writer looks for missing files.
	Saw(before *view.View, files []*ltx.FileInfo)

	// Forget drops what the writer knows of the files of the replica, because
	// their history has ended.
	Forget()

	// RenewNewest gives the newest view another state, so that SQLite drops its
	// cache. If a transaction that writes is under way, it does so when that ends.
	RenewNewest()
}

// planAttempts is the number of attempts to make a plan. An attempt fails if a
// listing was inconsistent or one of its files was deleted meanwhile.
const planAttempts = 3

// newest is the view that a database is opened with.
type newest struct {
	view *view.View
	kept pages.Kept // pages that came with its files

	plan, listed []*ltx.FileInfo // the files that it was built from, and all files
}

// buildNewest builds the newest view.
func (x *index) buildNewest(ctx context.Context) (n newest, err error) {
	n.view, n.kept, err = x.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		plan, err := view.PlanLatest(0, files)
		n.plan, n.listed = plan, files
		return plan, err
	})
	return n, err
}

// build builds a view from the empty state. The function choose makes the plan
// from a listing of all files.
func (x *index) build(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view.View, pages.Kept, error) {
	var err error
	for range planAttempts {
		var files, plan []*ltx.FileInfo
		if files, err = x.store.ListAll(ctx, false); err != nil {
			return nil, nil, err
		}
		if plan, err = choose(files); err == nil {
			var v *view.View
			var kept pages.Kept
			if v, kept, err = x.assemble(ctx, plan); !errs.IsMissing(err) {
				return v, kept, err
			}
			continue
		}
		// The listings of the levels are not taken at one moment. A file that
		// is compacted and deleted in between looks like a gap, or is missing
		// when its header is read.
		var missing *MissingError
		if !errors.As(err, &missing) && !errs.IsMissing(err) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// assemble builds a view from the empty state with the files of a plan.
func (x *index) assemble(ctx context.Context, plan []*ltx.FileInfo) (*view.View, pages.Kept, error) {
	v := new(view.View)
	kept := make(pages.Kept)
	err := x.store.LoadFiles(ctx, plan, func(l *remote.Loaded) (err error) {
		if v, err = v.Advance(l.File, l.Index); err != nil {
			return err
		}
		kept.Keep(l, x.cacheSize)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return v, kept, nil
}

// share runs do once for all concurrent callers that use the same key. The time
// limit of a read applies to do. Each caller waits as long as its own context
// allows.
func (x *index) share(ctx context.Context, key string, do func(context.Context) (any, error)) (any, error) {
	result := x.shared.DoChan(key, func() (_ any, err error) {
		defer task.Guard(x.log, "share", &err)
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
