//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

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

// Register registers a VFS under a name that a closed connector has left, if there
// is one: SQLite keeps names for ever.
func (mattnDriver) Register(vfs *VFS) (name string, unregister func(), err error) {
	connectorNames.Lock()
	defer connectorNames.Unlock()
	if n := len(connectorNames.free); n > 0 {
		name = connectorNames.free[n-1]
		connectorNames.free = connectorNames.free[:n-1]
	} else {
		connectorNames.made++
		name = fmt.Sprintf("litestream-connector-%d", connectorNames.made)
	}
	return name, func() { releaseConnectorName(name) }, RegisterVFS(name, vfs)
}

// connectorNames are the names of VFSs of connectors. It is locked before registered.
var connectorNames struct {
	sync.Mutex
	free []string // their VFSs are closed
	made int
}

// releaseConnectorName gives a name to the next connector.
func releaseConnectorName(name string) {
	connectorNames.Lock()
	defer connectorNames.Unlock()
	connectorNames.free = append(connectorNames.free, name)
}
