package litestream

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// localCommit is a transaction of this process that is not on the replica yet.
type localCommit struct {
	commitlog.Commit
	segment *segment
	buffer  *writeBuffer
	mark    mark   // the place in the segment before it
	number  uint64 // counts the commits of this database since it was opened
}

// version returns the version of the pages of a commit. TXIDs do not get so
// high.
func (c *localCommit) version() ltx.TXID { return localVersion | ltx.TXID(c.number) }

const localVersion ltx.TXID = 1 << 63

// segment is a part of the write buffer: the commits that become one LTX file.
// The queue's lock guards its fields, except log and file. Once the segment gets
// no more commits, they do not change, except listed, which belongs to the
// goroutine that syncs.
type segment struct {
	log  *commitlog.Segment // written to under writeBuffer.mu
	file *ltxFile           // stands for it in page tables

	pages   map[uint32]segmentPage // newest versions
	commit  uint32                 // size after the newest commit, pages
	least   uint32                 // the smallest size since Base, pages
	newest  int64                  // timestamp of the newest commit
	last    uint64                 // number of the newest commit
	commits int                    // how many are finished
	open    int                    // how many are appended and not finished

	unfinished mark  // the place before the first of those that are not finished
	bytes      int64 // of all pages of all commits

	listed *ltx.FileInfo // how the replica lists its file; nil before it was seen there
}

// segmentPage is where a page is in a segment.
type segmentPage struct {
	offset  int64
	version ltx.TXID
}

func newSegment(log *commitlog.Segment) *segment {
	return &segment{
		log: log, file: &ltxFile{level: -1, pageSize: log.PageSize, segment: log},
		pages: make(map[uint32]segmentPage), commit: log.State.Commit, least: log.State.Commit, newest: log.State.Timestamp,
	}
}

// txid returns the transaction that the segment becomes.
func (s *segment) txid() ltx.TXID { return s.log.Base + 1 }

// add adds a commit that was appended to the log.
func (s *segment) add(c *localCommit) {
	if c.Size < s.commit {
		maps.DeleteFunc(s.pages, func(pgno uint32, _ segmentPage) bool { return pgno > c.Size })
	}
	for i, pgno := range c.Pgnos {
		s.pages[pgno] = segmentPage{s.log.PageOffset(&c.Commit, i), c.version()}
	}
	s.commit, s.least = c.Size, min(s.least, c.Size)
	s.newest, s.last = c.Timestamp, c.number
	s.commits++
	s.bytes += int64(len(c.Pgnos)) * int64(s.log.PageSize)
}

// pgnos returns the pages of the segment, in ascending order.
func (s *segment) pgnos() []uint32 { return slices.Sorted(maps.Keys(s.pages)) }

// number gives the pages of a recovered segment a version, by the number of its
// last commit.
func (s *segment) number(n uint64) {
	s.last = n
	version := localVersion | ltx.TXID(n)
	for pgno, p := range s.pages {
		p.version = version
		s.pages[pgno] = p
	}
}

// withCommit returns the state that a commit leads to from v.
func withCommit(v *view, c *localCommit) *view {
	next := localView(v, c.segment, c.Size, c.Size)
	next.timestamp = c.Timestamp
	if len(c.Pgnos) == 0 {
		return next // it was merely cut off
	}
	src := next.pages.sources.new(source{c.segment.file, c.version()})
	for i, pgno := range c.Pgnos {
		next.pages.put(src, []ltxio.Entry{{Pgno: pgno, Size: next.pageSize, Offset: c.segment.log.PageOffset(&c.Commit, i)}}, next.commit)
	}
	return next
}

// withSegment returns the state that all commits of a segment lead to from v.
func withSegment(v *view, s *segment) *view {
	next := localView(v, s, s.least, s.commit)
	next.timestamp = s.newest
	sources := make(map[ltx.TXID]uint32)
	for _, pgno := range s.pgnos() {
		p := s.pages[pgno]
		src, ok := sources[p.version]
		if !ok {
			src = next.pages.sources.new(source{s.file, p.version})
			sources[p.version] = src
		}
		next.pages.put(src, []ltxio.Entry{{Pgno: pgno, Size: next.pageSize, Offset: p.offset}}, next.commit)
	}
	return next
}

// localView returns a copy of v that commits of a segment are to be added to.
// Of v it has the pages up to least, which is the smallest size that the
// database has on the way to commit.
func localView(v *view, s *segment, least, commit uint32) *view {
	next := *v
	if next.base == nil {
		next.base = v
	}
	next.pageSize, next.commit, next.state = s.log.PageSize, commit, nil
	next.pages = *v.pages.edit()
	if least < v.commit {
		next.pages.truncate(least)
	}
	return &next
}

// readSegment fills p with a page that is in the write buffer.
func readSegment(loc frameLoc, pgno uint32, p []byte) error {
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
