//go:build !cgo

package main

import (
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/ncruces"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
)

// driverName is the driver of ncruces/go-sqlite3. Programs that are built without
// cgo use it.
const driverName = "sqlite3"

// registerVFS makes a VFS known to SQLite.
func registerVFS(name string, v *litestream.VFS) error {
	vfs.Unregister(name) // an earlier run may have registered it, in tests
	return ncruces.RegisterVFS(name, v)
}
