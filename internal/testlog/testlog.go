// Package testlog provides loggers that write to the output of a test, and a
// buffer to read what was logged.
package testlog

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// output writes to the output of a test until the test ends. A VFS whose Close
// had little time may log a little later, when testing.T must not be used any
// more.
type output struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu; nil once the test has ended
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(p), nil
	}
	return o.w.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = nil
}

// New returns a logger of level DEBUG that writes to the output of the test,
// and to w unless w is nil.
func New(t testing.TB, w io.Writer) *slog.Logger {
	testOutput := &output{w: t.Output()}
	t.Cleanup(testOutput.end)
	out := io.Writer(testOutput)
	if w != nil {
		out = io.MultiWriter(out, w)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Buffer is a strings.Builder that is safe for concurrent use.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns the bytes written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
