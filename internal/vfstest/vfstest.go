// Package vfstest registers VFSs with the SQLite that tests use, which is that of
// package sqlitetest.
package vfstest

import "database/sql"

// Driver is the name of a driver in database/sql whose connections have the SQL
// functions of the library.
const Driver = "sqlite3-litestream"

// Open opens a database of a VFS by its URI, on connections with the SQL
// functions of the library.
func Open(dsn string) (*sql.DB, error) { return sql.Open(Driver, dsn) }
