//go:build darwin || freebsd || linux

package ownfile_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// more adds kinds of files that other systems do not have.
func more(t *testing.T, dir string, paths map[string]string) {
	t.Helper()
	paths["pipe"], paths["socket"] = filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(paths["pipe"], 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", paths["socket"])
	if err != nil {
		delete(paths, "socket") // the path is too long
		return
	}
	t.Cleanup(func() { _ = l.Close() })
}

func TestDevice(t *testing.T) {
	for _, path := range []string{os.DevNull, "/dev/zero"} {
		if _, err := ownfile.Open(path, os.O_RDWR, nil); !errors.Is(err, ownfile.ErrForeign) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestOtherUser makes another user create a file in a directory like /tmp.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "own")
	write(t, path, magic)
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Skip(err)
	}
	if f, err := ownfile.Open(path, os.O_RDWR, ours); err != nil {
		t.Errorf("in a folder of this user: %v", err)
	} else {
		_ = f.Close()
	}
	for _, mode := range []os.FileMode{0o777, 0o755 | os.ModeSticky} {
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		if f, err := ownfile.Open(path, os.O_RDWR, ours); err != nil {
			t.Errorf("in a folder of mode %v: %v", mode, err)
		} else {
			_ = f.Close()
		}
	}
	if err := os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := ownfile.Open(path, os.O_RDWR, ours); !errors.Is(err, ownfile.ErrForeign) {
		t.Errorf("in a folder of everybody: %v", err)
	}
}
