package sim

import (
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

// event is a line of a trace.
type event struct {
	at   time.Duration // since the start
	text string
}

// NewTrace returns a trace that begins now.
func NewTrace() *Trace { return &Trace{start: time.Now()} }

// Add appends a line.
func (t *Trace) Add(format string, args ...any) {
	e := event{time.Since(t.start), fmt.Sprintf(format, args...)}
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
	events := t.lines()
	slices.SortStableFunc(events, func(a, b event) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return strings.Compare(a.text, b.text)
	})
	return text(events)
}

func (t *Trace) lines() []event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.mu.events)
}

func text(events []event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%14.6f %s\n", e.at.Seconds(), e.text)
	}
	return b.String()
}
