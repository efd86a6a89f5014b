// Package testscale determines how often repetitive tests repeat.
//
// The race detector makes a test several times slower. A race that it finds in
// many repetitions, it also finds in a few. The gate therefore runs few
// repetitions with the race detector, and all repetitions without it.
package testscale

import "testing"

// Repeats returns the number of repetitions of a test. It is full in the gate's
// run without the race detector, and an eighth of that, rounded up, with the race
// detector or with -short.
func Repeats(full int) int {
	if Race || testing.Short() {
		return (full + 7) / 8
	}
	return full
}

// LeavesOut reports whether case i of a test is left out with the race detector, which
// sees every nth one, since all have the same goroutines and differ in data.
func LeavesOut(i, n int) bool { return Race && i%n > 0 }

// OneGoroutine is the reason of a test for which the race detector is useless.
const OneGoroutine = "it has one goroutine"

// NeedsNoRace skips a test under the race detector if the detector cannot find
// anything in it. why is the reason.
func NeedsNoRace(t testing.TB, why string) {
	t.Helper()
	if Race {
		t.Skipf("%s, so there is nothing for the race detector; it runs without", why)
	}
}
