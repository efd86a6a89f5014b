package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Lines are kept for the next shell, the newest ones, in a file of the user alone.
func TestHistory(t *testing.T) {
	state := t.TempDir()
	open := func() *history {
		h, err := openHistory(func(name string) string { return map[string]string{"XDG_STATE_HOME": state}[name] })
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	path := filepath.Join(state, "ltxvfs", "history")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("earlier\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, other := open(), open()
	for _, line := range []string{"a", "", " ", " secret", "b", "b"} {
		h.Add(line)
	}
	other.Add("c")
	if h.Len() != 3 || h.At(0) != "b" || h.At(2) != "earlier" {
		t.Errorf("the history has %q", h.lines)
	}
	if h = open(); h.Len() != 4 || h.At(0) != "c" || h.At(1) != "b" || h.At(2) != "a" {
		t.Errorf("the next shell has %q", h.lines)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the file is %v, error %v", fi.Mode(), err)
	}
	var many strings.Builder
	for i := range 2*mostHistory + 1 {
		fmt.Fprintln(&many, i)
	}
	if err := os.WriteFile(path, []byte(many.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	open()
	if h := open(); h.Len() != mostHistory || h.At(0) != fmt.Sprint(2*mostHistory) {
		t.Errorf("%d lines are left of many", h.Len())
	}
}
