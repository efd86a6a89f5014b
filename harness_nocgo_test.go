//go:build !cgo

package litestream_test

import (
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/ncruces"
	"github.com/ncruces/go-sqlite3/vfs"
)

// slots are the names under which tests register their VFSs. A name is used again
// when its test has ended, so that tests use the same names with every driver.
var slots [128]struct{}

// These are differences between the drivers.
const (
	psanford      = vfstest.Psanford
	emptyValues   = false // a PRAGMA with an empty value is one without a value
	systemVFS     = "os"  // name of the driver's VFS for files of the operating system
	fullText      = "fts5"
	fullTextNear  = "SELECT title FROM text WHERE text MATCH 'NEAR(body says)' ORDER BY rowid LIMIT 9"
	fullTextPiece = "SELECT title, snippet(text, 1, '<', '>', '...', 5) FROM text WHERE text MATCH '11' ORDER BY rowid"
)

// withoutTempFolder leaves SQLite no folder for temporary files.
func withoutTempFolder(t testing.TB, missing string) (restore func(), ok bool) {
	t.Setenv("SQLITE_TMPDIR", missing)
	return func() {}, true
}

// registerDriver does nothing: the driver is registered with package vfstest.
func registerDriver() {}

// setSlot puts a VFS into a slot.
func setSlot(name string, v *litestream.VFS) {
	vfs.Unregister(name)
	if err := ncruces.RegisterVFS(name, v); err != nil {
		panic(err)
	}
}

// openReplica opens a replica by its URL alone, by a connector.
var openReplica, newConnector = ncruces.Open, ncruces.NewConnector
