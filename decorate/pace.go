package decorate

import (
	"context"
	"io"
	"math"
	"sync"
	"time"
)

const (
	// paceChunk is the greatest number of bytes that one Read of a paced body
	// returns. It is small, so that streams that share a limit take turns.
	paceChunk = 16 << 10

	// paceStep is the shortest time that a Read waits. A shorter wait is added
	// to the next wait of the stream, or dropped at its end, because a timer
	// takes longer.
	paceStep = 500 * time.Microsecond

	// paceSlack is the time by which a stream may be behind its schedule and
	// still catch up. Timers wake late, and the sum of these delays must not
	// slow a stream down.
	paceSlack = 10 * time.Millisecond
)

// pacer is a rate limit. It tells how long to wait until bytes may pass.
type pacer struct {
	rate float64 // bytes a second; not positive: no limit

	mu struct {
		sync.Mutex
		next time.Time // time at which all bytes so far have passed
	}
}

func newPacer(rate float64) *pacer { return &pacer{rate: rate} }

// take lets n bytes pass and returns how long that takes from now.
func (p *pacer) take(n int) time.Duration {
	if p.rate <= 0 || math.IsNaN(p.rate) || n == 0 {
		return 0
	}
	d := float64(n) / p.rate * float64(time.Second)
	cost := time.Duration(math.MaxInt64)
	if d < math.MaxInt64 {
		cost = time.Duration(d)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch behind := now.Sub(p.mu.next); {
	case p.mu.next.IsZero():
		p.mu.next = now
	case behind > paceSlack:
		p.mu.next = now.Add(-paceSlack)
	}
	p.mu.next = p.mu.next.Add(cost)
	return p.mu.next.Sub(now)
}

// pacedReader reads as fast as its own and the common limit allow.
type pacedReader struct {
	ctx        context.Context
	r          io.Reader
	own, total *pacer
}

func (r *pacedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), paceChunk)])
	wait := max(r.own.take(n), r.total.take(n))
	if wait < paceStep {
		wait = 0
	}
	if sleepErr := sleep(r.ctx, wait); sleepErr != nil {
		return 0, sleepErr
	}
	return n, err
}

// sleep waits until d has passed. It returns an error if ctx is done first, or
// is done already, even if d is not positive.
func sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
