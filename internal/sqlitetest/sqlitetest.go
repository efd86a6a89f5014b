// Package sqlitetest is the SQLite that tests use: mattn/go-sqlite3 with cgo,
// ncruces/go-sqlite3 without. Tests open databases with the driver that
// Driver names, and with the URI parameters of mattn/go-sqlite3. Both drivers are
// called "sqlite3" in database/sql, so the package does not import both.
package sqlitetest

import "database/sql"

// Open opens a plain database file, or a database of a VFS by its URI.
func Open(dsn string) (*sql.DB, error) { return sql.Open(Driver, dsn) }
