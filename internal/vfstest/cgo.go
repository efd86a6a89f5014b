//go:build cgo

package vfstest

import (
	"database/sql"
	"os"

	"github.com/ltxvfs/litestream"
	"github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
)

// Psanford is set if LITESTREAM_TEST_BINDING=psanford asks for the tests to run over
// psanford/sqlite3vfs. Without it they run over litestream.RegisterVFS.
var Psanford = os.Getenv("LITESTREAM_TEST_BINDING") == "psanford"

func init() {
	driver := &sqlite3.SQLiteDriver{}
	if Psanford {
		driver.ConnectHook = litestream.RegisterFunctions
	}
	sql.Register(Driver, driver)
}

// Register makes a VFS known to SQLite. No other VFS may be in use meanwhile.
func Register(name string, vfs *litestream.VFS) error {
	if Psanford {
		return sqlite3vfs.RegisterVFS(name, vfs)
	}
	return litestream.RegisterVFS(name, vfs)
}
