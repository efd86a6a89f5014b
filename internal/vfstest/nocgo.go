//go:build !cgo

package vfstest

import (
	"database/sql"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/ncruces"
)

// Psanford is set if tests run over psanford/sqlite3vfs, which needs cgo.
const Psanford = false

func init() {
	sql.Register(Driver, sqlitetest.SQLite{})
}

// Register makes a VFS known to SQLite. No other VFS may be in use meanwhile.
func Register(name string, vfs *litestream.VFS) error { return ncruces.RegisterVFS(name, vfs) }
