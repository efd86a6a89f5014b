// Package testscale decides how often tests that repeat themselves do so.
//
// The race detector makes a test several times slower, and finds a race in a
// few repetitions that it would find in many. So the gate runs few repetitions
// with it, and all of them without it.
package testscale

import "testing"

// Repeats returns how often a test repeats what it does full times in the
// gate's run without the race detector: a quarter of that, rounded up, with the
// race detector or -short.
func Repeats(full int) int {
	if race || testing.Short() {
		return (full + 3) / 4
	}
	return full
}

// OneGoroutine is why a test says nothing under the race detector.
const OneGoroutine = "it has one goroutine"

// NeedsNoRace skips a test under the race detector that could only be slower
// there, and says why.
func NeedsNoRace(t testing.TB, why string) {
	t.Helper()
	if race {
		t.Skipf("%s, so there is nothing for the race detector; it runs without", why)
	}
}
