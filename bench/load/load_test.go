//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	runRole()
	os.Exit(m.Run())
}

// TestScenarios runs each scenario with little load. Answers and what is left after a
// close are checked as in a long run.
func TestScenarios(t *testing.T) {
	small := map[string][]string{
		"mixed": {"-for", "5s", "-latency", "1ms"},
		"many":  {"-databases", "50", "-idle", "2s", "-latency", "1ms"},
		"big":   {"-size", "0.02", "-latency", "1ms"},
		"l0":    {"-files", "200", "-latency", "1ms"},
		"wide":  {"-tables", "300", "-row", "3000000", "-latency", "1ms"},
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			args, ok := small[s.name]
			if !ok {
				t.Fatal("the test does not run this scenario")
			}
			saved := filepath.Join(t.TempDir(), "results.json")
			var out, log bytes.Buffer
			args = append([]string{"-only", "^" + s.name + "$", "-dir", t.TempDir(), "-save", saved}, args...)
			if err := run(t.Context(), args, &out, &log); err != nil {
				t.Fatalf("%v\n%s%s", err, log.String(), out.String())
			}
			before, err := readResults(saved)
			if err != nil {
				t.Fatal(err)
			}
			var both bytes.Buffer
			before.print(&both, before, true)
			for _, r := range before.Reports {
				if len(r.Figures) == 0 || !strings.Contains(out.String(), r.Title) || !strings.Contains(both.String(), "### "+r.Title) {
					t.Errorf("%s has %d figures:\n%s", r.Title, len(r.Figures), both.String())
				}
			}
		})
	}
}

// TestScenarios_Cancelled ends a run early. Its processes end, too.
func TestScenarios_Cancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out, log bytes.Buffer
	start := time.Now()
	err := run(ctx, []string{"-only", "mixed", "-dir", t.TempDir()}, &out, &log)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a run that was cancelled: %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %s to end", took)
	}
}

func TestHistogram(t *testing.T) {
	h := new(histogram)
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	other := new(histogram)
	other.merge(h)
	other.merge(h)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := other.quantile(q); got < want || got > want*105/100 {
			t.Errorf("quantile %v is %s, want %s", q, got, want)
		}
	}
	if other.Count != 2000 || other.Max != time.Second {
		t.Errorf("%d times up to %s", other.Count, other.Max)
	}
}

// TestFlat checks that growth is a failure, and that noise is none.
func TestFlat(t *testing.T) {
	for name, tc := range map[string]struct {
		value func(i int) float64
		fails bool
	}{
		"flat":                 {func(i int) float64 { return 100 + float64(i%10) }, false},
		"grows at first":       {func(i int) float64 { return min(100, float64(i)) }, false},
		"grows all the time":   {func(i int) float64 { return 100 + float64(i) }, true},
		"jumps in the middle":  {func(i int) float64 { return 100 + float64(i/200)*30 }, true},
		"falls":                {func(i int) float64 { return 1000 - float64(i) }, false},
		"a peak in the middle": {func(i int) float64 { return map[bool]float64{true: 1000, false: 100}[i == 210] }, false},
	} {
		var values []float64
		for i := range 400 {
			values = append(values, tc.value(i))
		}
		r := &report{Title: name}
		r.flat("value", values, 5, "")
		if fails := len(r.failures) > 0; fails != tc.fails {
			t.Errorf("%s: failures %v", name, r.failures)
		}
	}
}

func TestShown(t *testing.T) {
	for want, f := range map[string]figure{
		"1.50 s": {Value: 1500, Unit: "ms"}, "250 µs": {Value: 0.25, Unit: "ms"}, "12.3 MiB": {Value: 12.34, Unit: "MiB"},
		"512 KiB": {Value: 0.5, Unit: "MiB"}, "1.50 GiB": {Value: 1536, Unit: "MiB"}, "7": {Value: 7}, "0 MiB": {Unit: "MiB"},
	} {
		if got := shown(f.Value, f.Unit); got != want {
			t.Errorf("%v %s is shown as %s, want %s", f.Value, f.Unit, got, want)
		}
	}
}
