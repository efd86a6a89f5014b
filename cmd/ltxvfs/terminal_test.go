package main

import (
	"bytes"
	"testing"
)

// A screen shows control characters as text, wherever writes cut characters.
func TestScreen(t *testing.T) {
	const text = "a\tb\n\x1b[2J\r\a\b\x7f\u009b2J\x9b \xff ä€𝄞 \x00 \xe2\x82"
	const want = "a\tb\n" + `\x1b[2J\r\a\b\x7f\u009b2J\x9b \xff ä€𝄞 \x00 `
	for _, step := range []int{1, 2, 3, len(text)} {
		var out bytes.Buffer
		s := &screen{w: &out}
		for rest := []byte(text); len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if n, err := s.Write(rest[:min(step, len(rest))]); n != min(step, len(rest)) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := out.String(); got != want {
			t.Errorf("%d bytes at a time: %q, want %q", step, got, want)
		}
	}
}
