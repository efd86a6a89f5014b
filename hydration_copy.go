package litestream

import (
	"context"
	"errors"
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

	// wholeShare is the part of a file's pages, in hundredths, of which it is
	// read whole, so that its checksum can be compared.
	wholeShare = 97

	// gapShare is how much of what is read may be gaps between wanted pages, in
	// hundredths. The smallest gaps are read through.
	gapShare = 2
)

// part is a stretch of a file that one request reads.
type part struct {
	file        *ltxFile
	offset, end int64
	first, last uint32 // wanted pages lie in between
	whole       *wholeFile
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
		for ctx.Err() == nil && h.local().missing() > 0 {
			before := h.local().count.Load()
			err := h.pass(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil && h.local().count.Load() != before:
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
	seen := h.db.refresh(ctx)
	if seen.files == nil { // nobody knows
		h.pauses(false, errors.Join(problem, seen.news))
		return nil
	}
	var bad *fileError
	if errors.As(problem, &bad) && bad.epoch == h.db.current.Load().epoch && isListed(bad.file, seen.files) && !isMissing(problem) {
		return problem
	}
	return nil
}

// fileError is an error about the content of a file of an epoch.
type fileError struct {
	file  *ltxFile
	epoch uint32
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
	if err := g.Wait(); err != nil {
		return err
	}
	if v.epoch != h.db.current.Load().epoch {
		return nil // what was read may be of another history
	}
	for _, w := range plan.wholes() {
		if err := w.check(v.epoch); err != nil {
			return err
		}
	}
	return nil
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
	whole   *wholeFile
	part    part // that is being put together
}

// plan looks at everything that is missing.
func (h *hydrator) plan(v *view, present *bitmap) *copyPlan {
	p := &copyPlan{view: v, present: present, files: make(map[*ltxFile]*filePlan)}
	p.eachMissing(func(f *filePlan, _ uint32, loc frameLoc) {
		f.missing++
		f.bytes += int64(loc.size)
	})
	bytes, total := int64(0), int64(0)
	for _, f := range p.files {
		total += f.bytes
		if f.missing*100 >= f.file.frames*wholeShare {
			f.whole = &wholeFile{file: f.file}
		} else {
			bytes += f.bytes
		}
	}
	streams := int64(h.db.opts.HydrationConcurrency)
	rounds := (total-1)/(streams*partSize) + 1
	p.size = max(total/(streams*rounds), minPartSize)
	if bytes == 0 {
		return p
	}
	var gaps [64]int64 // bytes, by the logarithm of their size
	p.eachMissing(func(f *filePlan, _ uint32, loc frameLoc) {
		if gap := loc.offset - f.end; f.end > 0 && gap > 0 && f.whole == nil {
			gaps[bits.Len64(uint64(gap))] += gap
		}
		f.end = loc.offset + int64(loc.size)
	})
	budget := bytes * gapShare / 100
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
	p.present.missingIn(1, p.view.commit, func(pgno uint32) bool {
		loc, ok := p.view.lookup(pgno)
		if !ok {
			return true
		}
		if f == nil || f.file != loc.file {
			if f, ok = p.files[loc.file]; !ok {
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
		switch begun := f.part.file != nil; {
		case !begun:
			if f.whole != nil && loc.offset > p.size {
				f.whole.skip()
				f.whole = nil
			}
			f.part = part{file: f.file, offset: loc.offset, whole: f.whole, first: pgno}
			if f.whole != nil {
				f.part.offset = 0
			}
		case f.whole != nil && loc.offset-f.part.end > p.size:
			// So much is local in between that it is not worth the checksum.
			f.whole.skip()
			f.whole = nil
			emit(f.part)
			f.part = part{file: f.file, offset: loc.offset, first: pgno}
		case f.whole != nil && loc.offset-f.part.offset >= p.size:
			f.part.end = loc.offset
			emit(f.part)
			f.part = part{file: f.file, offset: loc.offset, whole: f.whole, first: pgno}
		case f.whole == nil && (loc.offset-f.part.end > p.gap || end-f.part.offset > p.size):
			emit(f.part)
			f.part = part{file: f.file, offset: loc.offset, first: pgno}
		}
		f.part.end, f.part.last = end, pgno
	})
	for _, f := range p.files {
		switch {
		case f.part.file == nil: // others have read it since
			if f.whole != nil {
				f.whole.skip()
			}
		case f.whole == nil:
			emit(f.part)
		case f.file.framesEnd-f.part.end > p.size:
			f.whole.skip()
			emit(f.part)
		default:
			f.part.end = f.file.framesEnd
			emit(f.part)
			for off, end := f.file.framesEnd, int64(0); off < f.file.size; off = end {
				if end = off + p.size; end+ltx.TrailerSize > f.file.size {
					end = f.file.size // the trailer is not cut in two
				}
				emit(part{file: f.file, offset: off, end: end, whole: f.whole})
			}
		}
	}
	return all
}

func (p *copyPlan) wholes() (all []*wholeFile) {
	for _, f := range p.files {
		if f.whole != nil {
			all = append(all, f.whole)
		}
	}
	return all
}

// missingParts returns how pages of a part that are missing are read by
// themselves.
func missingParts(v *view, present *bitmap, all part) []part {
	var parts []part
	present.missingIn(all.first, all.last, func(pgno uint32) bool {
		loc, ok := v.lookup(pgno)
		if !ok || loc.file != all.file {
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
