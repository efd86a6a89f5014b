package tempfile

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestTempFile makes the same random changes to a temporary file and to a byte
// slice, within memory and beyond.
func TestTempFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SQLITE_TMPDIR", dir)
	rng := rand.New(rand.NewPCG(3, 4))
	for run := range 26 {
		f := new(File)
		var want []byte
		largest := 1 << (10 + run%13) // in bytes
		for range 50 {
			off, size := rng.IntN(largest), 1+rng.IntN(largest/8)
			switch rng.IntN(4) {
			case 0, 1:
				p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, size)
				if n, err := f.WriteAt(p, int64(off)); n != size || err != nil {
					t.Fatalf("write %d bytes at %d: %d, %v", size, off, n, err)
				}
				if end := off + size; end > len(want) {
					want = append(want, make([]byte, end-len(want))...)
				}
				copy(want[min(off, len(want)):], p)
			case 2:
				if err := f.Truncate(int64(off)); err != nil {
					t.Fatalf("truncate to %d: %v", off, err)
				}
				want = append(want[:min(off, len(want))], make([]byte, max(0, off-len(want)))...)
			case 3:
				p := make([]byte, size)
				n, err := f.ReadAt(p, int64(off))
				in := want[min(off, len(want)):min(off+size, len(want))]
				if n != len(in) || !bytes.Equal(p[:n], in) || n < size && err != io.EOF || n == size && err != nil {
					t.Fatalf("read %d bytes at %d of %d: %d, %v", size, off, len(want), n, err)
				}
			}
			if size, err := f.FileSize(); size != int64(len(want)) || err != nil {
				t.Fatalf("size is %d, %v, want %d", size, err, len(want))
			}
			if len(f.mem) > Spill {
				t.Fatalf("%d bytes in memory", len(f.mem))
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Fatalf("files: %v, %v", entries, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTempFile_NoDisk checks that a file keeps its content when the disk has no
// room for more.
func TestTempFile_NoDisk(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	defer func(before func() []string) { Folders = before }(Folders)
	Folders = func() []string { return []string{"", missing} }
	f := new(File)
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1), Spill); err == nil {
		t.Errorf("write beyond memory: %v", err)
	}
	if err := f.Truncate(Spill + 1); err == nil {
		t.Errorf("truncate beyond memory: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		t.Errorf("write before the begin: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Errorf("read before the begin: %v", err)
	}
	if err := f.Truncate(-1); err == nil {
		t.Errorf("truncate to less than nothing: %v", err)
	}
	p := make([]byte, 4)
	if _, err := f.ReadAt(p, 0); err != nil || string(p) != "kept" {
		t.Errorf("read %q, %v", p, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestPromise8_SpareMemory checks that little of the memory of a large write is
// kept.
func TestPromise8_SpareMemory(t *testing.T) {
	for _, size := range []int{4 << 10, 500 << 10, 3 << 20} {
		var f File
		if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
			t.Fatal(err)
		}
		if spare := f.Spare(); len(spare) != 0 || cap(spare) > maxSpare || size <= maxSpare/2 && cap(spare) < size {
			t.Errorf("%d of %d bytes are kept", cap(spare), size)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
