package main

import "testing"

// TestRun runs everything once.
func TestRun(t *testing.T) {
	if err := run(t.Context(), 1); err != nil {
		t.Error(err)
	}
}
