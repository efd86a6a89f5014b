package ownfile

import (
	"errors"
	"io/fs"
	"os"
)

// SyncDir makes the names in a folder survive a loss of power, where the system
// supports that.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
