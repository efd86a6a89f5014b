package litestream

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

const (
	// partSize is about the most of a file that one request of a hydration
	// reads, bytes.
	partSize    = 1 << 20
	minPartSize = 64 << 10

	// maxBatch is how many requests count as one of HydrationConcurrency, if
	// together they are no larger.
	maxBatch = 8

	// wholeShare is the part of a file's pages, in hundredths, that must be
	// needed for the others to be read as well, so that its checksum can be
	// compared.
	wholeShare = 97

	// gapShare is how much of what is read may be gaps between wanted pages, in
	// hundredths, with what is read for checksums. The smallest gaps are read
	// through.
	gapShare = 2
)

// part is a stretch of a file that one request reads.
type part struct {
	file        *ltxFile
	offset, end int64
	first, last uint32 // wanted pages lie in between
	pages       int    // wanted pages
	whole       bool   // all frames of it are summed up for the file's checksum
}

func (p part) size() int64 { return p.end - p.offset }

// copyAll reads what is missing, whenever something is, until ctx is done or
// it cannot go on.
func (h *hydrator) copyAll(ctx context.Context) error {
	delay := firstHydrationDelay
	paused, caughtUp := false, false
	for {
		select {
		case <-h.work:
		case <-ctx.Done():
			return nil
		}
		if h.db.arriving.Load() > 0 || caughtUp && h.offered.Load() > 0 {
			continue // the pages are there in a moment, and then there is work again
		}
		for ctx.Err() == nil && h.local().held.Load() != nil && !h.isComplete() {
			l := h.local()
			count, settled := l.count.Load(), l.settled.Load()
			step := h.pass
			if l.missing() == 0 {
				step = h.compare
			}
			err := step(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil && (l.count.Load() != count || l.settled.Load() != settled):
				delay = firstHydrationDelay
				continue
			case err == nil: // the view moved on, or will when somebody looks
			case isDiskFull(err):
				h.pauses(true, err)
				paused = true
			case isMissing(err), errors.Is(err, ErrCorrupt):
				if err := h.checkStale(ctx, err); err != nil {
					return err
				}
			default:
				return err
			}
			signal(h.wake)
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			delay = min(2*delay, lastHydrationDelay)
		}
		if paused && ctx.Err() == nil {
			h.resumes() // whoever brought the rest
			paused = false
		}
		caughtUp = true
	}
}

// isDiskFull tells whether there may be room on the disk later.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// checkStale looks whether a file that is missing or damaged is one that the
// replica does not have any more. It returns the problem if it is not.
func (h *hydrator) checkStale(ctx context.Context, problem error) error {
	seen := h.db.refreshAnew(ctx)
	if seen.files == nil { // nobody knows
		h.pauses(false, errors.Join(problem, seen.news))
		return nil
	}
	var bad *fileError
	if errors.As(problem, &bad) && bad.epoch == h.db.current.Load().epoch && isListed(bad.file, seen.files) && !isMissing(problem) {
		if bad.wrong {
			h.db.distrust(bad.file, problem)
		}
		return problem
	}
	return nil
}

// fileError is an error about the content of a file of an epoch.
type fileError struct {
	file  *ltxFile
	epoch uint32
	wrong bool // its checksum is: any page may be
	error
}

func (e *fileError) Unwrap() error { return e.error }

