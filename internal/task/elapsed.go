package task

import "time"

// Elapsed returns how long ago a time was, by the clock that says more: the monotonic
// one may stop while a machine is suspended, and the other one may be set back.
func Elapsed(since time.Time) time.Duration {
	return max(time.Since(since), time.Now().Round(0).Sub(since.Round(0)))
}
