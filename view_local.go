package litestream

import (
	"errors"
	"fmt"
	"iter"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// localPage is the place of a page in the write buffer.
type localPage struct {
	pgno    uint32
	offset  int64 // in the segment, bytes
	version ltx.TXID
}

// withLocal returns the state that commits of this process lead to from v. The
// file f stands for the segment of the write buffer that holds their pages, in
// ascending order of page numbers. The database has commit pages afterwards, and
// had least pages when it was smallest: v's pages beyond those do not come back.
func (v *view) withLocal(f *ltxFile, least, commit uint32, timestamp int64, pages iter.Seq[localPage]) *view {
	next := *v
	if next.base == nil {
		next.base = v
	}
	next.pageSize, next.commit, next.timestamp, next.state = f.pageSize, commit, timestamp, nil
	next.pages = *v.pages.edit()
	if least < v.commit {
		next.pages.truncate(least)
	}
	sources := make(map[ltx.TXID]uint32)
	for p := range pages {
		src, ok := sources[p.version]
		if !ok {
			src = next.pages.sources.new(source{f, p.version})
			sources[p.version] = src
		}
		next.pages.put(src, []ltxio.Entry{{Pgno: p.pgno, Size: next.pageSize, Offset: p.offset}}, commit)
	}
	return &next
}

// readSegment fills p with a page that is in the write buffer.
func (loc frameLoc) readSegment(pgno uint32, p []byte) error {
	return readCommitted(loc.file.segment, pgno, loc.offset, p)
}

// readCommitted fills p with a page of a segment. The error is
// commitlog.ErrDamaged if the page is not what was committed.
func readCommitted(log *commitlog.Segment, pgno uint32, off int64, p []byte) error {
	err := log.ReadPage(pgno, off, p)
	if errors.Is(err, commitlog.ErrDamaged) {
		err = fmt.Errorf("%w; the segment is kept, and nothing of it is uploaded", err)
	}
	if err != nil {
		return fmt.Errorf("read page %d from the write buffer %s: %w", pgno, log.Path(), err)
	}
	return nil
}
