package pages

import "slices"

const (
	// firstWindow is how many pages ahead of the reader a scan begins with.
	firstWindow = 8

	// The window grows windowGrowth times with the first page that the reader comes to,
	// and again with the last one of the first window. Then it has earlyShare times the
	// pages that the reader has come to, until these are longScan pages.
	windowGrowth = 4
	earlyShare   = 8
	longScan     = 64

	// A long scan has a window of longWindow pages, which hide the latency of storage
	// from a reader that is as fast as SQLite, or of windowShare quarters of the pages
	// that were read. So after half a longWindow it has fetched less than three
	// times the pages that it needed, wherever it ends.
	longWindow  = 1200
	windowShare = 6

	// A statement that is known to have no LIMIT mostly reads all rows, so its window is
	// larger: endlessWindow pages, which SQLite reads in about 16 ms, or endlessShare
	// quarters of the pages that were read. A program that closes the rows after half an
	// endlessWindow, or later, has fetched three times what it needed at most.
	endlessWindow = 1800
	endlessShare  = 8

	// topUp is the number of pages that must be missing in the window of a long
	// scan before more are fetched. A few requests bring that many.
	topUp = 1024
)

// window is the pace of a scan whose pages come in the order of the pattern. How far
// it is ahead depends on how many pages the reader has come to, because many scans
// end early: by a LIMIT, or because the program has seen enough.
type window struct {
	first     int       // pages ahead of the reader at first
	cacheable int       // number of pages that may enter the cache
	limit     *rowLimit // of the statement
}

// size returns how many pages may be ahead of the reader.
func (w *window) size(s *scan) int {
	size := w.grown(s.read)
	if s.read > 0 {
		if rest, ok := w.limit.rest(); ok {
			size = min(size, max(w.first, rest))
		} else if !w.isEarly(s) && w.limit.isNone() {
			size = max(endlessWindow, s.read*endlessShare/4)
		}
	}
	return min(size, s.limit)
}

// grown returns the size of the window when the reader has come to some pages.
func (w *window) grown(read int) int {
	switch {
	case read == 0:
		return w.first
	case read < w.first:
		return windowGrowth * w.first
	case read < longScan:
		return max(windowGrowth*windowGrowth*w.first, read*earlyShare)
	}
	return max(longWindow, read*windowShare/4)
}

// isEarly reports whether the window grows by several pages with each that is read.
func (w *window) isEarly(s *scan) bool { return s.read < longScan }

func (w *window) follow(s *scan, pgno uint32) (skipped []uint32, ok bool) {
	i := slices.Index(s.pending[:min(len(s.pending), maxSkip)], pgno)
	if i < 0 {
		return nil, false
	}
	skipped, s.pending = s.pending[:i], s.pending[i+1:]
	s.read++
	return skipped, true
}

func (w *window) take(s *scan, pgno uint32, _ bool) (skipped []uint32, ok bool) {
	s.fill(1)
	if len(s.backlog) == 0 || s.backlog[0] != pgno {
		return nil, false
	}
	s.backlog = s.backlog[1:]
	s.read++
	return nil, true
}

func (w *window) room(s *scan) int { return w.size(s) - len(s.pending) }

func (w *window) least(s *scan) int {
	if w.isEarly(s) {
		return max(1, w.size(s)/2) // or there would be a small request for each page
	}
	return min(max(1, w.size(s)/4), topUp)
}

func (w *window) isDue(s *scan) bool { return w.room(s) >= w.least(s) }

func (w *window) rowLimit() *rowLimit { return w.limit }

func (w *window) gap() int64 { return MaxGap }

func (w *window) bypassesCache(s *scan) bool { return s.read > w.cacheable }
