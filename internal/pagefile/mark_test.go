package pagefile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestMark_Moves makes a file longer by few bytes and by many. Its mark is at its end,
// and what it leaves behind is zero.
func TestMark_Moves(t *testing.T) {
	for _, more := range []int64{1, 8, int64(MarkSize) - 1, int64(MarkSize), int64(MarkSize) + 1, 4096} {
		path := filepath.Join(t.TempDir(), "pages")
		f, _, err := OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want := bytes.Repeat([]byte{7}, 512)
		for size := int64(512); size < 512+4*more; size += more {
			if err := f.Grow(size); err != nil {
				t.Fatal(err)
			}
			if size == 512 {
				if err := f.WriteAt(want, 0); err != nil {
					t.Fatal(err)
				}
			} else {
				want = append(want, make([]byte, more)...)
			}
			b, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(b, append(bytes.Clone(want), f.mark.text[:]...)) {
				t.Fatalf("%d bytes more: the file is not its pages and its mark, %v:\n%x", more, err, b)
			}
			if f.Size() != size || f.MarkAt() != size {
				t.Errorf("%d bytes more: the size is %d, the mark at %d, want %d", more, f.Size(), f.MarkAt(), size)
			}
			if err := f.CheckSize(); err != nil {
				t.Error(err)
			}
		}
		if err := os.Truncate(path, f.Size()+int64(MarkSize)-1); err != nil {
			t.Fatal(err)
		}
		if err := f.CheckSize(); err == nil {
			t.Errorf("%d bytes more: a file without the end of its mark is whole", more)
		}
	}
}

// The mark of a file may lie in two maps.
func TestMark_BetweenMaps(t *testing.T) {
	const segment = 64 << 20
	for _, size := range []int64{segment - int64(MarkSize), segment - int64(MarkSize) + 1, segment - 1, segment, segment + 1} {
		path := filepath.Join(t.TempDir(), "pages")
		f, _, err := OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Grow(size), f.WriteAt([]byte("content"), 4096)); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 7)
		for range 2 {
			if err := f.ReadAt(p, 4096); err != nil || string(p) != "content" {
				t.Errorf("%d bytes: %q, %v", size, p, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that was cut off and has grown again since reads as zeros. The mark at its end
// tells, whether a read uses a map or not.
func TestMark_CutOff(t *testing.T) {
	const segment = 64 << 20
	path := filepath.Join(t.TempDir(), "pages")
	f, _, err := OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = segment + 8192
	if err := errors.Join(f.Grow(size), f.WriteAt([]byte("content"), 4096), f.WriteAt([]byte("content"), segment-3)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 7)
	reads := func() (errs [2]error) {
		for i, off := range []int64{4096, segment - 3} { // the second one is in two maps, so that none is used
			clear(p)
			if errs[i] = f.ReadAt(p, off); errs[i] == nil && string(p) != "content" {
				t.Errorf("at %d: %q", off, p)
			}
		}
		return errs
	}
	if errs := reads(); errs != [2]error{} {
		t.Fatal(errs)
	}
	if err := errors.Join(os.Truncate(path, 2048), os.Truncate(path, size+int64(MarkSize))); err != nil {
		t.Fatal(err)
	}
	for i, err := range reads() {
		if !errors.Is(err, errNoMark) {
			t.Errorf("read %d of a file that was cut off: %v", i, err)
		}
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	for i, err := range reads() {
		if err == nil {
			t.Errorf("read %d of a file that is cut off", i)
		}
	}
}

// A file that has something else at its end than a mark has none.
func TestReadMark_Others(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	for _, size := range []int{0, 1, MarkSize - 1, MarkSize, MarkSize + 1, 4096} {
		if err := os.WriteFile(path, bytes.Repeat([]byte{'l'}, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, ok := IDAt(path); ok || id != (ID{}) {
			t.Errorf("%d bytes have ID %s, %v", size, id, ok)
		}
		if _, err := OpenShared(path); !errors.Is(err, errNoMark) {
			t.Errorf("%d bytes are shared: %v", size, err)
		}
		f, isMarked, err := OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if isMarked || f.Size() != int64(size) || f.MarkAt() != 0 {
			t.Errorf("%d bytes: marked %v, %d bytes of pages, mark at %d", size, isMarked, f.Size(), f.MarkAt())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCreateMarked_Mode replaces a file by one that the same users can read.
func TestCreateMarked_Mode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	old, _, err := OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.Chmod(path, 0o660); err != nil {
		t.Skip(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := CreateMarked(path, old, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	after, err := os.Stat(path)
	if err != nil || after.Mode() != before.Mode() || os.SameFile(before, after) || f.MarkAt() == 0 || f.Path() != path {
		t.Errorf("mode %v, want %v; mark at %d of %s, %v", after.Mode(), before.Mode(), f.MarkAt(), f.Path(), err)
	}
}

// TestOpenMarked_Fails opens what is no file, and one that is in use.
func TestOpenMarked_Fails(t *testing.T) {
	dir := t.TempDir()
	if f, isMarked, err := OpenMarked(dir, nil); err == nil || f != nil || isMarked {
		t.Errorf("a folder: %v, %v, %v", f, isMarked, err)
	}
	path := filepath.Join(dir, "pages")
	f, _, err := OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if again, isMarked, err := OpenMarked(path, nil); !errors.Is(err, ErrLocked) || again != nil || isMarked {
		t.Errorf("a file in use: %v, %v, %v", again, isMarked, err)
	}
	if _, err := OpenShared(path); !errors.Is(err, errNoMark) {
		t.Errorf("a file that has no mark yet: %v", err)
	}
}

// TestCreateMarked_Refused leaves the old file where it is, and nothing else, if that may
// not be replaced.
func TestCreateMarked_Refused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pages")
	old, _, err := OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	wrong := errors.New("wrong")
	if f, err := CreateMarked(path, old, func() error { return wrong }); !errors.Is(err, wrong) || f != nil {
		t.Errorf("%v, %v", f, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 || !old.IsThere() {
		t.Errorf("%d files, the old one is there: %v, %v", len(all), old.IsThere(), err)
	}
}

// A file without a mark is as long as it says.
func TestCheckSize_NoMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	f, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Grow(4096), f.CheckSize()); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(path, 4095); err != nil {
		t.Fatal(err)
	}
	if err := f.CheckSize(); err == nil {
		t.Error("a file that was cut off is whole")
	}
}

// TestMark_Followed reads a file that another one makes longer and empties.
func TestMark_Followed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	owner, _, err := OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	if err := owner.Grow(4096); err != nil {
		t.Fatal(err)
	}
	reader, err := OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	p, want := make([]byte, 4096), bytes.Repeat([]byte{9}, 4096)
	if err := errors.Join(owner.Grow(8192), owner.WriteAt(want, 4096)); err != nil {
		t.Fatal(err)
	}
	for _, markAt := range []int64{0, -1, 8193} {
		if err := reader.ReadShared(p, 0, markAt); !errors.Is(err, errNoMark) {
			t.Errorf("the mark is at %d: %v", markAt, err)
		}
	}
	if err := reader.ReadShared(p, 4096, 8192); err != nil || !bytes.Equal(p, want) || reader.Size() != 8192 {
		t.Errorf("what was added: %v, of %d bytes", err, reader.Size())
	}
	if err := owner.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := reader.ReadShared(p, 0, 8192); err == nil {
		t.Error("read from an empty file")
	}
}
