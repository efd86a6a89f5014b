//go:build darwin || freebsd || linux

package pagefile_test

import (
	"os"
	"syscall"
	"testing"
)

// asChild keeps a file open as a forked child does, until the returned function is
// called: a duplicate of a descriptor shares the lock, as the child's does.
func asChild(t *testing.T, f *os.File) (end func()) {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = syscall.Close(fd) }
}
