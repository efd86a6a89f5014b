package litestream

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	hedgeSamples    = 64   // fetches that the delay is learned from
	minHedgeSamples = 16   // before that, nothing is hedged
	hedgeQuantile   = 0.95 // of their durations: a second request is made after as long
	hedgeShare      = 0.03 // second requests per fetch, in the long run
	maxHedgeCredit  = 3    // second requests in a row
)

// hedge decides when a fetch that takes long gets a second request. It is
// safe for concurrent use.
type hedge struct {
	mu     sync.Mutex                  // duty: what follows
	recent [hedgeSamples]time.Duration // guarded by mu; a ring
	n      int                         // guarded by mu; fetches ever
	credit float64                     // guarded by mu; second requests that may be made
}

// delay returns after which time a fetch is slow, false if that is not known yet.
func (h *hedge) delay() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n < minHedgeSamples {
		return 0, false
	}
	sorted := h.recent
	samples := sorted[:min(h.n, hedgeSamples)]
	slices.Sort(samples)
	return samples[int(hedgeQuantile*float64(len(samples)))], true
}

// observe learns from a fetch.
func (h *hedge) observe(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent[h.n%hedgeSamples] = d
	h.n++
	h.credit = min(h.credit+hedgeShare, maxHedgeCredit)
}

// spend reports whether a second request may be made, and counts it.
func (h *hedge) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.credit < 1 {
		return false
	}
	h.credit--
	return true
}

// readHedged is read, with a second request if the first takes long. The one
// that succeeds first counts, and the other is cancelled.
func (s *store) readHedged(ctx context.Context, f fileKey, buf []byte, offset int64) error {
	if s.hedge == nil {
		return s.read(ctx, f, buf, offset)
	}
	start := time.Now()
	delay, ok := s.hedge.delay()
	if !ok {
		err := s.read(ctx, f, buf, offset)
		if err == nil {
			s.hedge.observe(time.Since(start))
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		buf []byte
		err error
	}
	results := make(chan result, 2)
	read := func() bool {
		return s.run(func() {
			r := result{buf: make([]byte, len(buf))}
			r.err = s.read(ctx, f, r.buf, offset)
			results <- r
		})
	}
	if !read() {
		return ErrClosed
	}
	running := 1
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if s.hedge.spend() && read() {
				s.hedges.Add(1)
				running++
			}
		case r := <-results:
			running--
			if r.err == nil {
				s.hedge.observe(time.Since(start))
				copy(buf, r.buf)
				return nil
			}
			if running == 0 {
				return r.err
			}
		}
	}
}
