//go:build !cgo

package main

import (
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/ncruces"
	_ "github.com/ncruces/go-sqlite3/driver" // the driver sqlite3
)

// registerVFS makes a VFS known to SQLite, which is that of ncruces/go-sqlite3:
// programs that are built without cgo use it.
func registerVFS(name string, vfs *litestream.VFS) error {
	return ncruces.RegisterVFS(name, vfs)
}
