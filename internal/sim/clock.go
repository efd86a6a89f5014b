package sim

import (
	"math/rand/v2"
	"time"
)

// Clock is the clock of a process: it is off by a time, goes too fast or too slow,
// and is set now and then. It is immutable.
type Clock struct {
	start  time.Time     // of the world
	offset time.Duration // from the world's clock at the start
	drift  int64         // nanoseconds that the clock gains in a millisecond
	jumps  []jump
}

// jump is a moment at which a clock is set.
type jump struct{ at, by time.Duration }

// NewClock returns a clock of a world that begins now. Half of the clocks are right.
func NewClock(rng *rand.Rand) Clock {
	c := Clock{start: time.Now()}
	if rng.IntN(2) == 0 {
		return c
	}
	offsets := []time.Duration{0, 300 * time.Millisecond, 5 * time.Second, time.Hour, 30 * 24 * time.Hour}
	signed := func() time.Duration { return offsets[rng.IntN(len(offsets))] * time.Duration(1-2*rng.IntN(2)) }
	c.offset, c.drift = signed(), rng.Int64N(2001)-1000
	for range rng.IntN(3) {
		c.jumps = append(c.jumps, jump{time.Duration(rng.Int64N(int64(20 * time.Minute))), signed()})
	}
	return c
}

// Now returns the time that the clock tells.
func (c Clock) Now() time.Time { return c.at(time.Now()) }

// at returns the time that the clock tells at a moment of the world's clock.
func (c Clock) at(now time.Time) time.Time {
	since := now.Sub(c.start)
	off := c.offset + time.Duration(since.Milliseconds()*c.drift)
	for _, j := range c.jumps {
		if since >= j.at {
			off += j.by
		}
	}
	return now.Add(off)
}
