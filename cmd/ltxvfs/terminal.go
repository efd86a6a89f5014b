package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf8"
)

// screen is a writer to a terminal that shows control characters as text. Rows, names
// in buckets and the errors of servers can contain any: a terminal would obey them, and
// erase what was printed before, or type something for its user. It is safe for
// concurrent use.
type screen struct {
	w io.Writer

	mu struct {
		sync.Mutex
		held []byte // the beginning of a character that was cut off
	}
}

// onScreen returns a writer to a file: a screen if the file is a terminal, and
// otherwise the file, because other programs get the bytes as they are.
func onScreen(f *os.File) io.Writer {
	if isTerminal(f) {
		return &screen{w: f}
	}
	return f
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := append(s.mu.held, p...)
	s.mu.held = nil
	var b []byte
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(text):
			s.mu.held, text = append(s.mu.held, text...), nil
			continue
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, text[0])
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			quoted := strconv.AppendQuoteRune(nil, r)
			b = append(b, quoted[1:len(quoted)-1]...)
		default:
			b = append(b, text[:size]...)
		}
		text = text[size:]
	}
	if _, err := s.w.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}
