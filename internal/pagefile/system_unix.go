//go:build darwin || freebsd || linux

package pagefile

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"
)

func mapSegment(f *os.File, off int64, n int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), off, n, syscall.PROT_READ, syscall.MAP_SHARED)
}

// maxMapped returns the maximum number of bytes of a file that may be mapped.
// Address space can be scarce, and the Go heap needs a part of it.
func maxMapped() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &limit); err == nil && uint64(limit.Cur) < 1<<46 {
		return int64(limit.Cur / 8)
	}
	if strconv.IntSize == 32 {
		return 256 << 20
	}
	return math.MaxInt64
}

func unmap(m []byte) error { return syscall.Munmap(m) }

// unlock gives up the lock of a file, if it has one.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// lock locks a file until it is closed or the process ends.
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
