package litestream

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// setChecksum notes the checksum of a file. Head is its begin with the first
// bytes of its first frame, and tail what follows the frames.
func (f *ltxFile) setChecksum(checksum ltx.Checksum, head, tail []byte) {
	var before, after ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.checksum, f.sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.framesCRC = ltxio.FramesCRC(checksum, before, f.framesSize(), after)
}

// framesSize returns the size of the frames with pages uncompressed, bytes.
func (f *ltxFile) framesSize() int64 {
	return int64(f.frames) * (ltxio.FrameHeaderSize(f.sized) + int64(f.pageSize))
}

// hasFrames tells whether a sum is that of all frames.
func (f *ltxFile) hasFrames(sum ltxio.Sum) bool {
	return sum.CheckFrames(f.framesCRC, f.framesSize(), f.size-f.framesEnd-ltx.ChecksumSize)
}

// stretch is the sum of frames of a file that follow each other.
type stretch struct {
	offset, end int64
	sum         ltxio.Sum
}

// fileSums are stretches of files. The pages of a stretch that a local file
// has were written to it from the bytes that were summed up, or read back from
// it. It is safe for concurrent use; the zero value is empty.
type fileSums struct {
	mu struct {
		sync.Mutex
		of map[*ltxFile][]stretch
	}
}

func (s *fileSums) add(f *ltxFile, part stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.of == nil {
		s.mu.of = make(map[*ltxFile][]stretch)
	}
	s.mu.of[f] = append(s.mu.of[f], part)
}

// of returns the stretches of a file, by their offsets.
func (s *fileSums) of(f *ltxFile) []stretch {
	s.mu.Lock()
	parts := slices.Clone(s.mu.of[f])
	s.mu.Unlock()
	slices.SortFunc(parts, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(b.end, a.end)) })
	return parts
}

// forget drops the stretches of all files but those in keep.
func (s *fileSums) forget(keep map[*ltxFile]*fileTally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.mu.of {
		if keep[f] == nil {
			delete(s.mu.of, f)
		}
	}
}

// fileTally counts the pages of a view in a file.
type fileTally struct {
	file    *ltxFile
	open    int // not settled
	all     int
	settled *bitmap // pages that need no look; nil: all do
}

// pagesOf returns how many pages of a view lie in each file.
func (v *view) pagesOf() map[*ltxFile]int {
	all := make(map[*ltxFile]int)
	v.pages.sources.each(func(s source, pages int) { all[s.file] += pages })
	return all
}

// isComparable tells whether so much of a file is needed that the rest of it is
// read for its checksum.
func isComparable(f *ltxFile, needed int) bool { return needed*100 >= f.frames*wholeShare }

// unsettled returns the files that have pages that are not settled. The largest
// number of these comes first: the fewer are left, the less there is to look
// through for the others.
func (s *heldPages) unsettled() []*fileTally {
	all := s.view.pagesOf()
	tallies := make(map[*ltxFile]*fileTally)
	s.view.pages.eachMissing(s.settled, 1, math.MaxUint32, func(_ uint32, loc frameLoc) bool {
		t := tallies[loc.file]
		if t == nil {
			t = &fileTally{file: loc.file, all: all[loc.file]}
			tallies[loc.file] = t
		}
		t.open++
		return true
	})
	files := make([]*fileTally, 0, len(tallies))
	for _, t := range tallies {
		if t.open == t.all {
			t.settled = s.settled
		}
		files = append(files, t)
	}
	slices.SortFunc(files, func(a, b *fileTally) int {
		return cmp.Or(cmp.Compare(b.open, a.open), cmp.Compare(a.file.maxTXID, b.file.maxTXID), cmp.Compare(a.file.level, b.file.level))
	})
	return files
}

// gap is a part of a file whose frames are not summed up.
type gap struct{ offset, end int64 }

// walkFile walks through the frames of a file. It calls local for those of
// pages of a view, and gap for others; stretches are gone over. Without local,
// pages of the view are gone over, too.
func walkFile(v *view, t *fileTally, stretches []stretch, local func(pgno uint32, loc frameLoc) bool, gap func(offset, end int64)) {
	w := fileWalk{stretches: stretches, pos: ltx.HeaderSize, gap: gap}
	v.pages.eachMissing(t.settled, 1, math.MaxUint32, func(pgno uint32, loc frameLoc) bool {
		if loc.file != t.file || loc.offset < w.pos {
			return true
		}
		w.goTo(loc.offset)
		if w.pos != loc.offset || w.isAtStretch() {
			return true
		}
		w.pos += int64(loc.size)
		return local == nil || local(pgno, loc)
	})
	w.goTo(t.file.framesEnd)
}

type fileWalk struct {
	stretches []stretch // not gone over yet
	pos       int64
	gap       func(offset, end int64)
}

// isAtStretch tells whether a stretch begins here.
func (w *fileWalk) isAtStretch() bool {
	for len(w.stretches) > 0 && w.stretches[0].offset < w.pos {
		w.stretches = w.stretches[1:]
	}
	return len(w.stretches) > 0 && w.stretches[0].offset == w.pos
}

// goTo goes on to an offset, or the end of the stretch that it lies in.
func (w *fileWalk) goTo(offset int64) {
	for w.pos < offset {
		if w.isAtStretch() {
			w.pos = w.stretches[0].end
			continue
		}
		end := offset
		if len(w.stretches) > 0 {
			end = min(end, w.stretches[0].offset)
		}
		w.gap(w.pos, end)
		w.pos = end
	}
}
