//go:build !cgo

package ncruces

import (
	dbdriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/ltxvfs/litestream"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
)

func newConnector(url string, opts *litestream.Options) (dbdriver.Connector, error) {
	return litestream.NewDriverConnector(url, opts, connectorDriver{})
}

// connectorDriver is the driver for litestream.NewDriverConnector.
type connectorDriver struct{}

// connectors counts the VFSs of connectors, for their names.
var connectors atomic.Int64

// Open opens a connection by a URI.
func (connectorDriver) Open(uri string) (dbdriver.Conn, error) {
	return new(driver.SQLite).Open(uri)
}

// Register registers a VFS until the connector is closed.
func (connectorDriver) Register(v *litestream.VFS) (name string, unregister func(), err error) {
	name = fmt.Sprintf("litestream-connector-%d", connectors.Add(1))
	if err := RegisterVFS(name, v); err != nil {
		return "", nil, err
	}
	return name, func() { vfs.Unregister(name) }, nil
}

// CodeOf returns the extended code of an error, and SQLite's text for its code.
func (connectorDriver) CodeOf(err error) (code litestream.Code, text string, ok bool) {
	e, ok := errors.AsType[sqlite3.ExtendedErrorCode](err)
	if !ok {
		return 0, "", false
	}
	return litestream.Code(e), strings.TrimPrefix(e.Code().Error(), "sqlite3: "), true
}
