package hydrate

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// maxWitnesses bounds how many files are read to find one that the replica had
// when a record was written.
const maxWitnesses = 4

// errUnknown means that storage does not tell whether a hydration file can be
// used. It may tell later.
var errUnknown = errors.New("it is not known whether the hydration file can be used")

// trusted returns the pages of the hydration file that are as in a view, and the
// generation of the table that the record belongs to, or why none can be trusted.
//
// The replica must still have one of the files that it had when the record was
// written: up to the last transaction of that file, the history is known to be
// the same. Younger pages are given up. So are pages that changed since, as
// their versions in the view tell or, better, the files that lead from there
// to the view: a new snapshot gives every page a new version.
func (k *keeper) trusted(l *localPages, v *view.View, r *Access) (pages trustedPages, table uint64, err error) {
	none := trustedPages{}
	rec, forgotten, err := k.oldRecord(l, v)
	if err != nil {
		return none, 0, err
	}
	if err := k.checkFile(l, rec, forgotten); err != nil {
		return none, 0, err
	}
	var names []recordFile
	for _, f := range rec.Files {
		names = append(names, f.recordFile)
	}
	upTo, files, err := r.witness(names, v, -1)
	if err != nil {
		return none, 0, err
	}
	pages = rec.pagesOf(v, upTo, forgotten, r.changedSince(upTo, v, files))
	if !r.isCurrent(v.Epoch) {
		return none, 0, errors.New("the replica was replaced meanwhile")
	}
	return pages, rec.Table, nil
}

// oldRecord returns the record that an earlier process left, and the pages
// that it excludes. An error tells why it cannot be of a view.
func (k *keeper) oldRecord(l *localPages, v *view.View) (*record, map[uint32]bool, error) {
	rec, forgotten, err := parseRecord(k.old.b)
	switch {
	case err != nil:
	case rec.TXID == 0:
		err = errors.New("it lists no pages")
	case rec.PageSize != v.PageSize:
		err = fmt.Errorf("its page size is %d, that of the database is %d", rec.PageSize, v.PageSize)
	case rec.TXID > v.TXID:
		err = fmt.Errorf("it is of transaction %s, and the replica ends at %s", rec.TXID, v.TXID)
	default:
		err = rec.checkSize(k.file.Size())
	}
	return rec, forgotten, err
}

// checkSize returns an error if a file of a size cannot have the pages of a record.
func (r *record) checkSize(size int64) error {
	if least := int64(r.end()) * int64(r.PageSize); size < least {
		return fmt.Errorf("it has %d bytes, and should have %d", size, least)
	}
	return nil
}

// checkFile compares the file with a record.
func (k *keeper) checkFile(l *localPages, rec *record, forgotten map[uint32]bool) error {
	if err := k.checkSamples(l, rec, forgotten); err != nil {
		return err
	}
	// A process that was stopped may have written its record after another had
	// replaced the file.
	if id := rec.FileID; id != "" && (!k.marked || id != k.file.ID().String()) {
		return errors.New("the record is of another file, or the file was cut off")
	}
	return k.checkCopy(rec)
}

// checkCopy returns an error if the file and its record may be copies that were made
// while a process used them, because those are of different moments.
//
// A copy to new files has other numbers. A copy that is written back to the files
// that it was made of has their numbers, but a record of another checkpoint: each one
// makes a new file. Only the record that is there when it is written back passes.
func (k *keeper) checkCopy(rec *record) error {
	n := k.file.Identity().Lasting()
	switch {
	case rec.Closed, n == 0, rec.FileNumber == 0: // early versions wrote no number to compare
	case n != rec.FileNumber, rec.RecordNumber != 0 && k.old.number != rec.RecordNumber:
		return errors.New("it is a copy of a file that was in use")
	case rec.RecordNumber == 0:
		return errors.New("it may be a copy of a file that was in use: its record is of an earlier version, and the process did not close it")
	}
	return nil
}

