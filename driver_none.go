//go:build !cgo || SQLITE3VFS_LOADABLE_EXT

package litestream

// driverState is empty without a built-in driver: without cgo, and in the loadable
// extension, which has its own adapter.
type driverState struct{}
