//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one measured value.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// report is what a scenario has measured.
type report struct {
	Title   string   `json:"title"`
	Figures []figure `json:"figures"`

	failures []error // bounds that were not held
}

func (r *report) add(name string, value float64, unit string) {
	r.Figures = append(r.Figures, figure{name, value, unit})
}

func (r *report) time(name string, d time.Duration) { r.add(name, d.Seconds()*1e3, "ms") }

func (r *report) bytes(name string, n float64) { r.add(name, n/(1<<20), "MiB") }

// latencies adds the median, the 99th percentile and the maximum of some times.
func (r *report) latencies(name string, h *histogram) {
	r.time(name+", p50", h.quantile(0.5))
	r.time(name+", p99", h.quantile(0.99))
	r.time(name+", max", h.Max)
}

// atMost adds a value that has a bound.
func (r *report) atMost(name string, value, bound float64, unit string) {
	r.add(name, value, unit)
	if !(value <= bound) {
		r.failures = append(r.failures, fmt.Errorf("%s: %s is %s, the bound is %s", r.Title, name, shown(value, unit), shown(bound, unit)))
	}
}

// results are those of a run.
type results struct {
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Reports []*report `json:"reports"`
}

func newResults(args []string) *results {
	return &results{
		Time:    time.Now().UTC(),
		Machine: fmt.Sprintf("%d cores, %s memory, %s/%s, %s", runtime.NumCPU(), totalMemory(), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		Command: strings.TrimSpace("go run ./load " + strings.Join(args, " ")),
	}
}

func readResults(path string) (*results, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read an earlier run: %w", err)
	}
	r := new(results)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read an earlier run: %s: %w", path, err)
	}
	return r, nil
}

func (r *results) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// find returns the value of a figure.
func (r *results) find(title, name string) (value float64, ok bool) {
	for _, report := range r.Reports {
		if report.Title != title {
			continue
		}
		for _, f := range report.Figures {
			if f.Name == name {
				return f.Value, true
			}
		}
	}
	return 0, false
}

// print prints a table for each report, with those of an earlier run if that is not
// nil.
func (r *results) print(w io.Writer, before *results, markdown bool) {
	const day = "2006-01-02 15:04 MST"
	fmt.Fprintf(w, "%s: `%s`, %s.\n", r.Time.Format(day), r.Command, r.Machine)
	if before != nil {
		fmt.Fprintf(w, "Before that, %s: `%s`, %s.\n", before.Time.Format(day), before.Command, before.Machine)
	}
	for _, report := range r.Reports {
		if markdown {
			fmt.Fprintf(w, "\n### %s\n\n", report.Title)
		} else {
			fmt.Fprintf(w, "\n%s\n", report.Title)
		}
		var out io.Writer = w
		separator := "\t"
		if markdown {
			separator = " | "
		} else {
			out = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		}
		line := func(cells ...string) {
			text := strings.Join(cells, separator)
			if markdown {
				text = "| " + text + " |"
			}
			fmt.Fprintln(out, text)
		}
		if markdown && before != nil {
			line("", "first run", "second run")
			fmt.Fprintln(out, "|---|--:|--:|")
		} else if markdown {
			line("", r.Time.Format(time.DateOnly))
			fmt.Fprintln(out, "|---|--:|")
		}
		for _, f := range report.Figures {
			cells := []string{f.Name, shown(f.Value, f.Unit)}
			if before != nil {
				first := ""
				if v, ok := before.find(report.Title, f.Name); ok {
					first = shown(v, f.Unit)
				}
				cells = []string{f.Name, first, cells[1]}
			}
			line(cells...)
		}
		if t, ok := out.(*tabwriter.Writer); ok {
			_ = t.Flush() // a failed write shows on the terminal
		}
	}
}

// shown returns a value with three digits that count.
func shown(value float64, unit string) string {
	switch {
	case unit == "ms" && math.Abs(value) >= 1e3:
		value, unit = value/1e3, "s"
	case unit == "ms" && math.Abs(value) < 1 && value != 0:
		value, unit = value*1e3, "µs"
	case unit == "MiB" && math.Abs(value) >= 1<<10:
		value, unit = value/(1<<10), "GiB"
	case unit == "MiB" && math.Abs(value) < 1 && value != 0:
		value, unit = value*(1<<10), "KiB"
	}
	digits := 0
	if a := math.Abs(value); value != math.Trunc(value) && a < 100 {
		digits = 1
		if a < 10 {
			digits = 2
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", digits, value, unit))
}
