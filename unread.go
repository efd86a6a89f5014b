package litestream

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// indexDelay is the time from an open, or from the arrival of a file, until the
// unread part of its page index begins to be read. A program that looks something
// up and ends does not pay for it.
const indexDelay = time.Second

// indexRest reads the parts of page indexes that queries did not need, in the
// background, so that later ones need no additional round trip. It is safe for
// concurrent use; the zero value is ready.
type indexRest struct {
	running atomic.Bool
}

// readRest reads what is unread of the page indexes of the current view, unless
// their memory is bounded.
func (x *index) readRest() {
	if len(x.unread(nil)) == 0 || x.rest.running.Swap(true) {
		return
	}
	if !x.tasks.Go(x.readRestNow) {
		x.rest.running.Store(false)
	}
}

func (x *index) readRestNow() {
	var failed []*view.File
	defer func() {
		x.rest.running.Store(false)
		// Another file may have come since the last look.
		if len(x.unread(failed)) > 0 && !x.tasks.Closed() {
			x.readRest()
		}
	}()
	ctx := x.tasks.Context()
	timer := time.NewTimer(indexDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		files := x.unread(failed)
		if len(files) == 0 {
			return
		}
		f := files[0]
		err := x.store.CompleteIndex(ctx, f, x.store.ReadIndexPart)
		switch {
		case err == nil:
			x.log.Debug("page index is complete", "file", f, "pages", f.Frames)
		case ctx.Err() != nil:
			return
		default:
			// Reads of pages say so as well, and look for another file.
			if errs.IsMissing(err) {
				f.Gone.Store(true)
			}
			x.log.Warn("the page index of a file cannot be read as a whole", "file", f, "error", err)
			failed = append(failed, f)
		}
	}
}

// unread returns the files of the current view whose page indexes are yet to be
// read, except some.
func (x *index) unread(except []*view.File) []*view.File {
	v := x.Current.Load()
	if v == nil {
		return nil
	}
	return slices.DeleteFunc(v.Unread(), func(f *view.File) bool {
		return f.Dense.IsBounded() || f.Gone.Load() || slices.Contains(except, f)
	})
}
