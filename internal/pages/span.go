package pages

import (
	"cmp"
	"slices"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// MaxGap is the largest gap between two wanted frames of a file that one
	// request reads through, bytes. Reading it takes about 1 ms; another request
	// takes longer, but runs at the same time.
	MaxGap = 64 << 10

	// minGap is the same for few pages that nested loops lead to, which may lie
	// anywhere: so the gaps, together, do not become much more than the pages.
	minGap = 4 << 10

	// maxSpans is how many requests fetch such pages before larger gaps are read
	// through: they run at the same time only up to a limit. With those gaps, the
	// requests read at most maxSparse times the pages.
	maxSpans  = 64
	maxSparse = 4

	// maxSpan bounds a request for several pages, bytes. A single page may be
	// larger.
	maxSpan = 512 << 10

	// maxGapPages bounds how many pages of a gap go to the cache.
	maxGapPages = 1024
)

// want is a page to be fetched, and where it lies.
type want struct {
	key    Key
	loc    view.Loc
	flight *flight
}

// end returns the offset of the end of the frame.
func (w want) end() int64 { return w.loc.Offset + int64(w.loc.Size) }

// span is a part of a file that one request reads, for pages of a view.
type span struct {
	view  *view.View
	scan  *scan  // that the pages are for; nil: they are not given up
	wants []want // in the order of their offsets, at least one
	class remote.Class
}

// file returns the file that the span is a part of.
func (s span) file() *view.File { return s.wants[0].loc.File }

// offset returns where the span begins in the file.
func (s span) offset() int64 { return s.wants[0].loc.Offset }

// size returns the length of the span in bytes.
func (s span) size() int64 { return s.wants[len(s.wants)-1].end() - s.offset() }

// spans groups wants of a view that lie near each other. If there are few, no gap
// between those of a group is larger than gap. The span of the urgent page, if there
// is one, begins with that page and is of the foreground. It sorts wants.
func spans(v *view.View, s *scan, wants []want, urgent uint32, gap int64) (all []span) {
	slices.SortFunc(wants, func(a, b want) int {
		if a.loc.File != b.loc.File {
			return cmp.Or(cmp.Compare(a.loc.File.Level, b.loc.File.Level),
				cmp.Compare(a.loc.File.MinTXID, b.loc.File.MinTXID),
				cmp.Compare(a.loc.File.MaxTXID, b.loc.File.MaxTXID))
		}
		return cmp.Compare(a.loc.Offset, b.loc.Offset)
	})
	var size int64
	for _, w := range wants {
		size += int64(w.loc.Size)
	}
	all = group(v, s, wants, urgent, gap)
	for len(all) > maxSpans && gap < MaxGap {
		gap *= 2
		wider := group(v, s, wants, urgent, gap)
		var read int64
		for _, s := range wider {
			read += s.size()
		}
		if read > maxSparse*size {
			break
		}
		all = wider
	}
	return all
}

// group groups sorted wants whose gaps are at most as large as given.
func group(v *view.View, s *scan, wants []want, urgent uint32, gap int64) (all []span) {
	first := 0
	for i := range wants {
		w := wants[i]
		if i > 0 {
			last := wants[i-1]
			near := w.loc.File == last.loc.File && w.loc.Offset-last.end() <= gap && w.end()-wants[first].loc.Offset <= maxSpan
			if !near || w.key.Pgno == urgent {
				all = append(all, span{v, s, wants[first:i], remote.Speculative})
				first = i
			}
		}
	}
	if len(wants) > 0 {
		all = append(all, span{v, s, wants[first:], remote.Speculative})
	}
	for i := range all {
		if urgent != 0 && all[i].wants[0].key.Pgno == urgent {
			all[i].class = remote.Foreground
		}
	}
	return all
}

// decodeWants decodes pages from a body that begins at an offset of their file.
func (s *Source) decodeWants(wants []want, body []byte, offset int64) []landing {
	all := make([]landing, len(wants))
	for i, w := range wants {
		l := landing{key: w.key, f: w.flight}
		frame := body[w.loc.Offset-offset : w.end()-offset]
		if w.flight.admission == admitNot && !s.TakesOffers() {
			l.memory = s.pages.Get(int(w.loc.File.PageSize))
			l.page = (*l.memory)[:w.loc.File.PageSize]
			if l.err = decodeInto(l.page, w.loc, frame, w.key.Pgno); l.err != nil {
				s.pages.Put(l.memory)
				l.page, l.memory = nil, nil
			}
		} else {
			l.page, l.err = decodePage(w.loc, frame, w.key.Pgno)
		}
		all[i] = l
	}
	return all
}
