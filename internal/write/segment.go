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
	mark    mark   // position in the segment before the commit
	Number  uint64 // number of the commit, counted since the database was opened
}

// FileSize returns the size of the database after the commit, in bytes.
func (c *LocalCommit) FileSize() int64 { return int64(c.Size) * int64(c.segment.log.PageSize) }

// version returns the version of the commit's pages. It is higher than any TXID.
func (c *LocalCommit) version() ltx.TXID { return localVersion | ltx.TXID(c.Number) }

const localVersion ltx.TXID = 1 << 63

// segment is a part of the write buffer: the commits that become one LTX file.
// The queue's lock guards its fields, except log and file. Once the segment gets
// no more commits, the fields do not change, except listed, which only the
// goroutine that syncs uses.
type segment struct {
	log  *commitlog.Segment // written to under writeBuffer.mu
	file *view.File         // represents the segment in page tables

	pages   map[uint32]segmentPage // newest version of each page
	commit  uint32                 // size of the database after the newest commit, pages
	least   uint32                 // smallest size since Base, pages
	oldest  int64                  // timestamp of the first commit; 0 before there is one
	newest  int64                  // timestamp of the newest commit
	last    uint64                 // number of the newest commit
	commits int                    // number of finished commits
	open    int                    // number of appended commits that are not finished

	unfinished mark  // position before the first commit that is not finished
	several    bool  // the commits that are not finished are of several databases
	bytes      int64 // size of the pages of all commits

	listed *ltx.FileInfo // the segment's file as the replica lists it; nil until a listing has it
}

// segmentPage is the place of a page in a segment, with the page's version.
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

// txid returns the transaction id of the segment's LTX file.
func (s *segment) txid() ltx.TXID { return s.log.Base + 1 }

// add adds a commit of the log to the other fields.
func (s *segment) add(c *LocalCommit) {
	if c.Size < s.commit {
		maps.DeleteFunc(s.pages, func(pgno uint32, _ segmentPage) bool { return pgno > c.Size })
	}
	for i, pgno := range c.Pgnos {
		s.pages[pgno] = segmentPage{s.log.PageOffset(&c.Commit, i), c.version()}
	}
	s.commit, s.least = c.Size, min(s.least, c.Size)
	if s.commits == 0 {
		s.oldest = c.Timestamp
	}
	s.newest, s.last = c.Timestamp, c.Number
	s.commits++
	s.bytes += int64(len(c.Pgnos)) * int64(s.log.PageSize)
}

// pgnos returns the page numbers of the segment, in ascending order.
func (s *segment) pgnos() []uint32 { return slices.Sorted(maps.Keys(s.pages)) }

// number sets the number of the last commit of a recovered segment, and derives
// the version of its pages from it.
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
