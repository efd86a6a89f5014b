package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// await returns what fn returns, or the error of the context if that is done
// before. Then fn goes on in the background until the process ends.
func await(ctx context.Context, fn func() (string, error)) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := fn()
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// pipedLines are the lines of a file or a pipe.
type pipedLines struct{ r *bufio.Reader }

func newPipedLines(r io.Reader) *pipedLines { return &pipedLines{bufio.NewReader(r)} }

// read implements lineReader.
func (p *pipedLines) read(ctx context.Context, _ string) (string, error) {
	return await(ctx, func() (string, error) {
		line, err := p.r.ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil // the last line has no end
		}
		return strings.TrimRight(line, "\r\n"), err
	})
}

// terminalLines are the lines that are typed and edited on a terminal. While a line
// is read, the terminal is in raw mode.
type terminalLines struct {
	keys    *keyboard
	fd      int
	history *history
	editor  *term.Terminal
}

// newTerminalLines returns the lines of standard input, which is a terminal.
func (a *app) newTerminalLines() (*terminalLines, error) {
	h, err := openHistory(a.environment)
	if err != nil {
		fmt.Fprintf(a.errors, "ltxvfs: the lines are not kept: %s\n", err)
	}
	screen := os.Stdout
	if !isTerminal(screen) {
		screen = os.Stderr
	}
	return &terminalLines{keys: &keyboard{os.Stdin, screen}, fd: int(os.Stdin.Fd()), history: h}, nil
}

// read implements lineReader.
func (t *terminalLines) read(ctx context.Context, prompt string) (line string, err error) {
	if t.editor == nil {
		t.editor = term.NewTerminal(t.keys, "")
		t.editor.History = t.history
	}
	t.editor.SetPrompt(prompt)
	raw, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", fmt.Errorf("edit lines on the terminal: %w", err)
	}
	if width, height, err := term.GetSize(t.fd); err == nil && width > 0 && height > 0 {
		_ = t.editor.SetSize(width, height) // only the screen would be wrong
	}
	line, err = await(ctx, t.editor.ReadLine)
	err = errors.Join(err, term.Restore(t.fd, raw))
	switch {
	case errors.Is(err, errInterrupted):
		t.editor = nil // it would go on with the line
		fmt.Fprint(t.keys, "^C\n")
	case err != nil:
		fmt.Fprintln(t.keys)
	}
	return line, err
}

// keyboard reads the keys of a terminal in raw mode, and writes to its screen.
type keyboard struct {
	keys   io.Reader
	screen io.Writer
}

// ctrlC is what a terminal in raw mode sends for Ctrl-C.
const ctrlC = 3

// Read implements io.Reader. After Ctrl-C the error is errInterrupted, and keys that
// were typed after it are dropped.
func (k *keyboard) Read(b []byte) (n int, err error) {
	n, err = k.keys.Read(b)
	if i := strings.IndexByte(string(b[:n]), ctrlC); i >= 0 {
		return i, errInterrupted
	}
	return n, err
}

// Write implements io.Writer.
func (k *keyboard) Write(b []byte) (int, error) { return k.screen.Write(b) }
