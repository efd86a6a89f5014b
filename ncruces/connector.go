package ncruces

import (
	"database/sql"
	"database/sql/driver"

	"github.com/ltxvfs/litestream"
)

// Open opens the database of a replica, by a URL such as s3://bucket/path:
//
//	db, err := ncruces.Open("s3://bucket/app.db", nil)
//
// It is sql.OpenDB with NewConnector. The store's package must be imported, which
// registers the scheme. Open makes no request: the error of the first query says what
// is wrong with the replica. Closing the sql.DB closes the database, and in write
// mode syncs first. It is safe for concurrent use.
func Open(url string, opts *litestream.Options) (*sql.DB, error) {
	c, err := NewConnector(url, opts)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// NewConnector returns a connector for sql.OpenDB that opens the database of a
// replica. RegisterVFS is not needed, and connections have the SQL functions. Of
// opts, nil means the defaults.
//
// Errors of connections say where the replica is and what went wrong, without
// secrets. Both are found by errors.Is and errors.As: the cause, such as
// litestream.ErrNoDatabase, ErrReadOnly, ErrConflict or fs.ErrPermission, and the
// driver's *sqlite3.Error. The context of a query also ends the wait for an open.
//
// Without CGO_ENABLED=0 it returns an error: the database/sql driver of
// ncruces/go-sqlite3 and mattn/go-sqlite3, which the library brings with cgo, have
// the same name.
//
// A connector has databases of its own: two connectors for one replica share
// nothing. sql.DB.Close closes it. It is safe for concurrent use.
func NewConnector(url string, opts *litestream.Options) (driver.Connector, error) {
	return newConnector(url, opts)
}
