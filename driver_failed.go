//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"github.com/psanford/sqlite3vfs"

	"github.com/ltxvfs/litestream/internal/osvfs"
)

// failedFile represents a file that could not be opened. The comment of OpenURI
// says why it exists.
type failedFile struct {
	err error // why the file could not be opened
}

var _ sqlite3vfs.File = failedFile{}

// OpenError returns why the file could not be opened.
func (f failedFile) OpenError() error { return f.err }

// cannotOpen returns the error of a file that could not be opened.
func cannotOpen() error {
	osvfs.ClearErrno()
	return sqlite3vfs.CantOpenError
}

func (failedFile) ReadAt([]byte, int64) (int, error)  { return 0, cannotOpen() }
func (failedFile) WriteAt([]byte, int64) (int, error) { return 0, cannotOpen() }
func (failedFile) Truncate(int64) error               { return cannotOpen() }
func (failedFile) Sync(sqlite3vfs.SyncType) error     { return cannotOpen() }
func (failedFile) FileSize() (int64, error)           { return 0, cannotOpen() }
func (failedFile) Lock(sqlite3vfs.LockType) error     { return cannotOpen() }
func (failedFile) Unlock(sqlite3vfs.LockType) error   { return nil }
func (failedFile) CheckReservedLock() (bool, error)   { return false, cannotOpen() }
func (failedFile) Close() error                       { return nil }
func (failedFile) SectorSize() int64                  { return 0 }
func (failedFile) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return 0
}
