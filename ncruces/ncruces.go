// Package ncruces gives github.com/ncruces/go-sqlite3 the databases of a
// litestream.VFS. That driver is SQLite compiled to Go. It needs no cgo, so it
// builds static binaries, and binaries for every platform that Go has.
//
//	vfs := litestream.NewVFS(client)
//	err := ncruces.RegisterVFS("litestream", vfs)
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=litestream")
//
// Import github.com/ncruces/go-sqlite3/driver for database/sql. Build the program with
// CGO_ENABLED=0. With cgo the library brings mattn/go-sqlite3, which registers the
// name sqlite3 as well, and the program would panic when it starts. If it needs cgo,
// it gives the driver another name:
//
//	go build -ldflags=-X=github.com/ncruces/go-sqlite3/driver.driverName=ncruces
//
// Each connection whose main database is opened with a registered VFS has the SQL
// functions of the library, such as litestream_txid(). RegisterFunctions gives them
// to other connections.
//
// # Errors
//
// Errors of files, which are those with the codes CANTOPEN and IOERR, contain the
// text of the library and wrap its error:
//
//	errors.Is(err, litestream.ErrNoDatabase)
//
// The driver has no place for the text of other codes, such as READONLY and
// CORRUPT. It is in the log and in litestream_status. Errors of PRAGMAs and of SQL
// functions always have their text.
//
// # Contexts
//
// A statement that waits for storage ends when its context does, at most some 20
// ms later. The first open of a database does not: the driver tells a VFS of the
// context only once the file is open. OpenTimeout bounds the open.
//
// # Commits
//
// A transaction over several databases is atomic for each of them. In addition,
// every replica that takes part writes its changes to its write buffer before
// SQLite commits the first one. If that fails for one of them, SQLite rolls all of
// them back. A replica cannot be the main database of a transaction that changes a
// local file as well: the transaction fails and is rolled back.
//
// # Other files
//
// Names that have no replica are local files. The driver's own VFS serves them,
// with its locks and its WAL mode. Temporary files are the driver's own, too.
// Rollback journals of replicas are in memory, and spill to a file without a name.
//
// # Limits
//
// A PRAGMA with an empty text as value only asks for the value, since the
// driver does not tell the two apart. One that sets something returns a row with an
// empty text. The driver has no shared cache.
package ncruces

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ltxvfs/litestream"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// registering makes the look for a name and its registration one step.
var registering sync.Mutex

// extendConnections gives connections with a registered VFS the SQL functions.
var extendConnections = sync.OnceFunc(func() { sqlite3.AutoExtension(connected) })

// RegisterVFS makes a VFS known to SQLite by a name. If another VFS has the name, that
// is an error, unless it was closed. RegisterVFS is safe for concurrent use, also
// while other VFSs are in use.
//
// Close of the VFS does not remove the name. A program that registers many of them
// calls vfs.Unregister of the driver once all connections are closed.
func RegisterVFS(name string, v *litestream.VFS) error {
	if v == nil {
		return errors.New("register vfs: it is nil")
	}
	registering.Lock()
	defer registering.Unlock()
	current := vfs.Find(name) // "" and "os" are the driver's own
	if b, ok := current.(*binding); ok && b.vfs == v {
		return nil
	} else if current != nil && (!ok || !b.vfs.IsClosed()) {
		return fmt.Errorf("register vfs: the name %q is taken", name)
	}
	extendConnections()
	b := newBinding(v)
	addBinding(b)
	vfs.Register(name, b)
	return nil
}
