// Package testlog has tests log to their own output, and read what was logged.
package testlog

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// New logs at DEBUG to the test, and to w unless it is nil.
func New(t testing.TB, w io.Writer) *slog.Logger {
	out := t.Output()
	if w != nil {
		out = io.MultiWriter(out, w)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Buffer is a strings.Builder for several goroutines.
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

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
