package litestream

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// stretch is the sum of successive frames of a file.
type stretch struct {
	offset, end int64
	sum         ltxio.Sum
}

// fileSums are stretches of files. For the pages of a stretch that are in the
// local file, the bytes that were summed up are those that were written to it,
// or read back from it. It is safe for concurrent use; the zero value is empty.
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

// of returns the stretches of a file in the order of their offsets.
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
	open    int     // pages that are not settled
	all     int     // pages
	settled *bitmap // pages to leave out; nil: none
}

// pagesPerFile returns how many pages of a view lie in each file.
func pagesPerFile(v *view) map[*ltxFile]int {
	all := make(map[*ltxFile]int)
	v.eachSource(func(s source, pages int) { all[s.file] += pages })
	return all
}

// isComparable reports whether so many pages of a file are needed that the rest
// of it is read to compare its checksum.
func isComparable(f *ltxFile, needed int) bool { return needed*100 >= f.frames*wholeShare }

// unsettled returns the files with pages that are not settled. Those with the
// most such pages come first, because the search for the pages of a file goes
// through all that are not settled.
func (s *heldPages) unsettled() []*fileTally {
	all := pagesPerFile(s.view)
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

// walkFile walks through the frames of a file. It calls local for the frames of
// pages of a view, and gap for others. It skips stretches, and pages of the view
// if local is nil.
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
	stretches []stretch // that are not passed yet
	pos       int64
	gap       func(offset, end int64)
}

// isAtStretch reports whether a stretch begins here.
func (w *fileWalk) isAtStretch() bool {
	for len(w.stretches) > 0 && w.stretches[0].offset < w.pos {
		w.stretches = w.stretches[1:]
	}
	return len(w.stretches) > 0 && w.stretches[0].offset == w.pos
}

// goTo goes on to an offset, or to the end of the stretch that covers it.
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
