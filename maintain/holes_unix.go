//go:build linux || darwin || freebsd

package maintain

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// dataAfter returns where the next data of a file is from an offset on, below size.
// Both are size if there is none. File systems that know no holes say that all of the
// file is data.
func dataAfter(f *os.File, offset, size int64) (start, end int64, err error) {
	start, err = f.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return offset, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return min(start, size), min(end, size), err
}
