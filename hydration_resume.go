package litestream

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// maxWitnesses bounds the files whose checksums are read to find one that the
// replica had before.
const maxWitnesses = 4

// errUnknown means that storage does not tell whether a hydration file can be
// used. It may later.
var errUnknown = errors.New("it is not known whether the hydration file can be used")

// trusted returns which pages of the hydration file are as in a view, or why
// none can be trusted.
//
// The replica must still have one of the files that it had when the record was
// written: up to its last transaction, the history is known to be the same.
// Pages that were younger are given up, and so are those that changed since,
// by their versions in the view or, better, by the files that lead from there
// to here: after a new snapshot, all versions are new.
func (k *keeper) trusted(l *localPages, v *view) (trustedPages, error) {
	none := trustedPages{}
	rec, forgotten, err := parseRecord(k.old)
	switch {
	case err != nil:
		return none, err
	case rec.TXID == 0:
		return none, errors.New("it was not begun")
	case rec.PageSize != v.pageSize:
		return none, fmt.Errorf("its page size is %d, that of the database is %d", rec.PageSize, v.pageSize)
	case k.file.Size() < int64(rec.end())*l.size:
		return none, fmt.Errorf("it has %d bytes, and should have %d", k.file.Size(), int64(rec.end())*l.size)
	case rec.TXID > v.txid:
		return none, fmt.Errorf("it is of transaction %s, and the replica ends at %s", rec.TXID, v.txid)
	}
	if err := k.file.Grow(k.file.Size()); err != nil {
		return none, err
	}
	page := make([]byte, l.size)
	for _, s := range rec.Samples {
		if s.Pgno == 0 || s.Pgno > rec.Commit {
			return none, fmt.Errorf("%w: sample of page %d", errBadRecord, s.Pgno)
		}
		if forgotten[s.Pgno] {
			continue
		}
		if err := k.file.ReadAt(page, int64(s.Pgno-1)*l.size); err != nil {
			return none, err
		}
		if crc64.Checksum(page, recordTable) != s.CRC64 {
			return none, fmt.Errorf("page %d is not what was written", s.Pgno)
		}
	}
	upTo, files, err := k.witness(rec, v)
	if err != nil {
		return none, err
	}
	changed := k.changedSince(upTo, v, files)
	end := v.pages.end()
	pages := trustedPages{set: newBitmap(end), compared: newBitmap(end)}
	eachRun(rec.runs, rec.Commit, func(first, n uint32, version ltx.TXID) {
		if version == 0 || version > upTo {
			return
		}
		v.pages.eachMissing(nil, first, first+(n-1), func(pgno uint32, loc frameLoc) bool {
			if !forgotten[pgno] && (loc.version <= upTo || changed != nil && !changed.has(pgno)) {
				pages.set.set(pgno)
				pages.n++
			}
			return true
		})
	})
	eachRun(rec.Compared, rec.Commit, func(first, n uint32, covers ltx.TXID) {
		if covers == 0 {
			return
		}
		v.pages.eachMissing(nil, first, first+(n-1), func(pgno uint32, _ frameLoc) bool {
			if pages.set.has(pgno) && pages.compared.set(pgno) {
				pages.covered++
			}
			return true
		})
	})
	if v.epoch != k.h.db.current.Load().epoch {
		return none, errors.New("the replica was replaced meanwhile")
	}
	return pages, nil
}

// witness returns the last transaction up to which the replica is known to be
// the one that the record is of, and its files.
func (k *keeper) witness(rec *record, v *view) (ltx.TXID, []*ltx.FileInfo, error) {
	ctx, cancel := k.h.db.tasks.WithTimeout(-1)
	defer cancel()
	before := k.h.db.current.Load()
	files, err := k.h.db.store.listAll(ctx, false)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	// The replica may have been replaced since the view was made.
	if epoch, err := k.h.db.epochOf(ctx, before, files); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
	} else if epoch != v.epoch {
		return 0, nil, errors.New("the replica was replaced meanwhile")
	}
	listed := make(map[fileKey]*ltx.FileInfo, len(files))
	for _, info := range files {
		listed[keyOf(info)] = info
	}
	slices.SortFunc(rec.Files, func(a, b recordFile) int { return cmp.Compare(b.MaxTXID, a.MaxTXID) })
	tries := 0
	for _, f := range rec.Files {
		info := listed[fileKey{f.Level, f.MinTXID, f.MaxTXID}]
		if info == nil || info.Size != f.Size || f.MaxTXID > v.txid {
			continue
		}
		if tries++; tries > maxWitnesses {
			break
		}
		checksum, err := k.h.db.store.checksum(ctx, info)
		switch {
		case err == nil && checksum == f.Checksum:
			return f.MaxTXID, files, nil
		case err != nil && !isMissing(err) && !errors.Is(err, ErrCorrupt):
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

// changes are pages that changed.
type changes struct {
	pages *bitmap
	least uint32 // all pages beyond it did
}

func (c *changes) has(pgno uint32) bool { return pgno > c.least || c.pages.has(pgno) }

// changedSince returns the pages that changed after a transaction, nil if that
// cannot be told.
func (k *keeper) changedSince(from ltx.TXID, v *view, files []*ltx.FileInfo) *changes {
	plan, end := extend(from, v.txid, files)
	if end != v.txid || slices.ContainsFunc(plan, func(f *ltx.FileInfo) bool { return f.MinTXID == 1 }) {
		return nil
	}
	ctx, cancel := k.h.db.tasks.WithTimeout(-1)
	defer cancel()
	changed := &changes{newBitmap(v.pages.end()), v.commit}
	err := k.h.db.store.loadFiles(ctx, plan, func(l *loadedFile) error {
		l.index.Each(func(e ltxio.Entry) bool {
			changed.pages.set(e.Pgno)
			return true
		})
		changed.least = min(changed.least, l.file.commit) // what lies beyond was cut off in between
		return nil
	})
	if err != nil {
		k.h.db.log.Debug("cannot tell what has changed since the hydration file was written", "error", err)
		return nil
	}
	return changed
}
