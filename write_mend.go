package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/superfly/ltx"
)

// mend fills a hole: it makes a snapshot of the newest state, from the pages that
// can still be read. A file counts as missing if reading it says so, too. S is
// a segment that was just uploaded, or nil.
func (w *writer) mend(ctx context.Context, s *segment, files []*ltx.FileInfo, gap error) (*ltx.FileInfo, error) {
	missing, err := w.missing(ctx, files)
	if err != nil {
		return nil, err
	}
	switch why, err := w.overtaken(ctx, files); {
	case err != nil:
		return nil, err
	case why != nil && s != nil:
		return nil, w.giveWay(ctx, fileKey{0, s.txid(), s.txid()}, why)
	case why != nil:
		return nil, w.lose(why)
	}
	lacks := fmt.Errorf("%w%s", gap, namesOf(missing))
	info, unreadable, err := w.createSnapshot(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case unreadable != nil:
		w.known.hole = fmt.Errorf("%w; commits stay in the write buffer until the files are back: %w", lacks, unreadable)
		return nil, w.known.hole
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w: it lacks a snapshot that is there: %w", errWrongListing, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", lacks, err)
	}
	w.known.mended = info
	w.counts.Mended++
	w.db.log.Warn("files of the replica were missing; a snapshot of the newest state stands for them, older states may be lost",
		"error", lacks, "snapshot", keyOf(info), "bytes", info.Size)
	return info, nil
}

// mostMissing bounds the files that are read to see whether they are missing.
const mostMissing = 32

// missing returns the files that gave the newest state, and that are neither
// listed nor to be read. One that can be read means that the listing is wrong.
func (w *writer) missing(ctx context.Context, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	w.mu.Lock()
	want := fileSet(w.known.files)
	w.mu.Unlock()
	cur := w.db.current.Load()
	has := cur.files()
	if cur.last != nil {
		has[cur.last.key()] = cur.last
	}
	for key, f := range has {
		want[key] = &ltx.FileInfo{Level: f.level, MinTXID: f.minTXID, MaxTXID: f.maxTXID, Size: f.size}
	}
	for _, f := range files {
		delete(want, keyOf(f))
	}
	var missing []*ltx.FileInfo
	for _, key := range slices.SortedFunc(maps.Keys(want), fileKey.compare) {
		if len(missing) == mostMissing {
			break
		}
		f := want[key]
		_, err := w.db.store.checksum(ctx, f)
		switch {
		case err == nil:
			return nil, fmt.Errorf("%w: it lacks %s, which is there", errWrongListing, keyOf(f))
		case !isMissing(err):
			return nil, err
		}
		missing = append(missing, f)
	}
	return missing, nil
}

// namesOf names missing files for an error.
func namesOf(files []*ltx.FileInfo) string {
	const most = 5
	var names []string
	for _, f := range files[:min(len(files), most)] {
		names = append(names, keyOf(f).String())
	}
	switch {
	case len(names) == 0:
		return ""
	case len(files) > most:
		names = append(names, "...")
	}
	return " (missing: " + strings.Join(names, ", ") + ")"
}

// overtaken returns why write mode is to end: a file that we do not know is
// younger than the newest transaction that we know, as another writer went on from
// an older state. Snapshots do not tell, as some are stamped when they are made.
func (w *writer) overtaken(ctx context.Context, files []*ltx.FileInfo) (why, err error) {
	have := w.knownFiles()
	cur := w.db.current.Load()
	var newest *ltx.FileInfo
	for _, f := range files {
		if f.Level < SnapshotLevel && f.MaxTXID <= cur.txid && have[keyOf(f)] == nil && (newest == nil || f.MaxTXID > newest.MaxTXID) {
			newest = f
		}
	}
	if newest == nil {
		return nil, nil
	}
	timestamp, err := w.db.store.timestamp(ctx, newest)
	if err == nil && timestamp > cur.timestamp {
		why = fmt.Errorf("%s is younger than our transaction %s", keyOf(newest), cur.txid)
	}
	return why, err
}

// createSnapshot makes a file of the newest state on the replica, or of that
// after a segment. Unreadable is why a page of it cannot be read.
func (w *writer) createSnapshot(s *segment) (info *ltx.FileInfo, unreadable, err error) {
	db := w.db
	cur := db.current.Load()
	hdr := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: cur.pageSize, Commit: cur.commit,
		MinTXID: 1, MaxTXID: cur.txid, Timestamp: cur.timestamp,
	}
	if s != nil {
		hdr.Commit, hdr.MaxTXID, hdr.Timestamp = s.commit, s.txid(), s.newest
	}
	limit := db.opts.ReadTimeout
	if limit >= 0 {
		limit += 2 * timeFor(int64(hdr.Commit)*int64(hdr.PageSize))
	}
	ctx, cancel := db.tasks.WithTimeout(limit)
	defer cancel()
	key := fileKey{SnapshotLevel, hdr.MinTXID, hdr.MaxTXID}
	w.mu.Lock()
	w.known.mending, w.known.mended = key, nil
	w.mu.Unlock()
	info, err = db.store.create(ctx, key, func(dst io.Writer) error {
		unreadable = nil
		enc, err := ltx.NewEncoder(dst)
		if err == nil {
			err = enc.EncodeHeader(hdr)
		}
		if err != nil {
			return err
		}
		page := make([]byte, hdr.PageSize)
		lock := ltx.LockPgno(hdr.PageSize)
		for pgno := uint32(1); pgno <= hdr.Commit; pgno++ {
			if pgno == lock {
				continue
			}
			if unreadable = w.readPage(ctx, cur, s, pgno, page); unreadable != nil {
				return unreadable
			}
			if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
				return err
			}
		}
		return enc.Close()
	})
	return info, unreadable, err
}

// mendAhead is how many pages are read together for a snapshot.
const mendAhead = 256

// readPage reads a page as it is after a segment, from wherever it is.
func (w *writer) readPage(ctx context.Context, cur *view, s *segment, pgno uint32, p []byte) error {
	if s != nil {
		if _, ok := s.pages[pgno]; ok {
			return s.read(pgno, p)
		}
		if pgno > s.least {
			clear(p)
			return nil
		}
	}
	if pgno%mendAhead == 1 {
		pgnos := make([]uint32, mendAhead)
		for i := range pgnos {
			pgnos[i] = pgno + uint32(i)
		}
		w.db.readAhead(cur, pgnos, 0, nil)
	}
	page, err := w.db.page(ctx, cur, pgno)
	if err != nil {
		return err
	}
	if page == nil {
		clear(p) // it was never written
	} else {
		copy(p, page)
	}
	return nil
}

// settle points the pages of the current view to the snapshot that fills a
// hole, once the view has got there.
func (w *writer) settle(ctx context.Context) {
	w.mu.Lock()
	info := w.known.mended
	if w.known.mending.maxTXID > w.db.current.Load().txid {
		w.mu.Unlock()
		return
	}
	w.known.mending, w.known.mended = fileKey{}, nil
	w.mu.Unlock()
	if info == nil {
		return
	}
	l, err := w.db.store.loadFile(ctx, info)
	if err == nil {
		err = w.db.relocateCurrent(l, func(*view) bool { return true }) // it was made of this view
	}
	if err != nil {
		w.db.log.Warn("cannot move pages away from missing files", "error", err) // reads of them do it
	}
}
