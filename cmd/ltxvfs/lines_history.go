package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// mostHistory is the number of lines that are kept. The file may have twice as many.
const mostHistory = 1000

// history has the lines that were typed, also in earlier shells. Shells that run at
// the same time add to one file. It implements term.History.
type history struct {
	lines []string // the newest is last
	path  string   // of the file; empty: the lines are not kept
}

// openHistory returns the history of the user. It can be used after an error, and
// then keeps nothing.
func openHistory(environment func(string) string) (*history, error) {
	h := &history{}
	dir, err := stateDir(environment)
	if err != nil {
		return h, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return h, err
	}
	path := filepath.Join(dir, "history")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	for line := range strings.Lines(string(b)) {
		h.lines = append(h.lines, strings.TrimRight(line, "\n"))
	}
	if len(h.lines) > 2*mostHistory {
		h.lines = slices.Clone(h.lines[len(h.lines)-mostHistory:])
		if err := replaceFile(path, strings.Join(h.lines, "\n")+"\n"); err != nil {
			return h, err
		}
	}
	h.path = path
	return h, nil
}

// stateDir returns the folder for what outlives the program. On Unix it is that of
// the XDG Base Directory Specification.
func stateDir(environment func(string) string) (string, error) {
	if dir := environment("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ltxvfs"), nil
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		dir, err := os.UserConfigDir()
		return filepath.Join(dir, "ltxvfs"), err
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "ltxvfs"), err
}

// replaceFile writes a file that only the user can read.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "history-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// Add implements term.History. Blank lines, the same line again, and lines that
// begin with a space are left out.
func (h *history) Add(line string) {
	if strings.TrimSpace(line) == "" || line[0] == ' ' || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if h.path == "" {
		return
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		h.path = "" // a terminal in raw mode is no place for the error
		return
	}
	if fi, err := f.Stat(); err == nil && fi.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		_ = f.Chmod(0o600) // it is the user's own file, made by something else
	}
	_, werr := fmt.Fprintln(f, line)
	if errors.Join(werr, f.Close()) != nil {
		h.path = ""
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
