package write

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// key returns the name of the file of a segment.
func (s *segment) key() view.Key { return view.Key{Level: 0, MinTXID: s.txid(), MaxTXID: s.txid()} }

// findOwn returns the file of a segment's name if it is the segment's own: the
// upload may have succeeded although its answer was lost. Otherwise it ends write
// mode.
func (i *inspector) findOwn(ctx context.Context, s *segment, e *encoding) (*ltx.FileInfo, error) {
	files, err := i.Store.List(ctx, 0, s.txid(), false)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.MinTXID != s.txid() {
			continue
		}
		if f.MaxTXID == s.txid() && f.Size == e.size {
			sum, err := i.Store.Checksum(ctx, f)
			if err != nil {
				return nil, err
			}
			if sum == e.trailer.FileChecksum {
				return f, nil
			}
		}
		return nil, i.queue.lose(fmt.Errorf("another writer has made %s", view.KeyOf(f)))
	}
	return nil, fmt.Errorf("%w: it lacks %s, which exists", ErrWrongListing, s.key())
}

// verify checks, after the file of a segment was made, that its name was never
// used: another writer may have made the transaction before, and its file may have
// been compacted and deleted. From time to time verify also checks that the files
// of all levels give the newest state.
func (i *inspector) verify(ctx context.Context, s *segment, info *ltx.FileInfo) error {
	at := time.Now()
	base := i.Views.Current.Load().Last
	// The first transaction of a database must be the only file on all levels.
	if base != nil && i.isSure() && !i.IsLookDue() {
		alone, err := i.isAlone(ctx, s, base, view.KeyOf(info))
		if err != nil {
			return err
		}
		if alone {
			i.confirm(at)
			return nil
		}
	}
	return i.verifyAll(ctx, at, s, base, info)
}

// isAlone reports whether level 0 shows that no other writer has written: own, the
// file of a segment, is the newest file there, and base, the file that it follows,
// has not changed.
func (i *inspector) isAlone(ctx context.Context, s *segment, base *view.File, own view.Key) (bool, error) {
	seek := own.MinTXID
	if base.Level == 0 {
		seek = base.MinTXID
	}
	files, err := i.Store.List(ctx, 0, seek, false)
	if err != nil {
		return false, err
	}
	s.setListed(files)
	newer := slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > own.MaxTXID })
	return isIn(own, files) && !newer && (seek == own.MinTXID || view.IsListed(base, files)), nil
}

// verifyAll does the checks of verify with a listing of all levels, made after at.
//
// A file that a listing has is evidence that another writer has written, whatever
// other listings lack. That no such file exists is only known from listings that
// have the file of the segment, and so are not older than it.
func (i *inspector) verifyAll(ctx context.Context, at time.Time, s *segment, base *view.File, info *ltx.FileInfo) error {
	own := view.KeyOf(info)
	files, err := i.Store.ListAll(ctx, false)
	if err != nil {
		return err
	}
	looks := looks{files}
	// The newest file of level 0 is not deleted unless another writer has made newer
	// ones. Newer files may follow ours, or an earlier one of the same name. A wrong
	// listing may lack the file that tells.
	gone := base != nil && base.Level == 0 && !view.IsListed(base, files)
	if isIn(own, files) && (gone || looks.beyond(own.MaxTXID) != nil || looks.gap(own.MaxTXID) != nil) {
		again, err := i.Store.ListLevels(ctx, false)
		if err != nil {
			return err
		}
		looks = append(looks, again)
	}
	others := without(looks.union(), own, i.known.mending())
	for _, f := range others {
		if f.Level == 0 || f.MinTXID > own.MinTXID || f.MaxTXID < own.MaxTXID {
			continue
		}
		limited, cancel := i.Tasks.WithTransfer(i.Opts.ReadTimeout, f.Size) // the limit of the upload may be too short
		made, err := i.isMadeOf(limited, s, f)
		cancel()
		if err != nil {
			return err
		}
		if !made {
			// That file has the transaction already, and ours would be a second one.
			return i.giveWay(ctx, own, fmt.Errorf("%s exists", view.KeyOf(f)))
		}
	}
	if base == nil && looks.isTorn() {
		return i.giveWay(ctx, own, errors.New("other files exist, which do not follow the first transaction"))
	}
	switch other, err := i.isOtherHistory(ctx, others); {
	case err != nil:
		return err
	case other:
		return i.giveWay(ctx, own, errOtherHistory)
	}
	for _, files := range looks {
		if !isIn(own, files) {
			return i.checkOwn(ctx, info)
		}
	}
	s.setListed(files)
	return i.checkWhole(ctx, at, s, looks)
}

// giveWay deletes a file that was just made, and ends write mode after that: a
// caller that waits for the sync may close the database as soon as write mode has
// ended, and other processes would follow a file that is left. If the file cannot be
// deleted yet, write mode goes on, and the next sync finds the file and gets here
// again. Only a file that may not be deleted at all is left.
func (i *inspector) giveWay(ctx context.Context, own view.Key, why error) error {
	err := i.Store.Retry(ctx, func() error { return i.Store.Delete(ctx, own) })
	switch {
	case err == nil, errs.IsMissing(err):
		return i.queue.lose(why)
	case ctx.Err() != nil || !errs.IsPermanent(err):
		return fmt.Errorf("%s is too late (%w), and is not deleted yet: %w", own, why, err)
	}
	i.Log.Error("a file that is not in the history of the replica cannot be deleted; delete it by hand", "file", own, "error", err)
	return errors.Join(i.queue.lose(why), err)
}

// setListed records how the file of a segment is listed.
func (s *segment) setListed(files []*ltx.FileInfo) {
	for _, f := range files {
		if view.KeyOf(f) == s.key() {
			s.listed = f
		}
	}
}

// without returns the files whose names are not among keys.
func without(files []*ltx.FileInfo, keys ...view.Key) []*ltx.FileInfo {
	return slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool { return slices.Contains(keys, view.KeyOf(f)) })
}

// checkOwn returns an error that says why a file that was just uploaded is not
// listed.
func (i *inspector) checkOwn(ctx context.Context, info *ltx.FileInfo) error {
	_, err := i.Store.Checksum(ctx, info)
	switch {
	case err == nil:
		return fmt.Errorf("%w: it lacks %s, which exists", ErrWrongListing, view.KeyOf(info))
	case errs.IsMissing(err):
		return fmt.Errorf("%s was deleted after its upload: %w", view.KeyOf(info), err)
	}
	return err
}

// isIn reports whether a file of a name is among the files.
func isIn(k view.Key, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return view.KeyOf(f) == k })
}
