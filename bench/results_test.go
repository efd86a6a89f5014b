package main

import (
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	var r results
	for _, ms := range []int{30, 10, 20} {
		r.add("row", ours, sample{time: time.Duration(ms) * time.Millisecond, requests: ms})
		r.addFigure("figure", "", ours, float64(ms))
	}
	if s, ok := r.rows[0].median(ours); !ok || s.time != 20*time.Millisecond || s.requests != 20 {
		t.Errorf("median of times: %+v", s)
	}
	if got := r.value("figure", ours); got != 20 {
		t.Errorf("median of figures: %g", got)
	}
	if _, ok := r.rows[0].median(upstream); ok {
		t.Error("median of nothing")
	}
}

func TestExtrapolation(t *testing.T) {
	var r results
	r.add("row", ours, sample{time: time.Second, requests: 10, bytes: 1e6, share: 0.02})
	s, _ := r.rows[0].median(ours)
	if s.time != 50*time.Second || s.requests != 500 || s.bytes != 50e6 {
		t.Errorf("whole: %+v", s)
	}
	once := sample{time: time.Second, requests: 10, bytes: 1e6}
	s = sample{time: 2 * time.Second, requests: 30, bytes: 3e6, share: 0.1, once: &once}.whole()
	if s.time != 11*time.Second || s.requests != 210 || s.bytes != 21e6 {
		t.Errorf("whole with an open: %+v", s)
	}
	var b strings.Builder
	r.writeRows(&b, 5)
	if want := "~50.0 s (from 2%) (of 1)"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

func TestRendering(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{duration(12345 * time.Nanosecond), "12.3 µs"},
		{duration(999 * time.Millisecond), "999 ms"},
		{duration(1500 * time.Millisecond), "1.50 s"},
		{duration(2 * time.Hour), "7200 s"},
		{number(0.0123), "0.0123"},
		{number(0), "0"},
		{ratio(3, 2), "1.50x"},
		{ratio(1, 0), ""},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestBetween(t *testing.T) {
	page := "head\n" + beginMarker + "old\n" + endMarker + "tail\n"
	next, err := between(page, "new\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := "head\n" + beginMarker + "\nnew\n\n" + endMarker + "tail\n"; next != want {
		t.Errorf("got %q", next)
	}
	if again, err := between(next, "new"); err != nil || again != next {
		t.Errorf("again: %q, %v", again, err)
	}
	if _, err := between("page", "new"); err == nil {
		t.Error("no error without markers")
	}
}
