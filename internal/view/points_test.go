package view

import (
	"errors"
	"math"
	"testing"
)

// TestLastUpTo_Reads counts the values that a search reads.
func TestLastUpTo_Reads(t *testing.T) {
	const n = 5000
	even := func(i int) int64 { return int64(i) * 1000 }
	for _, tc := range []struct {
		name     string
		value    func(i int) int64
		boundary int // the first value that is too great
		guess    int
		most     int
	}{
		{"right", even, 3000, 3000, 2},
		{"right, none", even, 0, 0, 1},
		{"right, all", even, n, n, 1},
		{"nearly", even, 2990, 3000, 7},
		{"wrong", even, 3000, 0, 7},
		{"wrong, other side", even, 3000, n, 7},
		{"all but one", even, 1, n, 7},
		{"none", even, 0, n, 3},
		{"bursts", func(i int) int64 { return int64(i/100)*1e6 + int64(i%100) }, 3033, 0, 26},
		{"a pause", func(i int) int64 { return int64(i) + int64(i/4000)*1e9 }, 3900, 0, 26},
		{"ever faster", func(i int) int64 { return int64(1e12 * math.Log(float64(i+1))) }, 3000, 0, 26},
		{"all equal", func(i int) int64 { return 7 }, n, 0, 4},
	} {
		reads := 0
		at := tc.value(max(tc.boundary-1, 0))
		if tc.boundary == 0 {
			at--
		}
		got, err := lastUpTo(at, n, tc.guess, func(i int) (int64, error) {
			reads++
			return tc.value(i), nil
		})
		if err != nil || got != tc.boundary-1 {
			t.Errorf("%s: got %d, %v, want %d", tc.name, got, err, tc.boundary-1)
		}
		if reads > tc.most {
			t.Errorf("%s: %d reads, want %d at most", tc.name, reads, tc.most)
		}
	}
	for boundary := range n + 1 {
		reads := 0
		got, err := lastUpTo(even(boundary)-1, n, 0, func(i int) (int64, error) { reads++; return even(i), nil })
		if err != nil || got != boundary-1 || reads > 7 {
			t.Fatalf("got %d with %d reads, %v, want %d", got, reads, err, boundary-1)
		}
	}
	if _, err := lastUpTo(5, n, 7, func(int) (int64, error) { return 0, errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a read fails: %v", err)
	}
}
