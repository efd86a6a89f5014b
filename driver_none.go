//go:build !cgo || SQLITE3VFS_LOADABLE_EXT

package litestream

// driverState is empty where no driver is built in: without cgo, and in the loadable
// extension, which has its own adapter.
type driverState struct{}
