package ownfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

const magic = "MAGIC"

var ours = ownfile.BeginsWith("OTHER", magic)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

// foreign creates one file of each kind that does not belong to the library. It
// returns their paths and a function that reports whether all of them are
// unchanged.
func foreign(t *testing.T) (paths map[string]string, isUntouched func()) {
	t.Helper()
	dir := t.TempDir()
	paths = make(map[string]string)
	for _, kind := range []string{"content", "shorter", "folder", "link", "link to ours", "dangling link"} {
		paths[kind] = filepath.Join(dir, kind)
	}
	write(t, paths["content"], "something else")
	write(t, paths["shorter"], magic[:3])
	write(t, filepath.Join(dir, "target"), "target")
	write(t, filepath.Join(dir, "ours"), magic+"1")
	for from, to := range map[string]string{"link": "target", "link to ours": "ours", "dangling link": "nothing"} {
		if err := os.Symlink(to, paths[from]); err != nil {
			t.Skip(err)
		}
	}
	if err := os.Mkdir(paths["folder"], 0o750); err != nil {
		t.Fatal(err)
	}
	more(t, dir, paths)
	before := snapshot(t, dir)
	return paths, func() {
		t.Helper()
		if after := snapshot(t, dir); after != before {
			t.Errorf("something was touched:\n%s\nbefore:\n%s", after, before)
		}
	}
}

func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(info.Mode().String() + " " + e.Name() + " " + info.ModTime().String())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			b.Write(content)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestForeign(t *testing.T) {
	paths, isUntouched := foreign(t)
	for kind, path := range paths {
		for op, do := range map[string]func() error{
			"open": func() error {
				_, err := ownfile.Open(path, os.O_RDWR, ours)
				return err
			},
			"open or create": func() error {
				_, _, err := ownfile.OpenOrCreate(path, ours)
				return err
			},
			"replace": func() error { return ownfile.Replace(path, []byte("new"), ours) },
			"replace beside": func() error {
				base, ok := strings.CutSuffix(path, ".tmp")
				if !ok {
					temp := filepath.Join(t.TempDir(), "a.tmp")
					if err := os.Link(path, temp); err != nil {
						return ownfile.ErrForeign // a directory cannot have hard links
					}
					base = strings.TrimSuffix(temp, ".tmp")
				}
				return ownfile.Replace(base, []byte("new"), ours)
			},
			"remove": func() error { return ownfile.RemoveOwn(path, ours) },
		} {
			if err := do(); !errors.Is(err, ownfile.ErrForeign) {
				t.Errorf("%s of %s: %v", op, kind, err)
			} else if op == "open" && !strings.Contains(err.Error(), path) {
				t.Errorf("%s of %s does not say which file: %v", op, kind, err)
			}
		}
		if _, err := ownfile.Create(path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create at %s: %v", kind, err)
		}
		own := filepath.Join(t.TempDir(), "own")
		write(t, own, magic)
		if err := ownfile.Rename(own, path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("rename to %s: %v", kind, err)
		}
	}
	isUntouched()
}

func TestOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	if _, err := ownfile.Open(path, os.O_RDWR, ours); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of nothing: %v", err)
	}
	if err := ownfile.RemoveOwn(path, ours); err != nil {
		t.Errorf("remove of nothing: %v", err)
	}
	f, created, err := ownfile.OpenOrCreate(path, ours)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	_ = f.Close()
	for _, content := range []string{"", magic, magic + "more", "OTHER"} {
		write(t, path, content)
		f, created, err := ownfile.OpenOrCreate(path, ours)
		if err != nil || created {
			t.Fatalf("%q: created %v, %v", content, created, err)
		}
		_ = f.Close()
	}
	for range 2 {
		write(t, path+".tmp", magic+"left")
		if err := ownfile.Replace(path, []byte(magic+"new"), ours); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != magic+"new" {
			t.Errorf("content is %q, %v", b, err)
		}
		if _, err := os.Lstat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the temporary file is left: %v", err)
		}
	}
	if err := ownfile.Rename(path, path+"2"); err != nil {
		t.Error(err)
	}
	if err := ownfile.RemoveOwn(path+"2", ours); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// A file that another process replaces all the time can be opened.
func TestOpen_Replaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	if err := ownfile.Replace(path, []byte(magic), ours); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if err := ownfile.Replace(path, []byte(magic), ours); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3000 {
		f, err := ownfile.Open(path, os.O_RDWR, ours)
		if err != nil {
			t.Error(err)
			break
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestRemove_Replaced puts another file at the path of an open file.
func TestRemove_Replaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	f, err := ownfile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !ownfile.IsAt(f, path) {
		t.Error("a file is not where it was made")
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	write(t, path, "another's")
	if ownfile.IsAt(f, path) {
		t.Error("another file is taken for it")
	}
	if err := ownfile.Remove(f, path); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte("another's")) {
		t.Errorf("the other file has %q, %v", b, err)
	}
	if f.Close(); ownfile.IsAt(f, path+"2") {
		t.Error("a closed file is where it was")
	}
}
