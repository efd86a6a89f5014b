package view

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// Dense is the page index of a file that has every page of its database, as far
// as it was read. Which pages the file has is known without reading, so views
// that point to the file need not know how much of the index is here. It is safe
// for concurrent use; lookups take no lock.
//
// The index is kept in slots of slotLen pages. With a budget, the runs of slots
// are dropped again.
type Dense struct {
	ltxio.Dense
	slots    []denseSlot
	anchors  []atomic.Pointer[ltxio.Anchor] // first entry of each block; nil if its place is not known
	budget   *Budget                        // nil: no run is dropped
	complete atomic.Bool
	odd      atomic.Bool   // all of the index could not be read
	busy     chan struct{} // has an element while all of the index is being read

	deviation atomic.Uint64 // of the sizes of frames in the newest part, as the bits of a float64; 0: none is known

	head, rest []byte // of the file: its header, and what is between the entries and the checksum

	mu sync.Mutex // duty: additions, so that no run undoes another
}

const (
	slotLen = 512

	_ = uint(-(ltxio.MarkEvery % slotLen)) // a slot is in one block
)

// denseSlot holds what is known of slotLen pages; nil if that is nothing.
type denseSlot struct{ run atomic.Pointer[denseRun] }

// denseRun holds the places of successive frames: that of page first+i is at
// base+rel[i] and ends at base+rel[i+1]. The lock page is in no run: it is the
// first page of its slot, whatever the page size is.
type denseRun struct {
	first uint32
	base  int64
	rel   []uint32
	used  atomic.Bool // since Budget looked last
}

// These are about the sizes of what a run takes besides rel, of a slot without its
// run, and of an anchor, in bytes.
const (
	runOverhead = 96
	slotSize    = 8
	anchorSize  = 32
)

func (r *denseRun) size() int64 { return int64(cap(r.rel))*4 + runOverhead }

// end returns the number of the page after the last one.
func (r *denseRun) end() uint32 { return r.first + uint32(len(r.rel)) - 1 }

// offset returns the offset of the frame of a page from first to end.
func (r *denseRun) offset(pgno uint32) int64 { return r.base + int64(r.rel[pgno-r.first]) }

// NewDense returns an index that was not read yet.
func NewDense(d ltxio.Dense, budget *Budget) *Dense {
	slots := (int64(d.Commit) + slotLen - 1) / slotLen
	anchors := (int64(d.Commit) + ltxio.MarkEvery - 1) / ltxio.MarkEvery
	x := &Dense{
		Dense: d, budget: budget, busy: make(chan struct{}, 1),
		slots: make([]denseSlot, slots), anchors: make([]atomic.Pointer[ltxio.Anchor], anchors),
	}
	if budget != nil {
		size := slots*slotSize + anchors*anchorSize
		budget.reserve(size)
		runtime.AddCleanup(x, budget.reserve, -size)
	}
	return x
}

// IsComplete reports whether all of the index is here and stays here.
func (d *Dense) IsComplete() bool { return d.complete.Load() }

// MarkOdd notes that all of the index could not be read.
func (d *Dense) MarkOdd() { d.odd.Store(true) }

// IsOdd reports whether MarkOdd was called.
func (d *Dense) IsOdd() bool { return d.odd.Load() }

// IsBounded reports whether parts of the index are dropped again.
func (d *Dense) IsBounded() bool { return d.budget != nil }

// Limit returns about how many bytes the parts of the index may take, or 0 if
// there is no bound.
func (d *Dense) Limit() int64 { return d.budget.Limit() }

