//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package pagefile

import (
	"errors"
	"os"
)

func mapSegment(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) error { return nil }

// lock does nothing: here, nobody is kept from opening the file twice.
func lock(*os.File) error { return nil }
