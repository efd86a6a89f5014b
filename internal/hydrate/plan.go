package hydrate

import (
	"math"
	"math/bits"
	"sync"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

const (
	// partSize is about the most that one request of a hydration reads, bytes.
	partSize    = 1 << 20
	minPartSize = 64 << 10

	// maxBatch is how many small requests count as one request of partSize.
	maxBatch = 8

	// wholeShare is the percentage of a file's pages from which on the other
	// pages are read as well, so that its checksum can be compared.
	wholeShare = 97

	// gapShare is the percentage of what is read that may be gaps between wanted
	// pages or be read for checksums. The smallest gaps are read through.
	gapShare = 2
)

// part is a stretch of a file that one request reads.
type part struct {
	file        *view.File
	offset, end int64
	first, last uint32 // range of the wanted pages
	pages       int    // number of wanted pages
	whole       bool   // all its frames are summed up for the file's checksum
}

// size returns the length of the part in bytes.
func (p part) size() int64 { return p.end - p.offset }

// copyWork hands out batches of parts. It is safe for concurrent use.
type copyWork struct {
	mu struct {
		sync.Mutex          // makes sure that no batch is handed out twice
		batches    [][]part // nil where a batch was handed out
		first      int      // index before which all batches were handed out
	}
}

func newCopyWork(batches [][]part) *copyWork {
	w := new(copyWork)
	w.mu.batches = batches
	return w
}

// near returns the batch that a page is in, nil if it was handed out.
func (w *copyWork) near(pgno uint32) []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := w.mu.first; i < len(w.mu.batches); i++ {
		for _, p := range w.mu.batches[i] {
			if p.first != 0 && p.first <= pgno && pgno <= p.last {
				return w.take(i)
			}
		}
	}
	return nil
}

// next returns the next batch, nil after the last.
func (w *copyWork) next() []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; w.mu.first < len(w.mu.batches); w.mu.first++ {
		if w.mu.batches[w.mu.first] != nil {
			return w.take(w.mu.first)
		}
	}
	return nil
}

// take hands a batch out. The caller holds mu.
func (w *copyWork) take(i int) []part {
	batch := w.mu.batches[i]
	w.mu.batches[i] = nil
	return batch
}

// copyPlan says how the pages that are missing of a view are read.
type copyPlan struct {
	at      *places
	view    *view.View
	present *view.Bitmap // pages that are local
	files   map[*view.File]*filePlan
	size    int64 // of a part; all streams end at about the same time
	gap     int64 // largest gap that is read through
}

// filePlan is what is to be read of one file.
type filePlan struct {
	file    *view.File
	missing int   // pages
	bytes   int64 // of the frames of missing pages
	end     int64 // of the frame seen last
	whole   bool  // all frames are read, for the file's checksum
	local   bool  // some pages are not missing
	part    part  // that batches is putting together
}

// newCopyPlan plans how the pages of a view that are not present are read by a
// number of requests at a time. The plan is of no use if at has an error then, or
// after batches.
func newCopyPlan(at *places, v *view.View, present *view.Bitmap, concurrency int) *copyPlan {
	p := &copyPlan{at: at, view: v, present: present, files: make(map[*view.File]*filePlan)}
	p.eachMissing(func(f *filePlan, _ uint32, loc view.Loc) {
		f.missing++
		f.bytes += int64(loc.Size)
	})
	total, rest := int64(0), int64(0)
	needed := pagesPerFile(v)
	for _, f := range p.files {
		n := needed[f.file]
		total += f.bytes
		f.whole, f.local = isComparable(f.file, n), f.missing < n
		if f.whole {
			rest += f.file.FramesEnd * int64(f.file.Frames-n) / int64(f.file.Frames) // an estimate
		}
	}
	streams := int64(concurrency)
	rounds := (total-1)/(streams*partSize) + 1
	p.size = max(total/(streams*rounds), minPartSize)
	var gaps [64]int64 // bytes, by the logarithm of their size
	p.eachMissing(func(f *filePlan, _ uint32, loc view.Loc) {
		if gap := loc.Offset - f.end; f.end > 0 && gap > 0 && !f.whole {
			gaps[bits.Len64(uint64(gap))] += gap
		}
		f.end = loc.Offset + int64(loc.Size)
	})
	budget := total*gapShare/100 - rest
	for i, sum := range gaps {
		if budget -= sum; budget < 0 || int64(1)<<i > partSize {
			break
		}
		p.gap = int64(1)<<i - 1
	}
	return p
}

