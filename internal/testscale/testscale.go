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

// NeedsNoRace skips a test of one goroutine under the race detector, which
// could only make it slower.
func NeedsNoRace(t testing.TB) {
	t.Helper()
	if race {
		t.Skip("it has one goroutine, so there is nothing for the race detector; it runs without")
	}
}
