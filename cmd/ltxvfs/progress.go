package main

import (
	"fmt"
	"io"
	"time"

	"github.com/ltxvfs/litestream/maintain"
)

// The time between two lines of progress, on a terminal where the line is written
// over, and elsewhere.
const (
	onTerminal = 100 * time.Millisecond
	elsewhere  = 10 * time.Second
)

// meter shows how far an operation is: its share, its speed, and the time left. It
// is used by one goroutine at a time.
type meter struct {
	w         io.Writer
	operation string
	every     time.Duration
	terminal  bool
	start     time.Time
	last      time.Time // when a line was written last
	written   bool
	ended     bool
}

// meter returns a function for Requests.Progress, and one that ends the line. Both
// do nothing if there is no progress to be shown.
func (a *app) meter(operation string) (tell func(maintain.Progress), end func()) {
	if a.quiet {
		return nil, func() {}
	}
	m := &meter{w: a.errors, operation: operation, every: elsewhere, start: time.Now()}
	if s, ok := a.errors.(*screen); ok {
		m.w, m.every, m.terminal = s.w, onTerminal, true
	}
	m.last = m.start
	return m.tell, m.end
}

func (m *meter) tell(p maintain.Progress) {
	now := time.Now()
	if m.ended || now.Sub(m.last) < m.every {
		return
	}
	m.last, m.written = now, true
	line := formatProgress(m.operation, p, now.Sub(m.start))
	if m.terminal {
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(m.w, line)
	}
}

// end removes the line from a terminal. No line is written after it.
func (m *meter) end() {
	if m.terminal && m.written && !m.ended {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
	m.ended = true
}

// formatProgress formats one line.
func formatProgress(operation string, p maintain.Progress, took time.Duration) string {
	line := fmt.Sprintf("%s: %s of %s", operation, formatBytes(p.Bytes), formatBytes(p.AllBytes))
	if p.AllBytes > 0 {
		line += fmt.Sprintf(" (%d%%)", 100*p.Bytes/p.AllBytes)
	}
	if p.AllFiles > 1 {
		line += fmt.Sprintf(", %d of %d files", p.Files, p.AllFiles)
	}
	if took < time.Second || p.Bytes == 0 {
		return line
	}
	speed := float64(p.Bytes) / took.Seconds()
	line += fmt.Sprintf(", %s/s", formatBytes(int64(speed)))
	if left := p.AllBytes - p.Bytes; left > 0 {
		line += fmt.Sprintf(", %s left", (time.Duration(float64(left) / speed * float64(time.Second))).Round(time.Second))
	}
	return line
}
