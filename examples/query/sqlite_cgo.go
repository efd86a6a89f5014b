//go:build cgo

package main

import (
	"github.com/ltxvfs/litestream"
	_ "github.com/mattn/go-sqlite3" // the driver sqlite3
)

// driverName is the driver of mattn/go-sqlite3.
const driverName = "sqlite3"

// registerVFS makes a VFS known to SQLite.
func registerVFS(name string, vfs *litestream.VFS) error {
	return litestream.RegisterVFS(name, vfs)
}
