//go:build !(darwin || linux)

package pageshare

import (
	"errors"
	"os"
)

func mapFile(*os.File, int64, int, bool) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }

func lockFile(*os.File) error { return errors.ErrUnsupported }

func unlockFile(*os.File) error { return nil }

// Now returns 0, because files are not shared on this system.
func Now() int64 { return 0 }

func bootID() (id [16]byte, err error) { return id, errors.ErrUnsupported }
