package view

import (
	"errors"
	"fmt"
	"iter"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// LocalPage is the place of a page in the write buffer.
type LocalPage struct {
	Pgno    uint32
	Offset  int64 // in the segment, bytes
	Version ltx.TXID
}

// WithLocal returns the state that commits of this process lead to from v. The
// file f stands for the segment of the write buffer that holds their pages, in
// ascending order of page numbers. The database has commit pages afterwards, and
// had least pages when it was smallest: v's pages beyond those do not come back.
func (v *View) WithLocal(f *File, least, commit uint32, timestamp int64, pages iter.Seq[LocalPage]) *View {
	next := *v
	if next.Base == nil {
		next.Base = v
	}
	next.PageSize, next.Commit, next.Timestamp, next.State = f.PageSize, commit, timestamp, nil
	next.Pages = *v.Pages.edit()
	if least < v.Commit {
		next.Pages.truncate(least)
	}
	sources := make(map[ltx.TXID]uint32)
	for p := range pages {
		src, ok := sources[p.Version]
		if !ok {
			src = next.Pages.sources.assign(Source{f, p.Version})
			sources[p.Version] = src
		}
		next.Pages.put(src, []ltxio.Entry{{Pgno: p.Pgno, Size: next.PageSize, Offset: p.Offset}}, commit)
	}
	return &next
}

// ReadSegment fills p with a page that is in the write buffer.
func (loc Loc) ReadSegment(pgno uint32, p []byte) error {
	return ReadCommitted(loc.File.Segment, pgno, loc.Offset, p)
}

// ReadCommitted fills p with a page of a segment. The error is
// commitlog.ErrDamaged if the page is not what was committed.
func ReadCommitted(log *commitlog.Segment, pgno uint32, off int64, p []byte) error {
	err := log.ReadPage(pgno, off, p)
	if errors.Is(err, commitlog.ErrDamaged) {
		err = fmt.Errorf("%w; the segment is kept, and nothing of it is uploaded", err)
	}
	if err != nil {
		return fmt.Errorf("read page %d from the write buffer %s: %w", pgno, log.Path(), err)
	}
	return nil
}
