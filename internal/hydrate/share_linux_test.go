package hydrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/pageshare"
	"golang.org/x/sys/unix"
)

// mountFUSE mounts a file system of a kind that may be on a network. Nothing answers its
// requests, and the kernel says of what kind it is without one, because its owner is
// another user.
func mountFUSE(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err) // it takes root
	}
	defer f.Close()
	if err := unix.Mount("fuse", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=12345,group_id=12345", f.Fd())); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A file on a network file system is not shared, because its locks may be of one host
// only.
func TestCanShare_Network(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "local.db")
	if err := canShare(path); err != nil {
		t.Errorf("on a disk: %v", err)
	}
	mountFUSE(t, dir)
	if err := canShare(path); !errors.Is(err, pageshare.ErrNotShared) {
		t.Errorf("on a network: %v", err)
	}
}
