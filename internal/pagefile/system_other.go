//go:build !(darwin || freebsd || linux)

package pagefile

import (
	"errors"
	"os"
)

func mapSegment(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) error { return nil }

func maxMapped() int64 { return 0 }

// lock always fails, because this system cannot prevent others from opening the
// file.
func lock(*os.File) error { return ErrLocked }
