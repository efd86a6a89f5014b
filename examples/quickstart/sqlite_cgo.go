//go:build cgo

package main

import (
	"github.com/ltxvfs/litestream"
	_ "github.com/mattn/go-sqlite3" // the driver sqlite3
)

// registerVFS makes a VFS known to SQLite, which is that of mattn/go-sqlite3.
func registerVFS(name string, vfs *litestream.VFS) error {
	return litestream.RegisterVFS(name, vfs)
}
