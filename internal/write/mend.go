package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// mender replaces missing files: it makes a snapshot of the newest state and points
// views to it. The goroutine that syncs uses it.
type mender struct {
	*Deps
	known *knownFiles
}

// mend fills a hole: it makes a snapshot of the newest state from pages that can
// still be read. A file counts as missing only if it cannot be read either. S is
// the segment that was just uploaded, or nil.
func (i *inspector) mend(ctx context.Context, s *segment, files []*ltx.FileInfo, gap error) (*ltx.FileInfo, error) {
	missing, err := i.mender.missing(ctx, files)
	if err != nil {
		return nil, err
	}
	switch why, err := i.mender.overtaken(ctx, files); {
	case err != nil:
		return nil, err
	case why != nil && s != nil:
		return nil, i.giveWay(ctx, s.key(), why)
	case why != nil:
		return nil, i.queue.lose(why)
	}
	return i.mender.fill(s, fmt.Errorf("%w%s", gap, namesOf(missing)))
}

// fill makes the snapshot. Lacks is the error that names the missing files.
func (m *mender) fill(s *segment, lacks error) (*ltx.FileInfo, error) {
	info, unreadable, err := m.createSnapshot(s)
	switch {
	case unreadable != nil:
		hole := fmt.Errorf("%w; commits stay in the write buffer until the files are back: %w", lacks, unreadable)
		m.known.setHole(hole)
		return nil, hole
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w: it lacks a snapshot that exists: %w", ErrWrongListing, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", lacks, err)
	}
	m.known.setMended(info)
	m.Log.Warn("files of the replica were missing; a snapshot of the newest state replaces them, older states may be lost",
		"error", lacks, "snapshot", view.KeyOf(info), "bytes", info.Size)
	return info, nil
}

// mostMissing bounds the number of files that are read to confirm that they are
// missing.
const mostMissing = 32

// missing returns the files of the newest state that are not listed and cannot be
// read. If one of them can be read, the listing is wrong, which is an error.
func (m *mender) missing(ctx context.Context, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	want := m.known.newest()
	cur := m.Views.Current.Load()
	has := cur.Files()
	if cur.Last != nil {
		has[cur.Last.Key()] = cur.Last
	}
	for key, f := range has {
		want[key] = &ltx.FileInfo{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size}
	}
	for _, f := range files {
		delete(want, view.KeyOf(f))
	}
	var missing []*ltx.FileInfo
	for _, key := range slices.SortedFunc(maps.Keys(want), view.Key.Compare) {
		if len(missing) == mostMissing {
			break
		}
		f := want[key]
		_, err := m.Store.Checksum(ctx, f)
		switch {
		case err == nil:
			return nil, fmt.Errorf("%w: it lacks %s, which exists", ErrWrongListing, view.KeyOf(f))
		case !errs.IsMissing(err):
			return nil, err
		}
		missing = append(missing, f)
	}
	return missing, nil
}

// namesOf returns the names of missing files as the end of an error text.
func namesOf(files []*ltx.FileInfo) string {
	const most = 5
	var names []string
	for _, f := range files[:min(len(files), most)] {
		names = append(names, view.KeyOf(f).String())
	}
	switch {
	case len(names) == 0:
		return ""
	case len(files) > most:
		names = append(names, "...")
	}
	return " (missing: " + strings.Join(names, ", ") + ")"
}

// overtaken returns in why the reason to end write mode: an unknown file is younger
// than the newest known transaction, because another writer continued from an older
// state. Snapshots do not count, because some have the time of their creation.
func (m *mender) overtaken(ctx context.Context, files []*ltx.FileInfo) (why, err error) {
	have := m.known.all()
	cur := m.Views.Current.Load()
	var newest *ltx.FileInfo
	for _, f := range files {
		if f.Level < replica.SnapshotLevel && f.MaxTXID <= cur.TXID && have[view.KeyOf(f)] == nil && (newest == nil || f.MaxTXID > newest.MaxTXID) {
			newest = f
		}
	}
	if newest == nil {
		return nil, nil
	}
	timestamp, err := m.Store.Timestamp(ctx, newest)
	if err == nil && timestamp > cur.Timestamp {
		why = fmt.Errorf("%s is younger than transaction %s of this process", view.KeyOf(newest), cur.TXID)
	}
	return why, err
}

// createSnapshot makes a file of the newest state on the replica, or of the state
// after segment s. Unreadable is the error of a page that cannot be read.
func (m *mender) createSnapshot(s *segment) (info *ltx.FileInfo, unreadable, err error) {
	cur := m.Views.Current.Load()
	hdr := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: cur.PageSize, Commit: cur.Commit,
		MinTXID: 1, MaxTXID: cur.TXID, Timestamp: cur.Timestamp,
	}
	if s != nil {
		hdr.Commit, hdr.MaxTXID, hdr.Timestamp = s.commit, s.txid(), s.newest
	}
	size := int64(hdr.Commit) * int64(hdr.PageSize)
	ctx, cancel := m.Tasks.WithTransfer(m.Opts.ReadTimeout, 2*size) // it is read and written
	defer cancel()
	key := view.Key{Level: replica.SnapshotLevel, MinTXID: hdr.MinTXID, MaxTXID: hdr.MaxTXID}
	m.known.setMending(key)
	info, err = m.Store.Create(ctx, key, func(dst io.Writer) (err error) {
		unreadable, err = m.encodeSnapshot(ctx, dst, hdr, cur, s)
		return cmp.Or(unreadable, err)
	})
	return info, unreadable, err
}

// encodeSnapshot writes a snapshot. Unreadable is the error of a page that cannot
// be read.
func (m *mender) encodeSnapshot(ctx context.Context, dst io.Writer, hdr ltx.Header, cur *view.View, s *segment) (unreadable, err error) {
	enc, err := ltx.NewEncoder(dst)
	if err == nil {
		err = enc.EncodeHeader(hdr)
	}
	if err != nil {
		return nil, err
	}
	page := make([]byte, hdr.PageSize)
	lock := ltx.LockPgno(hdr.PageSize)
	for pgno := uint32(1); pgno <= hdr.Commit; pgno++ {
		if pgno == lock {
			continue
		}
		if err := m.readPage(ctx, cur, s, pgno, page); err != nil {
			return err, nil
		}
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			return nil, err
		}
	}
	return nil, enc.Close()
}

// mendAhead is the number of pages that are read together for a snapshot.
const mendAhead = 256

// readPage reads a page as it is after segment s: from the segment, or from the
// view cur.
func (m *mender) readPage(ctx context.Context, cur *view.View, s *segment, pgno uint32, p []byte) error {
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
		m.Pages.Prefetch(cur, pgnos)
	}
	page, err := m.Pages.Page(ctx, cur, pgno)
	if err != nil {
		return err
	}
	if page == nil {
		clear(p) // the page was never written
	} else {
		copy(p, page)
	}
	return nil
}

// settle makes pages of the current view point to the snapshot that fills a hole,
// once the view is at the snapshot's transaction.
func (m *mender) settle(ctx context.Context) {
	info := m.known.takeMended(m.Views.Current.Load().TXID)
	if info == nil {
		return
	}
	l, err := m.Store.LoadFile(ctx, info)
	if err == nil {
		err = m.Index.PointTo(l)
	}
	if err != nil {
		m.Log.Warn("cannot move pages away from missing files", "error", err) // reads of these pages do so later
	}
}
