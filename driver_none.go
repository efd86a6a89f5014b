//go:build !cgo || SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"database/sql"
	"database/sql/driver"
	"errors"
)

// errNoCgo is the error of what needs mattn/go-sqlite3.
var errNoCgo = errors.New("this needs mattn/go-sqlite3, and the program was built without cgo: " +
	"build it with CGO_ENABLED=1 and a C compiler, or use package ncruces with github.com/ncruces/go-sqlite3")

// Open needs cgo. Without it, it returns an error. Package ncruces has an Open for a
// SQLite without cgo.
func Open(url string, opts *Options) (*sql.DB, error) { return nil, errNoCgo }

// NewConnector needs cgo. Without it, it returns an error. Package ncruces has a
// NewConnector for a SQLite without cgo.
func NewConnector(url string, opts *Options) (driver.Connector, error) { return nil, errNoCgo }

// RegisterVFS needs cgo. Without it, it returns an error. Package ncruces has a
// RegisterVFS for a SQLite without cgo.
func RegisterVFS(name string, vfs *VFS) error {
	return errNoCgo
}

// driverState is empty without a built-in driver: without cgo, and in the loadable
// extension, which has its own adapter.
type driverState struct{}
