//go:build cgo

package main

import (
	"errors"

	"github.com/ltxvfs/litestream"
	"github.com/mattn/go-sqlite3" // the driver sqlite3
)

// registerVFS makes a VFS known to SQLite, which is that of mattn/go-sqlite3.
func registerVFS(name string, vfs *litestream.VFS) error {
	return litestream.RegisterVFS(name, vfs)
}

// isRefused reports whether the database cannot be written to now.
func isRefused(err error) bool {
	var failed sqlite3.Error
	return errors.As(err, &failed) && (failed.Code == sqlite3.ErrBusy || failed.Code == sqlite3.ErrReadonly)
}
