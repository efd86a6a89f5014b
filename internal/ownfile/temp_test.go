package ownfile_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// Nothing is left of a temporary file that was closed, whether or not it was removed
// before. Other files have other names.
func TestCreateTemp(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	for _, removes := range []bool{false, true} {
		a, err := ownfile.CreateTemp()
		if err != nil {
			t.Fatal(err)
		}
		b, err := ownfile.CreateTemp()
		if err != nil {
			t.Fatal(err)
		}
		if a.Name() == b.Name() {
			t.Errorf("both files are %s", a.Name())
		}
		if removes {
			if err := ownfile.Remove(a, a.Name()); err != nil {
				t.Error(err)
			}
		}
		if _, err := a.WriteAt([]byte("text"), 3); err != nil {
			t.Error(err)
		}
		p := make([]byte, 4)
		if _, err := a.ReadAt(p, 3); err != nil || string(p) != "text" {
			t.Errorf("%q is read, %v", p, err)
		}
		if err := errors.Join(a.Truncate(3), a.Sync(), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		for _, f := range []*os.File{a, b} {
			if _, err := os.Lstat(f.Name()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("removed %v: %s is left: %v", removes, f.Name(), err)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
