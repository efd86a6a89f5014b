package ownfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// CreateTemp creates an empty file in the folder for temporary files. It is gone once
// it is closed or the process has ended, however that ends.
//
// Files that package os opens cannot be removed before they are closed on this system.
// The system deletes this one, as it does those of SQLite, and lets Remove do it
// earlier.
func CreateTemp() (*os.File, error) {
	for attempt := 1; ; attempt++ {
		name := filepath.Join(os.TempDir(), fmt.Sprintf("litestream-%d.tmp", rand.Uint64()))
		path, err := windows.UTF16PtrFromString(name)
		if err != nil {
			return nil, &fs.PathError{Op: "create", Path: name, Err: err}
		}
		h, err := windows.CreateFile(path, windows.GENERIC_READ|windows.GENERIC_WRITE|windows.DELETE,
			windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.CREATE_NEW,
			windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE, 0)
		if err == nil {
			return os.NewFile(uintptr(h), name), nil
		}
		if !errors.Is(err, fs.ErrExist) || attempt == maxTempNames {
			return nil, &fs.PathError{Op: "create", Path: name, Err: err}
		}
	}
}

// maxTempNames bounds the number of names that CreateTemp tries.
const maxTempNames = 10_000
