//go:build !(darwin || freebsd || linux || windows)

package pagefile

import (
	"errors"
	"fmt"
	"os"
)

func mapSegment(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) error { return nil }

func maxMapped() int64 { return 0 }

func unlock(*os.File) error { return nil }

// lock always fails, because this package cannot lock files of this system.
func lock(*os.File) error { return fmt.Errorf("lock a file: %w on this system", errors.ErrUnsupported) }
