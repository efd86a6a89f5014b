//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pagefile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func mapSegment(f *os.File, off int64, n int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), off, n, syscall.PROT_READ, syscall.MAP_SHARED)
}

func unmap(m []byte) error { return syscall.Munmap(m) }

// lock locks a file until it is closed, be it by the end of the process.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}
