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

	// MaxSpan bounds a request for several pages, bytes. A single page may be
	// larger.
	MaxSpan = 512 << 10

	// maxGapPages bounds how many pages of a gap go to the cache.
	maxGapPages = 1024
)

// Want is a page to be fetched, and where it lies.
type Want struct {
	Key Key
	Loc view.Loc
	F   *Flight
}

func (w Want) End() int64 { return w.Loc.Offset + int64(w.Loc.Size) }

// span is a part of a file that one request reads, for pages of a view.
type span struct {
	View  *view.View
	Scan  *Scan  // that the pages are for; nil: they are not given up
	Wants []Want // in the order of their offsets, at least one
	Class remote.Class
}

func (s span) File() *view.File { return s.Wants[0].Loc.File }
func (s span) Offset() int64    { return s.Wants[0].Loc.Offset }
func (s span) Size() int64      { return s.Wants[len(s.Wants)-1].End() - s.Offset() }

// Spans groups wants of a view that lie near each other. The span of the
// urgent page, if there is one, begins with that page and is of the
// foreground.
func Spans(v *view.View, s *Scan, wants []Want, urgent uint32) (all []span) {
	slices.SortFunc(wants, func(a, b Want) int {
		if a.Loc.File != b.Loc.File {
			return cmp.Or(cmp.Compare(a.Loc.File.Level, b.Loc.File.Level),
				cmp.Compare(a.Loc.File.MinTXID, b.Loc.File.MinTXID),
				cmp.Compare(a.Loc.File.MaxTXID, b.Loc.File.MaxTXID))
		}
		return cmp.Compare(a.Loc.Offset, b.Loc.Offset)
	})
	first := 0
	for i := range wants {
		w := wants[i]
		if i > 0 {
			last := wants[i-1]
			near := w.Loc.File == last.Loc.File && w.Loc.Offset-last.End() <= MaxGap && w.End()-wants[first].Loc.Offset <= MaxSpan
			if !near || w.Key.Pgno == urgent {
				all = append(all, span{v, s, wants[first:i], remote.Speculative})
				first = i
			}
		}
	}
	if len(wants) > 0 {
		all = append(all, span{v, s, wants[first:], remote.Speculative})
	}
	for i := range all {
		if urgent != 0 && all[i].Wants[0].Key.Pgno == urgent {
			all[i].Class = remote.Foreground
		}
	}
	return all
}

// decodeWants decodes pages from a body that begins at an offset of their file.
func decodeWants(wants []Want, body []byte, offset int64) []landing {
	all := make([]landing, len(wants))
	for i, w := range wants {
		page, err := decodePage(w.Loc, body[w.Loc.Offset-offset:w.End()-offset], w.Key.Pgno)
		all[i] = landing{key: w.Key, f: w.F, page: page, err: err}
	}
	return all
}
