package write

import (
	"context"
	"errors"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// errOtherHistory is the reason to end write mode if the replica has another
// history.
var errOtherHistory = errors.New("the replica has another history now")

// checkHistory ends write mode if files are of another history than the current
// view.
func (i *inspector) checkHistory(ctx context.Context, files []*ltx.FileInfo) error {
	other, err := i.isOtherHistory(ctx, files)
	if err == nil && other {
		err = i.queue.lose(errOtherHistory)
	}
	return err
}

// isOtherHistory reports whether files are of another history than the current
// view.
func (i *inspector) isOtherHistory(ctx context.Context, files []*ltx.FileInfo) (other bool, err error) {
	cur := i.Views.Current.Load()
	if len(files) > 0 {
		other, err = i.Index.IsReplaced(ctx, cur, files)
	}
	if err == nil && (other || len(files) == 0) {
		other, err = i.SecondLook(ctx, cur, files)
	}
	return other, err
}

// SecondLook reports whether the replica is of another history than view v, after
// a listing had none of the files of v. It reads the newest file of v instead of
// listing it. If that file can be read, the listing is wrong, which is an error.
// If it is missing, files that are not known prove another history. Without such
// files, the replica of this history has a hole.
func (i *inspector) SecondLook(ctx context.Context, v *view.View, files []*ltx.FileInfo) (replaced bool, err error) {
	if v.Last == nil {
		return false, nil
	}
	newest := &ltx.FileInfo{Level: v.Last.Level, MinTXID: v.Last.MinTXID, MaxTXID: v.Last.MaxTXID, Size: v.Last.Size}
	switch sum, err := i.Store.Checksum(ctx, newest); {
	case err == nil && sum == v.Last.Checksum:
		return false, fmt.Errorf("%w: it lacks %s, which exists", ErrWrongListing, v.Last)
	case err == nil, errors.Is(err, errs.ErrCorrupt):
		return true, nil
	case !errs.IsMissing(err):
		return false, err
	}
	have := i.known.all()
	agrees := false
	var unknown *ltx.FileInfo // the newest file that is not known
	for _, f := range files {
		switch k := have[view.KeyOf(f)]; {
		case k != nil && !isSameFile(k, f):
			return true, nil
		case k != nil:
			agrees = true
		case f.MinTXID <= v.TXID && (unknown == nil || unknown.MaxTXID < f.MaxTXID): // a later one may be our own next file
			unknown = f
		}
	}
	if agrees || unknown == nil {
		return false, nil
	}
	timestamp, err := i.Store.Timestamp(ctx, unknown)
	if err == nil && timestamp <= v.Timestamp {
		err = fmt.Errorf("%w: %s is missing, and it is unknown whether %s is of the same database", ErrWrongListing, v.Last, view.KeyOf(unknown))
	}
	return err == nil, err
}
