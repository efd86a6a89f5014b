package remote

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	hedgeSamples    = 64   // number of fetches from which the delay is estimated
	minHedgeSamples = 16   // number of fetches before the first second request
	hedgeQuantile   = 0.95 // quantile of the durations after which a second request is sent
	hedgeShare      = 0.03 // long-term average of second requests per fetch
	maxHedgeCredit  = 3    // maximum number of second requests in a row
)

// Hedge decides when a slow fetch gets a second request. It is safe for
// concurrent use.
type Hedge struct {
	mu struct {
		sync.Mutex
		recent [hedgeSamples]time.Duration // ring of the newest durations
		n      int                         // number of fetches so far
		credit float64                     // number of second requests that may be sent
	}
}

// delay returns the duration after which a fetch counts as slow. It returns
// false while there are too few samples.
func (h *Hedge) delay() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.n < minHedgeSamples {
		return 0, false
	}
	sorted := h.mu.recent
	samples := sorted[:min(h.mu.n, hedgeSamples)]
	slices.Sort(samples)
	return samples[int(hedgeQuantile*float64(len(samples)))], true
}

// observe adds the duration of a fetch to the samples.
func (h *Hedge) observe(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.recent[h.mu.n%hedgeSamples] = d
	h.mu.n++
	h.mu.credit = min(h.mu.credit+hedgeShare, maxHedgeCredit)
}

// spend reports whether a second request may be sent, and deducts it from the
// credit if so.
func (h *Hedge) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.credit < 1 {
		return false
	}
	h.mu.credit--
	return true
}

// ReadHedged fills buf with bytes of a file from offset on. SQLite waits for them,
// so if the request is slow, ReadHedged sends a second one. The first request that
// succeeds provides the result, and the other one is cancelled.
func (s *Store) ReadHedged(ctx context.Context, f view.Key, buf []byte, offset int64) error {
	if s.Hedge == nil {
		return s.read(ctx, f, buf, offset)
	}
	start := time.Now()
	delay, ok := s.Hedge.delay()
	if !ok {
		err := s.read(ctx, f, buf, offset)
		if err == nil {
			s.Hedge.observe(time.Since(start))
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
		return s.Tasks.Go(func() {
			r := result{buf: make([]byte, len(buf))}
			r.err = s.read(ctx, f, r.buf, offset)
			results <- r
		})
	}
	if !read() {
		return errs.ErrClosed
	}
	running := 1
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if s.Hedge.spend() && read() {
				s.Hedges.Add(1)
				running++
			}
		case r := <-results:
			running--
			if r.err == nil {
				s.Hedge.observe(time.Since(start))
				copy(buf, r.buf)
				return nil
			}
			if running == 0 {
				return r.err
			}
		}
	}
}
