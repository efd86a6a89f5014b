//go:build !cgo

package main

import (
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/ncruces"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// driverName is the driver of ncruces/go-sqlite3. Programs that are built without
// cgo use it.
const driverName = "sqlite3"

// registerVFS makes a VFS known to SQLite.
func registerVFS(name string, vfs *litestream.VFS) error {
	return ncruces.RegisterVFS(name, vfs)
}