// eachMissing calls fn for every missing page, in order, with the plan of its
// file.
func (p *copyPlan) eachMissing(fn func(f *filePlan, pgno uint32, loc view.Loc)) {
	var f *filePlan
	p.at.eachMissing(p.view, p.present, 1, math.MaxUint32, func(pgno uint32, loc view.Loc) bool {
		if f == nil || f.file != loc.File {
			known := false
			if f, known = p.files[loc.File]; !known {
				f = &filePlan{file: loc.File}
				p.files[loc.File] = f
			}
		}
		fn(f, pgno, loc)
		return true
	})
}

// batches returns the parts to read, in groups of about the size of one
// request.
func (p *copyPlan) batches() (all [][]part) {
	var size int64
	emit := func(next part) {
		last := len(all) - 1
		if last < 0 || size+next.size() > p.size || len(all[last]) == maxBatch {
			all = append(all, []part{next})
			size = next.size()
			return
		}
		all[last] = append(all[last], next)
		size += next.size()
	}
	p.eachMissing(func(f *filePlan, pgno uint32, loc view.Loc) {
		end := loc.Offset + int64(loc.Size)
		begin := part{file: f.file, offset: loc.Offset, first: pgno, whole: f.whole}
		switch begun := f.part.file != nil; {
		case !begun && f.whole && p.isRest(f, ltx.HeaderSize, loc.Offset, 1, pgno-1):
			begin.offset = ltx.HeaderSize
			f.part = begin
		case !begun:
			f.part = begin
		case f.whole && !p.isRest(f, f.part.end, loc.Offset, f.part.last+1, pgno-1),
			!f.whole && (loc.Offset-f.part.end > p.gap || end-f.part.offset > p.size):
			emit(f.part)
			f.part = begin
		case f.whole && loc.Offset-f.part.offset >= p.size:
			f.part.end = loc.Offset
			emit(f.part)
			f.part = begin
		}
		f.part.end, f.part.last = end, pgno
		f.part.pages++
	})
	for _, f := range p.files {
		if f.part.file == nil {
			continue // its pages have become local since
		}
		if f.whole && p.isRest(f, f.part.end, f.file.FramesEnd, f.part.last+1, math.MaxUint32) {
			f.part.end = f.file.FramesEnd
		}
		emit(f.part)
	}
	return all
}

// isRest reports whether a gap between missing pages of a file is read for its
// checksum. It must not be larger than a part, and not have more bytes of the
// local pages from first to last than a gap that is read through.
func (p *copyPlan) isRest(f *filePlan, offset, end int64, first, last uint32) bool {
	if end <= offset {
		return true
	}
	if end-offset > p.size {
		return false
	}
	if !f.local {
		return true
	}
	local := int64(0)
	p.at.eachMissing(p.view, nil, first, last, func(_ uint32, loc view.Loc) bool {
		if loc.File == f.file {
			local += int64(loc.Size)
		}
		return local <= p.gap
	})
	return local <= p.gap
}

// missingParts returns parts with only the missing pages of a part.
func missingParts(at *places, v *view.View, present *view.Bitmap, all part) []part {
	var parts []part
	at.eachMissing(v, present, all.first, all.last, func(pgno uint32, loc view.Loc) bool {
		if loc.File != all.file {
			return true
		}
		end := loc.Offset + int64(loc.Size)
		if i := len(parts) - 1; i >= 0 && loc.Offset-parts[i].end <= pages.MaxGap {
			parts[i].end, parts[i].last = end, pgno
			return true
		}
		parts = append(parts, part{file: loc.File, offset: loc.Offset, end: end, first: pgno, last: pgno})
		return true
	})
	return parts
}
