//go:build linux

package main

import (
	"math"
	"sync"
	"time"
)

// perDouble is the number of buckets of a histogram for each doubling of the time.
// Quantiles are right within 5%.
const perDouble = 16

// histogram counts times by their size. Its zero value is empty. A process sends its
// own as JSON.
type histogram struct {
	Buckets map[int]int64
	Count   int64
	Max     time.Duration
}

// add counts a time.
func (h *histogram) add(d time.Duration) {
	if h.Buckets == nil {
		h.Buckets = make(map[int]int64)
	}
	h.Buckets[int(math.Ceil(perDouble*math.Log2(float64(max(d, 1)))))]++
	h.Count++
	h.Max = max(h.Max, d)
}

// merge adds the times of another histogram.
func (h *histogram) merge(other *histogram) {
	if h.Buckets == nil {
		h.Buckets = make(map[int]int64)
	}
	for bucket, n := range other.Buckets {
		h.Buckets[bucket] += n
	}
	h.Count += other.Count
	h.Max = max(h.Max, other.Max)
}

// quantile returns the time that a share q of all times do not exceed, 0 if there
// are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	left := int64(math.Ceil(q * float64(h.Count)))
	for bucket := 0; ; bucket++ {
		if left -= h.Buckets[bucket]; left <= 0 {
			return min(h.Max, time.Duration(math.Exp2(float64(bucket)/perDouble)))
		}
	}
}

// timings is a histogram that many goroutines add to.
type timings struct {
	mu struct {
		sync.Mutex
		histogram
	}
}

func (t *timings) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.histogram.add(d)
}

// since adds the time since start.
func (t *timings) since(start time.Time) { t.add(time.Since(start)) }

// take returns the times so far.
func (t *timings) take() *histogram {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := new(histogram)
	h.merge(&t.mu.histogram)
	return h
}
