package remote

import (
	"slices"
	"sync"
	"time"
)

// Speed estimates, from the reads that pass, how long a request takes to answer and
// how fast its bytes come. It is safe for concurrent use; the zero value has seen
// nothing.
type Speed struct {
	mu struct {
		sync.Mutex
		latencies [speedSamples]time.Duration // to the first part of a body, a ring
		n         int                         // number of reads so far
		bodies    [speedSamples]bodyTime      // of the long reads, a ring
		m         int                         // number of long reads so far
	}
}

// bodyTime is how long a body took after its first part.
type bodyTime struct {
	bytes int64
	took  time.Duration
}

const (
	speedSamples = 16

	// longRead is how many bytes must follow the first part of a body for the time
	// that they take to say something.
	longRead = 32 << 10

	// assumedBandwidth is the bandwidth before a long read, in bytes a second. It
	// is that of a slow store.
	assumedBandwidth = 20e6

	// maxFree bounds what Free returns. A request of that size has its own latency
	// several times over at most stores.
	maxFree = 2 << 20
)

// Free returns how many bytes arrive in the time that a request takes to answer, 0
// before the first one. A request for so many bytes costs no more than two small
// ones that are made one after the other.
func (s *Speed) Free() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.n == 0 {
		return 0
	}
	sorted := s.mu.latencies
	samples := sorted[:min(s.mu.n, speedSamples)]
	slices.Sort(samples)
	latency := samples[len(samples)/2]
	var all bodyTime
	for _, b := range s.mu.bodies[:min(s.mu.m, speedSamples)] {
		all.bytes += b.bytes
		all.took += b.took
	}
	switch {
	case s.mu.m == 0:
		return min(int64(assumedBandwidth*latency.Seconds()), maxFree)
	case all.took <= 0:
		return maxFree
	}
	return int64(min(float64(all.bytes)*latency.Seconds()/all.took.Seconds(), maxFree))
}

// timing measures one read.
type timing struct {
	speed  *Speed
	start  time.Time
	first  time.Duration // from start to the first part; 0 before it has come
	prefix int           // length of the first part
	bytes  int
}

func (s *Speed) begin() timing { return timing{speed: s, start: time.Now()} }

// arrived notes that more bytes have come.
func (t *timing) arrived(n int) {
	if t.bytes == 0 {
		t.first, t.prefix = time.Since(t.start), n
	}
	t.bytes += n
}

// end adds a read that has succeeded to the estimate.
func (t *timing) end() {
	if t.bytes == 0 {
		return
	}
	rest := bodyTime{int64(t.bytes - t.prefix), time.Since(t.start) - t.first}
	s := t.speed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.latencies[s.mu.n%speedSamples] = t.first
	s.mu.n++
	if rest.bytes >= longRead {
		s.mu.bodies[s.mu.m%speedSamples] = rest
		s.mu.m++
	}
}
