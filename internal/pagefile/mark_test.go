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
