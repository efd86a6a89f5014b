//go:build cgo

package main

import (
	"database/sql"

	"github.com/ltxvfs/litestream"
	"github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
)

// driverName is the driver of mattn/go-sqlite3 with the SQL functions of the
// library. SQLite does not return the text of an error of a PRAGMA. The functions
// do.
const driverName = "sqlite3-litestream"

func init() {
	sql.Register(driverName, &sqlite3.SQLiteDriver{ConnectHook: litestream.RegisterFunctions})
}

// registerVFS makes a VFS known to SQLite.
func registerVFS(name string, vfs *litestream.VFS) error {
	return sqlite3vfs.RegisterVFS(name, vfs)
}