// pass reads all that is missing of the view that is held now.
func (h *hydrator) pass(ctx context.Context) error {
	held := h.local().held.Load()
	if held == nil {
		return nil
	}
	v, present := held.view, held.present
	plan := h.plan(v, present)
	work := &copyWork{batches: plan.batches()}
	g, ctx := errgroup.WithContext(ctx)
	// While some decode, others may read.
	for range min(h.db.opts.HydrationConcurrency+runtime.GOMAXPROCS(0), len(work.batches)) {
		g.Go(func() error {
			for {
				batch := h.nextBatch(work)
				if batch == nil || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := h.copyParts(ctx, v, batch); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// nextBatch returns what is to be read next: what is near a page that a query
// waited for, else the next in order.
func (h *hydrator) nextBatch(work *copyWork) []part {
	for {
		pgno, ok := h.nextHot()
		if !ok {
			return work.next()
		}
		if batch := work.near(pgno); batch != nil {
			return batch
		}
	}
}

// copyWork hands out what is to be read.
type copyWork struct {
	mu      sync.Mutex // duty: nothing is read twice
	batches [][]part   // guarded by mu; nil: handed out
	first   int        // guarded by mu; none before it is left
}

// near returns the batch that a page lies in, nil if it was handed out.
func (w *copyWork) near(pgno uint32) []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := w.first; i < len(w.batches); i++ {
		for _, p := range w.batches[i] {
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
	for ; w.first < len(w.batches); w.first++ {
		if w.batches[w.first] != nil {
			return w.take(w.first)
		}
	}
	return nil
}

// take hands a batch out. Called under mu.
func (w *copyWork) take(i int) []part {
	batch := w.batches[i]
	w.batches[i] = nil
	return batch
}

// copyPlan says how the pages that are missing of a view are read.
type copyPlan struct {
	view    *view
	present *bitmap
	files   map[*ltxFile]*filePlan
	size    int64 // of a part, so that all streams end at about the same time
	gap     int64 // gaps up to this size are read through
}

// filePlan is what is to be read of one file.
type filePlan struct {
	file    *ltxFile
	missing int   // pages
	bytes   int64 // of these
	end     int64 // of the last one seen
	whole   bool  // the frames between these are read, too, for the file's checksum
	local   bool  // some pages are not missing
	part    part  // that is being put together
}

// plan looks at everything that is missing.
func (h *hydrator) plan(v *view, present *bitmap) *copyPlan {
	p := &copyPlan{view: v, present: present, files: make(map[*ltxFile]*filePlan)}
	p.eachMissing(func(f *filePlan, _ uint32, loc frameLoc) {
		f.missing++
		f.bytes += int64(loc.size)
	})
	total, rest := int64(0), int64(0)
	needed := v.pagesOf()
	for _, f := range p.files {
		n := needed[f.file]
		total += f.bytes
		f.whole, f.local = isComparable(f.file, n), f.missing < n
		if f.whole {
			rest += f.file.framesEnd * int64(f.file.frames-n) / int64(f.file.frames) // about
		}
	}
	streams := int64(h.db.opts.HydrationConcurrency)
	rounds := (total-1)/(streams*partSize) + 1
	p.size = max(total/(streams*rounds), minPartSize)
	var gaps [64]int64 // bytes, by the logarithm of their size
	p.eachMissing(func(f *filePlan, _ uint32, loc frameLoc) {
		if gap := loc.offset - f.end; f.end > 0 && gap > 0 && !f.whole {
			gaps[bits.Len64(uint64(gap))] += gap
		}
		f.end = loc.offset + int64(loc.size)
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

// eachMissing calls fn for every page that is missing, in order, with the plan
// of the file that it lies in.
func (p *copyPlan) eachMissing(fn func(f *filePlan, pgno uint32, loc frameLoc)) {
	var f *filePlan
	p.view.pages.eachMissing(p.present, 1, math.MaxUint32, func(pgno uint32, loc frameLoc) bool {
		if f == nil || f.file != loc.file {
			known := false
			if f, known = p.files[loc.file]; !known {
				f = &filePlan{file: loc.file}
				p.files[loc.file] = f
			}
		}
		fn(f, pgno, loc)
		return true
	})
}

// batches returns the parts to be read.
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
	p.eachMissing(func(f *filePlan, pgno uint32, loc frameLoc) {
		end := loc.offset + int64(loc.size)
		begin := part{file: f.file, offset: loc.offset, first: pgno, whole: f.whole}
		switch begun := f.part.file != nil; {
		case !begun && f.whole && p.isRest(f, ltx.HeaderSize, loc.offset, 1, pgno-1):
			begin.offset = ltx.HeaderSize
			f.part = begin
		case !begun:
			f.part = begin
		case f.whole && !p.isRest(f, f.part.end, loc.offset, f.part.last+1, pgno-1),
			!f.whole && (loc.offset-f.part.end > p.gap || end-f.part.offset > p.size):
			emit(f.part)
			f.part = begin
		case f.whole && loc.offset-f.part.offset >= p.size:
			f.part.end = loc.offset
			emit(f.part)
			f.part = begin
		}
		f.part.end, f.part.last = end, pgno
		f.part.pages++
	})
	for _, f := range p.files {
		if f.part.file == nil {
			continue // others have read it since
		}
		if f.whole && p.isRest(f, f.part.end, f.file.framesEnd, f.part.last+1, math.MaxUint32) {
			f.part.end = f.file.framesEnd
		}
		emit(f.part)
	}
	return all
}

// isRest tells whether a gap between missing pages of a file is read as well:
// it is not larger than a part, and hardly more of it than of other gaps is
// frames of pages from first to last that are local.
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
	p.view.pages.eachMissing(nil, first, last, func(_ uint32, loc frameLoc) bool {
		if loc.file == f.file {
			local += int64(loc.size)
		}
		return local <= p.gap
	})
	return local <= p.gap
}

// missingParts returns how pages of a part that are missing are read by
// themselves.
func missingParts(v *view, present *bitmap, all part) []part {
	var parts []part
	v.pages.eachMissing(present, all.first, all.last, func(pgno uint32, loc frameLoc) bool {
		if loc.file != all.file {
			return true
		}
		end := loc.offset + int64(loc.size)
		if i := len(parts) - 1; i >= 0 && loc.offset-parts[i].end <= maxGap {
			parts[i].end, parts[i].last = end, pgno
			return true
		}
		parts = append(parts, part{file: loc.file, offset: loc.offset, end: end, first: pgno, last: pgno})
		return true
	})
	return parts
}
