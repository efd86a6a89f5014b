package hydrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// places goes through pages of views with their places in files. Where a place
// is unread, it reads a part of the page index of the file. It belongs to one
// goroutine; the zero value is for views without unread places.
type places struct {
	ctx    context.Context
	reader *partReader
	err    error // of the first place that was not found; after it, no page is visited
}

// places returns places whose requests end with ctx.
func (r *partReader) places(ctx context.Context) *places { return &places{ctx: ctx, reader: r} }

// eachMissing is view.Table.EachMissing for the pages of a view.
func (p *places) eachMissing(v *view.View, set *view.Bitmap, first, last uint32, fn func(pgno uint32, loc view.Loc) bool) {
	if p.err != nil {
		return
	}
	v.Pages.EachMissing(set, first, last, func(pgno uint32, loc view.Loc) bool {
		if loc.IsUnread() {
			if loc, p.err = p.reader.locate(p.ctx, v.Epoch, pgno, loc); p.err != nil {
				return false
			}
		}
		return fn(pgno, loc)
	})
}

// errOtherEpoch means that a read was given up because its epoch has ended.
var errOtherEpoch = errors.New("the replica was replaced meanwhile")

// readPart reads bytes of a page index.
func (r *partReader) readPart(ctx context.Context, f *view.File, epoch uint32, buf []byte, offset int64) error {
	err := r.read(ctx, f, epoch, buf, offset, nil)
	if err == nil && !r.isCurrent(epoch) {
		err = errOtherEpoch // the bytes may not have come
	}
	return err
}

// locate returns the location of a page of an epoch with its place in the file.
func (r *partReader) locate(ctx context.Context, epoch, pgno uint32, loc view.Loc) (view.Loc, error) {
	found, err := r.Store.LocateBy(pgno, loc, func(buf []byte, offset int64) error {
		return r.readPart(ctx, loc.File, epoch, buf, offset)
	})
	return found, r.indexError(loc.File, epoch, err)
}

// indexError is the error of a read of the page index of a file of an epoch.
func (r *partReader) indexError(f *view.File, epoch uint32, err error) error {
	if errors.Is(err, errs.ErrCorrupt) {
		return &fileError{file: f, epoch: epoch, error: fmt.Errorf("hydrate from %s: %w", f, err)}
	}
	return err
}

// readIndex reads all of a page index that is read as it is needed.
func (r *partReader) readIndex(ctx context.Context, f *view.File, epoch uint32) error {
	err := r.Store.CompleteIndex(ctx, f, func(ctx context.Context, f *view.File, buf []byte, offset int64) error {
		return r.readPart(ctx, f, epoch, buf, offset)
	})
	return r.indexError(f, epoch, err)
}

// readIndexes reads the page indexes of a view that are to be read as they are
// needed, because all of them is needed now. If their memory is bounded, the
// places of pages are read again and again instead.
func (r *partReader) readIndexes(ctx context.Context, v *view.View) error {
	for _, f := range v.Unread() {
		if f.Dense.IsBounded() || f.Gone.Load() {
			continue
		}
		if err := r.readIndex(ctx, f, v.Epoch); err != nil {
			return err
		}
	}
	return nil
}
