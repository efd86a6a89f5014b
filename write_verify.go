package litestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"
)

// findOwn looks whether the file that has the name of a segment's is the segment's: its
// upload may have succeeded without our being told.
func (w *writer) findOwn(ctx context.Context, s *segment, e *encoding) (*ltx.FileInfo, error) {
	files, err := w.db.store.list(ctx, 0, s.txid(), false)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.MinTXID != s.txid() {
			continue
		}
		if f.MaxTXID == s.txid() && f.Size == e.size {
			sum, err := w.db.store.checksum(ctx, f)
			if err != nil {
				return nil, err
			}
			if sum == e.trailer.FileChecksum {
				return f, nil
			}
		}
		return nil, w.lose(fmt.Errorf("%s is another's", keyOf(f)))
	}
	return nil, fmt.Errorf("%w: it lacks %s, which is there", errWrongListing, fileKey{0, s.txid(), s.txid()})
}

// verify looks, after the file of a segment was made, whether the name was not
// merely free again: because the transaction had been another's before, which
// was compacted and deleted. From time to time it looks whether the files of
// all levels give the newest state, too.
func (w *writer) verify(ctx context.Context, s *segment, info *ltx.FileInfo) error {
	at := time.Now()
	own := keyOf(info)
	base := w.db.current.Load().last
	// The first transaction of a database has to be alone, on every level.
	if base != nil && w.isSure() && !w.isLookDue() {
		seek := own.minTXID
		if base.level == 0 {
			seek = base.minTXID
		}
		files, err := w.db.store.list(ctx, 0, seek, false)
		if err != nil {
			return err
		}
		s.setListed(files)
		newer := slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > own.maxTXID })
		if isIn(own, files) && !newer && (seek == own.minTXID || isListed(base, files)) {
			w.confirm(at)
			return nil
		}
	}
	files, err := w.db.store.listAll(ctx, false)
	if err != nil {
		return err
	}
	if base != nil && base.level == 0 && !isListed(base, files) {
		// The newest file of level 0 stays, unless another writer has made newer
		// ones, which a listing that is wrong may lack.
		again, err := w.db.store.listLevels(ctx, false)
		if err != nil {
			return err
		}
		have := fileSet(files)
		files = append(files, slices.DeleteFunc(again, func(f *ltx.FileInfo) bool { return have[keyOf(f)] != nil })...)
	}
	others := w.withoutOwn(files, s)
	for _, f := range others {
		if base == nil || f.Level > 0 && f.MinTXID <= own.minTXID && f.MaxTXID >= own.maxTXID {
			// Whatever is in there counts. Ours would be a second one.
			return w.giveWay(ctx, own, fmt.Errorf("%s is there", keyOf(f)))
		}
	}
	switch other, err := w.isOtherHistory(ctx, others); {
	case err != nil:
		return err
	case other:
		return w.giveWay(ctx, own, errBegunAnew)
	}
	if !isIn(own, files) {
		return w.checkOwn(ctx, info)
	}
	s.setListed(files)
	return w.checkWhole(ctx, at, s, files)
}

// giveWay deletes a file that was just made, and then ends write mode: who waits
// for the sync may close the database as soon as that has ended, and others would
// follow a file that is left.
func (w *writer) giveWay(ctx context.Context, own fileKey, why error) error {
	err := w.db.store.delete(ctx, own)
	return errors.Join(w.lose(why), err)
}

// setListed notes how the file of a segment is listed.
func (s *segment) setListed(files []*ltx.FileInfo) {
	for _, f := range files {
		if keyOf(f) == (fileKey{0, s.txid(), s.txid()}) {
			s.listed = f
		}
	}
}

// withoutOwn returns files without those that this process has made of a segment.
func (w *writer) withoutOwn(files []*ltx.FileInfo, s *segment) []*ltx.FileInfo {
	own := fileKey{0, s.txid(), s.txid()}
	w.mu.Lock()
	mending := w.known.mending
	w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool { return keyOf(f) == own || keyOf(f) == mending })
}

// checkOwn returns why a file that was just uploaded is not listed.
func (w *writer) checkOwn(ctx context.Context, info *ltx.FileInfo) error {
	_, err := w.db.store.checksum(ctx, info)
	switch {
	case err == nil:
		return fmt.Errorf("%w: it lacks %s, which is there", errWrongListing, keyOf(info))
	case isMissing(err):
		return fmt.Errorf("%s was uploaded, and was deleted: %w", keyOf(info), err)
	}
	return err
}

func isIn(k fileKey, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return keyOf(f) == k })
}
