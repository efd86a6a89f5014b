//go:build !windows

package ownfile

import "os"

// CreateTemp creates an empty file in the folder for temporary files. It is gone once
// it is closed or the process has ended, however that ends.
func CreateTemp() (*os.File, error) {
	f, err := os.CreateTemp("", "litestream-*.tmp")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // Remove can try again before the file is closed
	return f, nil
}
