// Package goldenfile compares what the library writes with the files of
// testdata/formats, which earlier versions wrote. A file there never changes,
// because a file like it may be on somebody's disk. A new version of a format gets
// a new file beside the old one.
package goldenfile

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

var makeNew = flag.Bool("golden.new", false, "write the files of testdata/formats that do not exist")

// Path returns the path of a golden file or folder. It need not exist.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		formats := filepath.Join(dir, "testdata", "formats")
		if _, err := os.Stat(formats); err == nil {
			return filepath.Join(formats, filepath.FromSlash(name))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no folder testdata/formats is found")
		}
		dir = parent
	}
}

// IsWanted reports whether a golden file or folder does not exist, and the flag
// golden.new asks for it.
func IsWanted(t testing.TB, name string) bool {
	t.Helper()
	_, err := os.Stat(Path(t, name))
	return *makeNew && errors.Is(err, fs.ErrNotExist)
}

// Read returns the content of a golden file.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Check expects that the library writes the bytes of a golden file. With the flag
// golden.new it writes a file that does not exist.
func Check(t testing.TB, name string, got []byte) {
	t.Helper()
	path := Path(t, name)
	if IsWanted(t, name) {
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, got, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := Read(t, name)
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: %d bytes are written, the golden file has %d, and byte %d is the first that differs. "+
		"Earlier versions have to read what is written: does the format need a new version, with a golden file of its own?", name, len(got), len(want), at)
}
