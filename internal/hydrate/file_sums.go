package hydrate

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/ltxvfs/litestream/internal/view"
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
		of map[*view.File][]stretch
	}
}

func (s *fileSums) add(f *view.File, part stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.of == nil {
		s.mu.of = make(map[*view.File][]stretch)
	}
	s.mu.of[f] = append(s.mu.of[f], part)
}

// of returns the stretches of a file in the order of their offsets.
func (s *fileSums) of(f *view.File) []stretch {
	s.mu.Lock()
	parts := slices.Clone(s.mu.of[f])
	s.mu.Unlock()
	slices.SortFunc(parts, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(b.end, a.end)) })
	return parts
}

// forget drops the stretches of all files but those in keep.
func (s *fileSums) forget(keep map[*view.File]*fileTally) {
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
	file    *view.File
	open    int          // pages that are not settled
	all     int          // pages
	settled *view.Bitmap // pages to leave out; nil: none
}

// pagesPerFile returns how many pages of a view lie in each file.
func pagesPerFile(v *view.View) map[*view.File]int {
	all := make(map[*view.File]int)
	v.EachSource(func(s view.Source, pages int) { all[s.File] += pages })
	return all
}

// isComparable reports whether so many pages of a file are needed that the rest
// of it is read to compare its checksum. It is not known how many pages a recalled
// file has.
func isComparable(f *view.File, needed int) bool {
	return f.Frames > 0 && needed*100 >= f.Frames*wholeShare
}

// unsettled returns the files with pages that are not settled. Those with the
// most such pages come first, because the search for the pages of a file goes
// through all that are not settled.
func (s *heldPages) unsettled() []*fileTally {
	all := pagesPerFile(s.view)
	tallies := make(map[*view.File]*fileTally)
	s.view.Pages.EachMissing(s.settled, 1, math.MaxUint32, func(_ uint32, loc view.Loc) bool {
		t := tallies[loc.File]
		if t == nil {
			t = &fileTally{file: loc.File, all: all[loc.File]}
			tallies[loc.File] = t
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
		return cmp.Or(cmp.Compare(b.open, a.open), cmp.Compare(a.file.MaxTXID, b.file.MaxTXID), cmp.Compare(a.file.Level, b.file.Level))
	})
	return files
}

// gap is a part of a file whose frames are not summed up.
type gap struct{ offset, end int64 }

// walkFile walks through the frames of a file. It calls local for the frames of
// pages of a view, and gap for others. It skips stretches, and pages of the view
// if local is nil. The walk has ended early if at has an error then.
func walkFile(at *places, v *view.View, t *fileTally, stretches []stretch, local func(pgno uint32, loc view.Loc) bool, gap func(offset, end int64)) {
	w := fileWalk{stretches: stretches, pos: ltx.HeaderSize, gap: gap}
	at.eachMissing(v, t.settled, 1, math.MaxUint32, func(pgno uint32, loc view.Loc) bool {
		if loc.File != t.file || loc.Offset < w.pos {
			return true
		}
		w.goTo(loc.Offset)
		if w.pos != loc.Offset || w.isAtStretch() {
			return true
		}
		w.pos += int64(loc.Size)
		return local == nil || local(pgno, loc)
	})
	w.goTo(t.file.FramesEnd)
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