// Begin waits until no other goroutine reads all of the index. The caller must
// call the function that it returns.
func (d *Dense) Begin(ctx context.Context) (end func(), err error) {
	select {
	case d.busy <- struct{}{}:
		return func() { <-d.busy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Finish is called when all of the index was added. It returns the number of a
// page whose place is not known nevertheless, or 0 if the index is complete or
// bounded.
func (d *Dense) Finish() (pgno uint32) {
	if d.budget != nil {
		return 0
	}
	for i := range d.slots {
		first := d.firstOfSlot(i)
		end := min(uint64(i+1)*slotLen, uint64(d.Commit)) + 1
		run := d.slots[i].run.Load()
		switch {
		case uint64(first) >= end:
		case run == nil || run.first > first:
			return first
		case uint64(run.end()) < end:
			return run.end()
		}
	}
	d.complete.Store(true)
	return 0
}

// firstOfSlot returns the first page of a slot that has an entry.
func (d *Dense) firstOfSlot(i int) uint32 { return d.After(uint32(i) * slotLen) }

// Find returns where the frame of a page is. The size is 0 if that is not known.
func (d *Dense) Find(pgno uint32) (offset int64, size uint32) {
	i := (pgno - 1) / slotLen
	if i >= uint32(len(d.slots)) {
		return 0, 0
	}
	run := d.slots[i].run.Load()
	if run == nil || pgno < run.first || pgno >= run.end() {
		return 0, 0
	}
	if d.budget != nil && !run.used.Load() {
		run.used.Store(true)
	}
	offset = run.offset(pgno)
	return offset, uint32(run.offset(pgno+1) - offset)
}

// Add adds a part of the index. It returns an error if the part contradicts
// another one.
func (d *Dense) Add(w ltxio.Window) error {
	for _, a := range w.Marks {
		if at := &d.anchors[(a.Pgno-1)/ltxio.MarkEvery]; at.Load() == nil {
			at.Store(&a)
		}
	}
	d.noteSizes(w.Sizes)
	return d.addSizes(w.Start.Pgno, w.Start.Offset, w.Sizes)
}

// AddFrames adds the places of the first frames of the file, by their sizes.
func (d *Dense) AddFrames(sizes []uint32) error {
	a := d.FirstAnchor()
	return d.addSizes(a.Pgno, a.Offset, sizes)
}

// addSizes adds the places of successive frames from that of a page on.
func (d *Dense) addSizes(pgno uint32, offset int64, sizes []uint32) error {
	for len(sizes) > 0 {
		n := min(len(sizes), slotLen-int(pgno-1)%slotLen)
		run := &denseRun{first: pgno, base: offset, rel: make([]uint32, 1, n+1)}
		end := uint32(0)
		for _, size := range sizes[:n] {
			end += size
			run.rel = append(run.rel, end)
		}
		if err := d.addRun(run); err != nil {
			return err
		}
		pgno, offset, sizes = d.After(run.end()-1), offset+int64(end), sizes[n:]
	}
	return nil
}

// addRun adds a run of one slot, joined with what is known of the slot.
func (d *Dense) addRun(run *denseRun) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := (run.first - 1) / slotLen
	slot := &d.slots[i]
	old := slot.run.Load()
	if old != nil {
		joined, err := join(old, run)
		if err != nil || joined == old {
			return err
		}
		run = joined
	}
	if err := d.checkBeside(i, run); err != nil {
		return err
	}
	slot.run.Store(run)
	if d.budget != nil {
		d.budget.add(slot, run)
	}
	return nil
}

// join returns a run with the pages of two. If pages lie between them, it
// returns the longer one.
func join(a, b *denseRun) (*denseRun, error) {
	if a.first > b.first {
		a, b = b, a
	}
	if a.end() < b.first {
		if len(a.rel) >= len(b.rel) {
			return a, nil
		}
		return b, nil
	}
	for pgno := b.first; pgno <= min(a.end(), b.end()); pgno++ {
		if a.offset(pgno) != b.offset(pgno) {
			return nil, fmt.Errorf("%w: page index gives page %d offset %d and offset %d", ltxio.ErrCorrupt, pgno, a.offset(pgno), b.offset(pgno))
		}
	}
	if b.end() <= a.end() {
		return a, nil
	}
	run := &denseRun{first: a.first, base: a.base, rel: make([]uint32, 0, b.end()-a.first+1)}
	run.rel = append(run.rel, a.rel...)
	for pgno := a.end() + 1; pgno <= b.end(); pgno++ {
		run.rel = append(run.rel, uint32(b.offset(pgno)-a.base))
	}
	return run, nil
}

// checkBeside compares a run of slot i with those of the slots beside it. The
// caller holds mu.
func (d *Dense) checkBeside(i uint32, run *denseRun) error {
	check := func(a, b *denseRun) error {
		if a == nil || b == nil {
			return nil
		}
		if end, next := a.offset(a.end()), b.base; a.end() == b.first && end != next || end > next {
			return fmt.Errorf("%w: page index has page %d end at %d and page %d begin at %d", ltxio.ErrCorrupt, a.end()-1, end, b.first, next)
		}
		return nil
	}
	if i > 0 {
		if err := check(d.slots[i-1].run.Load(), run); err != nil {
			return err
		}
	}
	if int(i)+1 < len(d.slots) {
		return check(run, d.slots[i+1].run.Load())
	}
	return nil
}

// Probe is a search for the entry of a page. It belongs to one goroutine.
type Probe struct {
	d      *Dense
	pgno   uint32
	lo, hi ltxio.Anchor // the entry is between them
	tries  int
}

// Probe begins a search between the entries whose places are known.
func (d *Dense) Probe(pgno uint32) *Probe {
	p := &Probe{d: d, pgno: pgno, lo: d.FirstAnchor(), hi: d.EndAnchor()}
	i := int(pgno-1) / ltxio.MarkEvery
	for k := i; k >= 0; k-- {
		if a := d.anchors[k].Load(); a != nil && a.Pgno <= pgno {
			p.lo = *a
			break
		}
	}
	for k := i + 1; k < len(d.anchors); k++ {
		if a := d.anchors[k].Load(); a != nil {
			p.hi = *a
			break
		}
	}
	return p
}

// maxGuesses is the number of guesses after which a search halves what is left.
// Honest files take one or two.
const maxGuesses = 4

// Range returns the bytes of the file to read next, of about a size.
func (p *Probe) Range(size int64) (from, to int64) {
	p.tries++
	if p.hi.At-p.lo.At <= size {
		return p.lo.At, p.hi.At
	}
	at := p.d.Guess(p.pgno, p.lo, p.hi)
	if p.tries > maxGuesses {
		at = p.lo.At + (p.hi.At-p.lo.At)/2
	}
	// Parts begin at multiples of half their size, so that pages near each other
	// need the same part.
	start, half := p.d.Start, size/2
	from = start + max(0, at-start-size/4)/half*half
	from = min(max(p.lo.At, from), p.hi.At-size)
	return from, from + size
}

// Take looks for the page in a part of the index. It returns the size 0 if the
// page is not there; then the search goes on.
func (p *Probe) Take(w ltxio.Window) (offset int64, size uint32) {
	if e, ok := w.Find(p.pgno); ok {
		return e.Offset, e.Size
	}
	if p.pgno < w.Start.Pgno {
		p.hi = w.Start
	} else {
		p.lo = w.Next
	}
	return 0, 0
}

// Budget bounds the memory of the indexes of a database, in which old runs give
// way to new ones. It is safe for concurrent use.
type Budget struct {
	limit int64 // bytes

	mu struct {
		sync.Mutex
		used int64
		ring []budgetEntry // in the order in which they are looked at
	}
}

type budgetEntry struct {
	slot *denseSlot
	run  *denseRun
}

// NewBudget returns a budget of some bytes, or nil, which is no bound, if limit
// is 0.
func NewBudget(limit int64) *Budget {
	if limit <= 0 {
		return nil
	}
	return &Budget{limit: limit}
}

// Limit returns the bound in bytes, 0 for none.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}

// Used returns how many bytes are in use.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// reserve accounts for what an index takes without its runs, or less again if size
// is negative.
func (b *Budget) reserve(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used += size
}

// add accounts for a run, and drops runs that were not used since it last looked
// at them until the budget has room for it.
func (b *Budget) add(slot *denseSlot, run *denseRun) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used += run.size()
	for b.mu.used > b.limit && len(b.mu.ring) > 0 {
		e := b.mu.ring[0]
		b.mu.ring = b.mu.ring[1:]
		if e.slot.run.Load() == e.run && e.run.used.Swap(false) {
			b.mu.ring = append(b.mu.ring, e)
			continue
		}
		e.slot.run.CompareAndSwap(e.run, nil) // else another run has replaced it
		b.mu.used -= e.run.size()
	}
	b.mu.ring = append(b.mu.ring, budgetEntry{slot, run})
}
