package pagefile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func mapSegment(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) error { return nil }

func maxMapped() int64 { return 0 }

// lockOffset is the high half of the offset of the byte that is locked. Locks of
// Windows keep other handles from reading, so the byte is beyond the end of any file.
const lockOffset = 0x7fffffff

// unlock does nothing, because closing a file unlocks it on this system.
func unlock(*os.File) error { return nil }

// lock locks a file until it is closed.
func lock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{OffsetHigh: lockOffset})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}
