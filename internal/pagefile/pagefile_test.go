package pagefile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/internal/pagefile"
)

func TestFile(t *testing.T) {
	f, err := pagefile.Open(filepath.Join(t.TempDir(), "pages"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4096)
	if err := f.ReadAt(p, 0); err == nil {
		t.Error("an empty file can be read")
	}
	const far = 200 << 20 // offset in another segment
	if err := f.Grow(far + 8192); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{7}, 4096)
	for _, off := range []int64{0, 4096, far, 64<<20 - 4096, 64 << 20} {
		if err := f.WriteAt(want, off); err != nil {
			t.Fatal(err)
		}
		if err := f.ReadAt(p, off); err != nil || !bytes.Equal(p, want) {
			t.Errorf("at %d: error %v", off, err)
		}
	}
	if err := f.ReadAt(p, 8192); err != nil || !bytes.Equal(p, make([]byte, 4096)) {
		t.Errorf("what was not written: error %v", err)
	}
	if err := f.Grow(100); err != nil || f.Size() != far+8192 {
		t.Errorf("size is %d, error %v", f.Size(), err)
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if err := f.ReadAt(p, -1); err == nil {
		t.Error("read before the file")
	}
}

// The file is truncated while it is mapped.
func TestFile_Truncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	f, err := pagefile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Grow(1 << 20); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	if err := f.ReadAt(p, 512<<10); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if err := f.ReadAt(p, 512<<10); err == nil {
		t.Error("read what was cut off")
	}
	if err := f.ReadAt(p, 0); err != nil {
		t.Errorf("what is left: %v", err)
	}
}

func TestFile_Lock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	f, err := pagefile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pagefile.Open(path, nil); !errors.Is(err, pagefile.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := pagefile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !again.IsThere() {
		t.Error("the file is not there")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if again.IsThere() {
		t.Error("a removed file is there")
	}
	again.Close()
}

// A child that is forked has the files of its parent. It does not keep the lock of a
// file that the parent closes.
func TestFile_LockOfChild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	f, _, err := pagefile.OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Grow(4096); err != nil {
		t.Fatal(err)
	}
	keep := asChild(t, f.Handle())
	defer keep()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	borrowed, err := pagefile.OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := borrowed.TryLock(); err != nil {
		t.Errorf("the child of the first owner has the lock: %v", err)
	}
	keep = asChild(t, borrowed.Handle())
	defer keep()
	if err := borrowed.Close(); err != nil {
		t.Error(err)
	}
	again, err := pagefile.Open(path, nil)
	if err != nil {
		t.Fatalf("the child of a borrower has the lock: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestFile_NotAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := pagefile.Open(dir, nil); err == nil {
		t.Error("opened a folder")
	}
	if _, err := pagefile.Open(filepath.Join(dir, "none", "pages"), nil); err == nil {
		t.Error("opened a file in a folder that is not there")
	}
}

func TestTemp(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f, err := pagefile.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Path()); err == nil {
		t.Error("a temporary file can be found")
	}
	if err := f.Grow(8192); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	if err := f.ReadAt(p, 4096); err != nil {
		t.Error(err)
	}
	if err := f.Reset(); err != nil || f.Size() != 0 {
		t.Errorf("size is %d, error %v", f.Size(), err)
	}
	if err := f.ReadAt(p, 4096); err == nil {
		t.Error("read from an empty file")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.ReadAt(p, 0); err == nil {
		t.Error("read from a closed file")
	}
	if err := f.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// Reads that run while the file is closed either succeed or fail.
func TestFile_CloseWhileRead(t *testing.T) {
	for range 20 {
		f, err := pagefile.CreateTemp()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Grow(1 << 20); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				p := make([]byte, 4096)
				for f.ReadAt(p, 8192) == nil {
					if !bytes.Equal(p, make([]byte, 4096)) {
						t.Error("read something else")
						return
					}
				}
			})
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// CreateMarked removes what a killed process has left, and neither a file of
// another database nor one that is in use.
func TestCreateMarked_Leftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	create := func() error {
		f, err := pagefile.CreateMarked(path, nil, func() error { return nil })
		if err == nil {
			err = f.Close()
		}
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", strings.Repeat("litestream pages", 4)} {
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := create(); err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
	other, _, err := pagefile.OpenMarked(path+".new", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, size := range []int64{0, int64(pagefile.MarkSize), 4096} {
		if err := other.Grow(size); err != nil {
			t.Fatal(err)
		}
		if err := create(); err == nil || !other.IsThere() {
			t.Errorf("a file in use with %d bytes of pages was removed: %v", size, err)
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := create(); err == nil {
		t.Errorf("a file with pages was removed: %v", err)
	}
	if _, err := os.Stat(path + ".new"); err != nil {
		t.Error(err)
	}
}
