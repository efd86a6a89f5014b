//go:build SQLITE3VFS_LOADABLE_EXT

// Package osvfs has no local files here: the loadable extension leaves them to
// SQLite before this library sees them.
package osvfs

import "github.com/psanford/sqlite3vfs"

// Set is an empty set of local files.
type Set struct{}

// NewSet returns an empty set.
func NewSet() *Set { return new(Set) }

// Has reports false.
func (*Set) Has(string) bool { return false }

// Open fails.
func (*Set) Open(string, map[string]string, sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return nil, 0, sqlite3vfs.CantOpenError
}

// Delete fails.
func (*Set) Delete(string, bool) error { return sqlite3vfs.IOError }

// Access reports false.
func (*Set) Access(string, sqlite3vfs.AccessFlag) (bool, error) { return false, nil }

// TempDirectory returns "": SQLite's table of functions for extensions does not have the
// variable.
func TempDirectory() string { return "" }
