package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// markdown formats all results.
func (e *env) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, SQLite %s, upstream Litestream %s. %s a request, %g MB/s a stream; medians of %d.\n\n",
		machine(), sqliteVersion(), upstreamVersion(), e.latency, e.bandwidth/1e6, e.runs)
	e.results.writeRows(&b, e.runs)
	e.results.writeFigures(&b)
	for _, note := range e.results.notes {
		b.WriteString(note + "\n\n")
	}
	e.writeGoals(&b)
	return b.String()
}

func (r *results) writeRows(b *strings.Builder, runs int) {
	if len(r.rows) == 0 {
		return
	}
	b.WriteString("| workload | ours | requests | MB | upstream | requests | MB | plain | upstream / ours | ours / plain |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.rows {
		fmt.Fprintf(b, "| %s ", row.name)
		for _, system := range []string{ours, upstream} {
			s, ok := row.median(system)
			if !ok {
				b.WriteString("| | | ")
				continue
			}
			fmt.Fprintf(b, "| %s | %d | %s ", row.time(system, runs), s.requests, megabytes(s.bytes))
		}
		fmt.Fprintf(b, "| %s ", row.time(plain, runs))
		fmt.Fprintf(b, "| %s | %s |\n",
			ratio(r.time(row.name, upstream), r.time(row.name, ours)), ratio(r.time(row.name, ours), r.time(row.name, plain)))
	}
	b.WriteString("\n")
}

// time formats the median time of a system. It marks a time that is
// extrapolated from a part of the work, and the median of fewer runs than asked
// for.
func (r *row) time(system string, runs int) string {
	s, ok := r.median(system)
	if !ok {
		return ""
	}
	text := duration(s.time)
	if s.share > 0 {
		text = "~" + text + fmt.Sprintf(" (from %g%%)", s.share*100)
	}
	if n := len(r.samples[system]); n < runs {
		text += fmt.Sprintf(" (of %d)", n)
	}
	return text
}

func (r *results) writeFigures(b *strings.Builder) {
	if len(r.figures) == 0 {
		return
	}
	b.WriteString("| figure | unit | ours | upstream | plain |\n|---|---|--:|--:|--:|\n")
	for _, f := range r.figures {
		fmt.Fprintf(b, "| %s | %s ", f.name, f.unit)
		for _, system := range []string{ours, upstream, plain} {
			v, ok := f.median(system)
			text := ""
			if ok {
				text = number(v)
			}
			fmt.Fprintf(b, "| %s ", text)
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n")
}

// duration formats a duration with three digits.
func duration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s >= 0.9995:
		return number(s) + " s"
	case s >= 0.0009995:
		return number(s*1e3) + " ms"
	default:
		return number(s*1e6) + " µs"
	}
}

// number formats a number with three digits, or with its whole integer part if
// that has more.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprintf("%g", v)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 4), v)
}

func megabytes(n int64) string {
	if n == 0 {
		return "0"
	}
	return number(float64(n) / 1e6)
}

func ratio(a, b float64) string {
	if math.IsNaN(a) || math.IsNaN(b) || b == 0 {
		return ""
	}
	return number(a/b) + "x"
}

const (
	beginMarker = "<!-- begin: written by go run -tags vfs . -o README.md -->\n"
	endMarker   = "<!-- end -->\n"
)

// between inserts text between the markers of a page.
func between(page, text string) (string, error) {
	head, rest, ok := strings.Cut(page, beginMarker)
	_, tail, ok2 := strings.Cut(rest, endMarker)
	if !ok || !ok2 {
		return "", fmt.Errorf("no markers %q and %q", strings.TrimSpace(beginMarker), strings.TrimSpace(endMarker))
	}
	return head + beginMarker + "\n" + strings.TrimSpace(text) + "\n\n" + endMarker + tail, nil
}
