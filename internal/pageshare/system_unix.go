//go:build darwin || linux

package pageshare

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapFile(f *os.File, off int64, n int, write bool) ([]byte, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	return unix.Mmap(int(f.Fd()), off, n, prot, unix.MAP_SHARED)
}

func unmapFile(m []byte) error { return unix.Munmap(m) }

func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func unlockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// Now returns the time since the host started, in nanoseconds, which all
// processes of the host agree on. Time for which the host sleeps does not count.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // it cannot fail
	}
	return ts.Nano()
}
