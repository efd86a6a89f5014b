package hydrate

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// A walk through a file visits each byte of its frames once: as the frame of a page of
// the view, as a part of a gap, or not at all because a stretch covers it.
func TestWalkFile(t *testing.T) {
	size := func(uint32) uint64 { return 100 }
	f, index := viewtest.FileOfSizes(t, 1, 1, 4096, 10, viewtest.AllPages(4096, 10), size)
	v := viewtest.Advance(t, new(view.View), f, index)
	v = changing(t, v, 2, 2, 10, 1, 4, 5, 10) // the gaps
	at := func(pgno int64) int64 { return ltx.HeaderSize + (pgno-1)*100 }
	for _, tt := range []struct {
		name      string
		stretches []stretch
		pages     []uint32
		gaps      []gap
	}{
		{"no stretches", nil, []uint32{2, 3, 6, 7, 8, 9}, []gap{{at(1), at(2)}, {at(4), at(6)}, {at(10), at(11)}}},
		{"a stretch of a gap", []stretch{{offset: at(4), end: at(6)}}, []uint32{2, 3, 6, 7, 8, 9}, []gap{{at(1), at(2)}, {at(10), at(11)}}},
		{"a stretch of a page and a part of a gap", []stretch{{offset: at(3), end: at(5)}}, []uint32{2, 6, 7, 8, 9}, []gap{{at(1), at(2)}, {at(5), at(6)}, {at(10), at(11)}}},
		{"a stretch in a gap", []stretch{{offset: at(5), end: at(6)}}, []uint32{2, 3, 6, 7, 8, 9}, []gap{{at(1), at(2)}, {at(4), at(5)}, {at(10), at(11)}}},
		{"all", []stretch{{offset: at(1), end: at(11)}}, nil, nil},
		{"one within another", []stretch{{offset: at(6), end: at(11)}, {offset: at(7), end: at(8)}}, []uint32{2, 3}, []gap{{at(1), at(2)}, {at(4), at(6)}}},
	} {
		var got []uint32
		var gaps []gap
		walkFile(new(places), v, &fileTally{file: f}, tt.stretches, func(pgno uint32, _ view.Loc) bool {
			got = append(got, pgno)
			return true
		}, func(offset, end int64) {
			if gaps = append(gaps, gap{offset, end}); len(gaps) > 10 {
				t.Fatalf("%s: the walk stays at %d", tt.name, offset)
			}
		})
		if !slices.Equal(got, tt.pages) || !slices.Equal(gaps, tt.gaps) {
			t.Errorf("%s: pages %d and gaps %d, want %d and %d", tt.name, got, gaps, tt.pages, tt.gaps)
		}
	}
}

// A file is compared if 97 of a hundred of its pages are needed.
func TestIsComparable(t *testing.T) {
	for _, tt := range []struct {
		frames, needed int
		want           bool
	}{{100, 97, true}, {100, 96, false}, {1000, 970, true}, {1000, 969, false}, {1, 1, true}, {1, 0, false}, {0, 0, false}, {0, 1, false}} {
		if got := isComparable(&view.File{Frames: tt.frames}, tt.needed); got != tt.want {
			t.Errorf("%d of %d pages: %v", tt.needed, tt.frames, got)
		}
	}
}

// Sums are kept for the files that are still to be compared, and for no others.
func TestFileSums_Forget(t *testing.T) {
	var s fileSums
	a, b := new(view.File), new(view.File)
	for _, f := range []*view.File{a, b} {
		s.add(f, stretch{offset: 300, end: 400})
		s.add(f, stretch{offset: 100, end: 200})
		s.add(f, stretch{offset: 100, end: 300})
	}
	s.forget(map[*view.File]*fileTally{b: {file: b}})
	if parts := s.of(a); len(parts) != 0 {
		t.Errorf("there are %d", len(parts))
	}
	if parts := s.of(b); len(parts) != 3 || parts[0].end != 300 || parts[1].end != 200 || parts[2].offset != 300 {
		t.Errorf("there are %+v", parts)
	}
	s.forget(nil)
	if parts := s.of(b); len(parts) != 0 {
		t.Errorf("there are %d in the end", len(parts))
	}
}
