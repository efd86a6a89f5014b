//go:build !cgo || SQLITE3VFS_LOADABLE_EXT

package litestream

import "errors"

// RegisterVFS needs cgo. Without it, it returns an error. Package ncruces has a
// RegisterVFS for a SQLite without cgo.
func RegisterVFS(name string, vfs *VFS) error {
	return errors.New("litestream.RegisterVFS needs mattn/go-sqlite3, and this program was built without cgo: " +
		"build it with CGO_ENABLED=1 and a C compiler, or use ncruces.RegisterVFS with github.com/ncruces/go-sqlite3")
}

// driverState is empty without a built-in driver: without cgo, and in the loadable
// extension, which has its own adapter.
type driverState struct{}