// checkSamples compares some pages of the file with a record.
func (k *keeper) checkSamples(l *localPages, rec *record, forgotten map[uint32]bool) error {
	if err := k.file.Grow(k.file.Size()); err != nil {
		return err
	}
	page := make([]byte, l.size)
	for _, s := range rec.Samples {
		if s.Pgno == 0 || s.Pgno > rec.Commit {
			return fmt.Errorf("%w: sample of page %d", errBadRecord, s.Pgno)
		}
		if forgotten[s.Pgno] {
			continue
		}
		if err := k.file.ReadAt(page, int64(s.Pgno-1)*l.size); err != nil {
			return err
		}
		if crc64.Checksum(page, recordTable) != s.CRC64 {
			return fmt.Errorf("page %d is not what was written", s.Pgno)
		}
	}
	return nil
}

// pagesOf returns the pages of a record that are as in a view. UpTo is the last
// transaction that both have, and changed are the pages that changed after it,
// nil if that is not known.
func (r *record) pagesOf(v *view.View, upTo ltx.TXID, forgotten map[uint32]bool, changed *remote.Written) trustedPages {
	end := v.Pages.End()
	pages := trustedPages{set: view.NewBitmap(end), compared: view.NewBitmap(end)}
	eachRun(r.runs, r.Commit, func(first, n uint32, version ltx.TXID) {
		if version == 0 || version > upTo {
			return
		}
		v.Pages.EachMissing(nil, first, first+(n-1), func(pgno uint32, loc view.Loc) bool {
			if !forgotten[pgno] && (loc.Version <= upTo || changed != nil && !changed.Has(pgno)) {
				pages.set.Set(pgno)
				pages.n++
			}
			return true
		})
	})
	eachRun(r.Compared, r.Commit, func(first, n uint32, covers ltx.TXID) {
		if covers == 0 {
			return
		}
		v.Pages.EachMissing(nil, first, first+(n-1), func(pgno uint32, _ view.Loc) bool {
			if pages.set.Has(pgno) && pages.compared.Set(pgno) {
				pages.covered++
			}
			return true
		})
	})
	return pages
}

// witness returns the last transaction up to which the replica is known to have
// a history with these files, and the files of the replica. A negative limit of the
// time that it takes is none.
func (r *Access) witness(had []recordFile, v *view.View, limit time.Duration) (ltx.TXID, []*ltx.FileInfo, error) {
	ctx, cancel := r.Tasks.WithTimeout(limit)
	defer cancel()
	before := r.Views.Current.Load()
	files, err := r.Store.ListAll(ctx, false)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	// The replica may have been replaced since the view was made.
	if epoch, err := r.EpochOf(ctx, before, files); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
	} else if epoch != v.Epoch {
		return 0, nil, errors.New("the replica was replaced meanwhile")
	}
	listed := make(map[view.Key]*ltx.FileInfo, len(files))
	for _, info := range files {
		listed[view.KeyOf(info)] = info
	}
	slices.SortFunc(had, func(a, b recordFile) int { return cmp.Compare(b.MaxTXID, a.MaxTXID) })
	tries := 0
	for _, f := range had {
		info := listed[view.Key{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID}]
		if info == nil || info.Size != f.Size || f.MaxTXID > v.TXID {
			continue
		}
		if tries++; tries > maxWitnesses {
			break
		}
		checksum, err := r.Store.Checksum(ctx, info)
		switch {
		case err == nil && checksum == f.Checksum:
			return f.MaxTXID, files, nil
		case err != nil && !errs.IsMissing(err) && !errors.Is(err, errs.ErrCorrupt):
			return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
		}
	}
	return 0, nil, errors.New("no file of the replica tells that it is of the same history")
}

// end returns the last page that a record lists.
func (r *record) end() (last uint32) {
	eachRun(r.runs, r.Commit, func(first, n uint32, version ltx.TXID) {
		if version != 0 {
			last = first + (n - 1)
		}
	})
	return last
}

// changedSince returns the pages of a view that changed after a transaction,
// nil if that cannot be told.
func (r *Access) changedSince(from ltx.TXID, v *view.View, files []*ltx.FileInfo) *remote.Written {
	ctx, cancel := r.Tasks.WithTimeout(-1)
	defer cancel()
	changed, err := r.Store.WrittenBetween(ctx, from, v.TXID, files)
	if err != nil {
		r.Log.Debug("cannot tell what has changed since the hydration file was written", "error", err)
		return nil
	}
	return changed
}
