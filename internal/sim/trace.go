package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Trace records what happens in a world. It is safe for concurrent use.
type Trace struct {
	start time.Time
	mu    struct {
		sync.Mutex
		events []event
	}
}

// event is a line of a trace. Most traces are never read, so the text is made when it
// is asked for.
type event struct {
	at     time.Duration // since the start
	format string
	args   []any
}

func (e event) text() string { return fmt.Sprintf(e.format, e.args...) }

// NewTrace returns a trace that begins now.
func NewTrace() *Trace { return &Trace{start: time.Now()} }

// Add appends a line. Nothing may change the arguments later.
func (t *Trace) Add(format string, args ...any) {
	e := event{time.Since(t.start), format, args}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.events = append(t.mu.events, e)
}

// Len returns the number of lines.
func (t *Trace) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mu.events)
}

// String returns the lines in their order.
func (t *Trace) String() string { return text(t.lines()) }

// Sorted returns the lines in the order of their time. Lines of the same time are in
// the order of their text, since the goroutines of one moment have no order.
func (t *Trace) Sorted() string {
	lines := t.lines()
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.text, b.text))
	})
	return text(lines)
}

// line is an event with its text.
type line struct {
	at   time.Duration
	text string
}

func (t *Trace) lines() []line {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]line, len(t.mu.events))
	for i, e := range t.mu.events {
		lines[i] = line{e.at, e.text()}
	}
	return lines
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%14.6f %s\n", l.at.Seconds(), l.text)
	}
	return b.String()
}
