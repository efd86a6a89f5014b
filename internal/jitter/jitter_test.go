package jitter

import (
	"testing"
	"time"
)

func TestAround(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 1000 {
		d := Around(10)
		if d < 5 || d >= 15 {
			t.Fatalf("delay %d, want 5 to 14", d)
		}
		seen[d] = true
	}
	if len(seen) < 5 {
		t.Errorf("the delays are %v", seen)
	}
}

func TestReplace(t *testing.T) {
	restore := Replace(func(d time.Duration) time.Duration { return d + 1 })
	if d := Around(10); d != 11 {
		t.Errorf("delay %d, want 11", d)
	}
	restore()
	if d := Around(1000); d < 500 || d >= 1500 {
		t.Errorf("delay %d after the end, want 500 to 1499", d)
	}
}
