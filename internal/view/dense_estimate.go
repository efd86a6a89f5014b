package view

import (
	"math"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// Estimate is where the frame of a page most likely is, by the frames whose places
// are known.
type Estimate struct {
	From, To int64 // bytes of the file
}

// Holds reports whether a frame is within the estimate.
func (e Estimate) Holds(offset int64, size uint32) bool {
	return offset >= e.From && offset+int64(size) <= e.To
}

const (
	// maxStretch bounds the frames from which the size of others is estimated, in
	// slots. It is some 16,000 frames.
	maxStretch = 32

	// deviations is how many standard deviations an estimate covers to both sides.
	deviations = 3

	// minSample is the number of frames whose sizes say something of others.
	minSample = 64
)

// Estimate estimates where the frame of a page is whose place is not known. It
// reports false if that would be more than some bytes.
//
// The frames around the page are either like all of those between the nearest known
// ones, or like the successive known ones that are near. If these two do not differ,
// the first estimate is the better one, because it has two ends.
func (d *Dense) Estimate(pgno uint32, most int64) (e Estimate, ok bool) {
	p := d.Probe(pgno)
	below, above := d.below(pgno, p.lo.Pgno), d.above(pgno, p.hi.Pgno)
	lo, hi := p.lo, p.hi
	if below.n > 0 && below.end > lo.Pgno {
		lo = ltxio.Anchor{Pgno: below.end, Offset: below.to}
	}
	if above.n > 0 && above.first < hi.Pgno {
		hi = ltxio.Anchor{Pgno: above.first, Offset: above.from}
	}
	after, before := d.distance(lo.Pgno, pgno), d.distance(pgno, hi.Pgno)
	pages := max(1, after+before)
	between := float64(hi.Offset-lo.Offset) / pages // the mean size of the frames
	at := float64(lo.Offset) + after*between
	bridge := math.Sqrt(after * before / pages)

	near, sign, distance, start := &below, 1.0, d.distance(below.end, pgno), below.to
	if below.n == 0 || above.n > 0 && before < after {
		near, sign, distance, start = &above, -1, d.distance(pgno, above.first), above.from
	}
	var margin float64
	if near.n > 0 {
		mean, deviation := near.mean(), deviations*near.deviation()
		sampling := deviation / math.Sqrt(near.n) // error of the mean
		margin = deviation * bridge
		if difference := math.Abs(between - mean); difference > sampling {
			margin += difference * min(after, before)
		}
		trend := near.trend() * (1 + distance/near.n)
		if m := deviation*math.Sqrt(distance) + (sampling+trend)*distance; m < margin {
			at, margin = float64(start)+sign*distance*mean, m
		}
	} else if deviation := math.Float64frombits(d.deviation.Load()); deviation > 0 {
		margin = deviations * deviation * bridge
	} else {
		return e, false
	}
	if margin > float64(most) {
		return e, false
	}
	margin = min(margin, float64(most)/2) + 1
	e.From = max(int64(at-margin), lo.Offset)
	e.To = min(int64(at+margin)+d.MaxFrame(), hi.Offset)
	return e, e.From < e.To
}

// noteSizes notes how much the sizes of the frames of a part of the index differ.
func (d *Dense) noteSizes(sizes []uint32) {
	var s sample
	for len(sizes) >= minSample {
		n := min(len(sizes), slotLen)
		s.add(sizes[:n])
		sizes = sizes[n:]
	}
	if s.n > 0 {
		d.deviation.Store(math.Float64bits(s.deviation() + 1))
	}
}

// distance returns the number of pages from one up to another.
func (d *Dense) distance(from, to uint32) float64 {
	return float64(d.Before(to)) - float64(d.Before(from))
}

// sample is the sizes of some frames.
type sample struct {
	n, sum, squares float64   // number of the frames, and the sums of their sizes and of the squares
	averages        []float64 // of the sizes of each slotLen of them
}

// add adds successive frames, slotLen at most.
func (s *sample) add(sizes []uint32) {
	var sum, squares uint64 // no frame is much larger than 64 KiB, so that they have room
	for _, size := range sizes {
		sum += uint64(size)
		squares += uint64(size) * uint64(size)
	}
	s.n += float64(len(sizes))
	s.sum += float64(sum)
	s.squares += float64(squares)
	if len(sizes) == slotLen {
		s.averages = append(s.averages, float64(sum)/slotLen)
	}
}

func (s *sample) mean() float64 { return s.sum / s.n }

// minAverages is the number of averages from which on they tell more than the sizes.
const minAverages = 6

// deviation returns the standard deviation of the sizes, as if they were
// independent. Frames of several kinds by turns differ more than their averages, and
// those that become larger and larger, less.
func (s *sample) deviation() float64 {
	if len(s.averages) < minAverages {
		return deviationOf(s.n, s.sum, s.squares)
	}
	var sum, squares float64
	for _, a := range s.averages {
		sum += a
		squares += a * a
	}
	return math.Sqrt(slotLen) * deviationOf(float64(len(s.averages)), sum, squares)
}

func deviationOf(n, sum, squares float64) float64 {
	mean := sum / n
	return math.Sqrt(max(0, squares/n-mean*mean))
}

// trend returns by how much the mean of the first half of the averages differs from
// that of the second one.
func (s *sample) trend() float64 {
	half := len(s.averages) / 2
	if half == 0 {
		return 0
	}
	var difference float64
	for i, a := range s.averages[:2*half] {
		if i < half {
			difference += a
		} else {
			difference -= a
		}
	}
	return math.Abs(difference) / float64(half)
}

// stretch is successive frames whose places are known.
type stretch struct {
	sample
	first, end uint32 // pages; end is the one after the last
	from, to   int64  // bytes of the file
}

func (s *stretch) addRun(run *denseRun) {
	var sizes [slotLen]uint32
	n := len(run.rel) - 1
	for i := range n {
		sizes[i] = run.rel[i+1] - run.rel[i]
	}
	s.add(sizes[:n])
}

// below returns the known frames right before a page, and beyond another one. The
// latter may be among them.
func (d *Dense) below(pgno, least uint32) (s stretch) {
	last := int(least-1) / slotLen
	i := int(pgno-1) / slotLen
	for ; i >= last; i-- {
		if run := d.slots[i].run.Load(); run != nil && run.first < pgno {
			s = stretch{first: run.first, end: run.end(), from: run.base, to: run.offset(run.end())}
			s.addRun(run)
			break
		}
	}
	for i--; s.n > 0 && i >= 0 && s.n < maxStretch*slotLen; i-- {
		run := d.slots[i].run.Load()
		if run == nil || run.offset(run.end()) != s.from {
			break
		}
		s.first, s.from = run.first, run.base
		s.addRun(run)
	}
	return s
}

// above is below for the known frames after a page.
func (d *Dense) above(pgno, most uint32) (s stretch) {
	last := min(int(most-1)/slotLen, len(d.slots)-1)
	i := int(pgno-1) / slotLen
	for ; i <= last; i++ {
		if run := d.slots[i].run.Load(); run != nil && run.first > pgno {
			s = stretch{first: run.first, end: run.end(), from: run.base, to: run.offset(run.end())}
			s.addRun(run)
			break
		}
	}
	for i++; s.n > 0 && i < len(d.slots) && s.n < maxStretch*slotLen; i++ {
		run := d.slots[i].run.Load()
		if run == nil || run.base != s.to {
			break
		}
		s.end, s.to = run.end(), run.offset(run.end())
		s.addRun(run)
	}
	return s
}
