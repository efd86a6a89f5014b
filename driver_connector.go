//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mattn/go-sqlite3"
)

// Open opens the database of a replica, by a URL such as s3://bucket/path:
//
//	db, err := litestream.Open("s3://bucket/app.db", nil)
//
// It is sql.OpenDB with NewConnector. The store's package must be imported, which
// registers the scheme. Open makes no request: the error of the first query says what
// is wrong with the replica. Closing the sql.DB closes the database, and in write
// mode syncs first. It is safe for concurrent use.
func Open(url string, opts *Options) (*sql.DB, error) {
	c, err := NewConnector(url, opts)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// NewConnector returns a connector for sql.OpenDB that opens the database of a
// replica with mattn/go-sqlite3. Neither sql.Register nor RegisterVFS is needed, and
// connections have the SQL functions. Of opts, nil means the defaults.
//
// Errors of connections say where the replica is and what went wrong, without
// secrets. Both are found by errors.Is and errors.As: the cause, such as
// ErrNoDatabase, ErrReadOnly, ErrConflict or fs.ErrPermission, and the driver's
// sqlite3.Error. The driver connection of sql.Conn.Raw has a method Unwrap that
// returns the *sqlite3.SQLiteConn.
//
// A connector has databases of its own: two connectors for one replica share
// nothing. sql.DB.Close closes it. It is safe for concurrent use.
func NewConnector(url string, opts *Options) (driver.Connector, error) {
	return NewDriverConnector(url, opts, mattnDriver{})
}

// mattnDriver is mattn/go-sqlite3 for NewDriverConnector.
type mattnDriver struct{ sqlite3.SQLiteDriver }

// Open opens a connection by a URI.
func (d mattnDriver) Open(uri string) (driver.Conn, error) { return d.SQLiteDriver.Open(uri) }

// CodeOf returns the extended code of an error, and SQLite's text for its code.
func (mattnDriver) CodeOf(err error) (code Code, text string, ok bool) {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return 0, "", false
	}
	return Code(e.ExtendedCode), e.Code.Error(), true
}

// Register gives a VFS a slot.
func (mattnDriver) Register(vfs *VFS) (name string, unregister func(), err error) {
	slots.Lock()
	defer slots.Unlock()
	if n := len(slots.free); n > 0 {
		slot := slots.free[n-1]
		slots.free = slots.free[:n-1]
		slot.vfs.Store(vfs)
		return slot.name, slot.release, nil
	}
	slot := &vfsSlot{name: fmt.Sprintf("litestream-connector-%d", slots.made)}
	slot.vfs.Store(vfs)
	if err := registerVFS(slot.name, slot.vfs.Load); err != nil {
		return "", nil, err
	}
	slots.made++
	return slot.name, slot.release, nil
}

// vfsSlot is a name of SQLite's that serves one VFS after the other. SQLite has no
// safe way to unregister a VFS, so connectors that are closed leave theirs to the
// next ones.
type vfsSlot struct {
	name string
	vfs  atomic.Pointer[VFS]
}

// slots are the slots of the process. SQLite's list of VFSs is one of the process,
// too.
var slots struct {
	sync.Mutex
	free []*vfsSlot
	made int
}

// release gives the slot to the next connector. What is still open through it fails:
// its VFS is closed.
func (s *vfsSlot) release() {
	slots.Lock()
	defer slots.Unlock()
	slots.free = append(slots.free, s)
}
