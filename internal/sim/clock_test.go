package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

// A clock of a seed tells the same in every run. Some clocks are right, some are off,
// some drift, and some are set.
func TestClock(t *testing.T) {
	tell := func(seed uint64) (times [3]time.Duration) {
		synctest.Test(t, func(*testing.T) {
			c := NewClock(NewRand(seed, "clock"))
			for i, wait := range []time.Duration{0, time.Second, time.Hour} {
				time.Sleep(wait)
				times[i] = time.Until(c.Now())
			}
		})
		return times
	}
	var right, off, drifts, set int
	for seed := range uint64(100) {
		times := tell(seed)
		if again := tell(seed); again != times {
			t.Errorf("seed %d: off by %v, then by %v", seed, times, again)
		}
		switch {
		case times == [3]time.Duration{}:
			right++
			continue
		case times[0] != 0:
			off++
		}
		if d := (times[1] - times[0]).Abs(); d > 0 && d <= time.Millisecond {
			drifts++
		}
		if (times[2] - times[1]).Abs() > 4*time.Second {
			set++
		}
	}
	if right < 30 || off < 20 || drifts < 30 || set < 10 {
		t.Errorf("%d clocks are right, %d off, %d drift, %d are set", right, off, drifts, set)
	}
}
