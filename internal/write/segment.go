package write

import (
	"maps"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/view"
)

// LocalCommit is a transaction of this process that is not on the replica yet.
type LocalCommit struct {
	commitlog.Commit
	segment *segment
	buffer  *writeBuffer
	mark    mark   // the place in the segment before it
	Number  uint64 // counts the commits of this database since it was opened
}

// FileSize returns the size of the database after the commit, in bytes.
func (c *LocalCommit) FileSize() int64 { return int64(c.Size) * int64(c.segment.log.PageSize) }

// version returns the version of the pages of a commit. TXIDs do not get so
// high.
func (c *LocalCommit) version() ltx.TXID { return localVersion | ltx.TXID(c.Number) }

const localVersion ltx.TXID = 1 << 63

// segment is a part of the write buffer: the commits that become one LTX file.
// The queue's lock guards its fields, except log and file. Once the segment gets
// no more commits, they do not change, except listed, which belongs to the
// goroutine that syncs.
type segment struct {
	log  *commitlog.Segment // written to under writeBuffer.mu
	file *view.File         // stands for it in page tables

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
		log: log, file: &view.File{Level: -1, PageSize: log.PageSize, Segment: log},
		pages: make(map[uint32]segmentPage), commit: log.State.Commit, least: log.State.Commit, newest: log.State.Timestamp,
	}
}

// txid returns the transaction that the segment becomes.
func (s *segment) txid() ltx.TXID { return s.log.Base + 1 }

// add adds a commit that was appended to the log.
func (s *segment) add(c *LocalCommit) {
	if c.Size < s.commit {
		maps.DeleteFunc(s.pages, func(pgno uint32, _ segmentPage) bool { return pgno > c.Size })
	}
	for i, pgno := range c.Pgnos {
		s.pages[pgno] = segmentPage{s.log.PageOffset(&c.Commit, i), c.version()}
	}
	s.commit, s.least = c.Size, min(s.least, c.Size)
	s.newest, s.last = c.Timestamp, c.Number
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
func withCommit(v *view.View, c *LocalCommit) *view.View {
	pages := func(yield func(view.LocalPage) bool) {
		for i, pgno := range c.Pgnos {
			if !yield(view.LocalPage{Pgno: pgno, Offset: c.segment.log.PageOffset(&c.Commit, i), Version: c.version()}) {
				return
			}
		}
	}
	return v.WithLocal(c.segment.file, c.Size, c.Size, c.Timestamp, pages)
}

// withSegment returns the state that all commits of a segment lead to from v.
func withSegment(v *view.View, s *segment) *view.View {
	pages := func(yield func(view.LocalPage) bool) {
		for _, pgno := range s.pgnos() {
			if p := s.pages[pgno]; !yield(view.LocalPage{Pgno: pgno, Offset: p.offset, Version: p.version}) {
				return
			}
		}
	}
	return v.WithLocal(s.file, s.least, s.commit, s.newest, pages)
}
