//go:build !cgo

package sqlitetest

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// Driver is the name of the driver in database/sql.
const Driver = "sqlite3-compatible"

func init() { sql.Register(Driver, SQLite{}) }

// SQLite is a driver for database/sql that behaves as mattn/go-sqlite3 does: it
// knows the same URI parameters, and runs several statements at once.
type SQLite struct{}

var _ driver.Driver = SQLite{}

// ExtendedCode returns the extended result code of an error of SQLite. The result
// is false for other errors.
func ExtendedCode(err error) (code int, ok bool) {
	var extended sqlite3.ExtendedErrorCode
	ok = errors.As(err, &extended)
	return int(extended), ok
}

// Text returns the text of an error of SQLite, without what the driver puts before
// it.
func Text(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sqlite3: "), "SQL logic error: ")
}

// Close closes a connection of the driver, which database/sql would return to its
// pool.
func Close(c any) error { return c.(*conn).Close() }

// Backup copies the main database of one connection of the driver to that of
// another by SQLite's backup interface. It opens the first one again.
func Backup(to, from any) error {
	return to.(*conn).raw.Restore("main", from.(*conn).raw.Filename("main").String())
}

// ReserveBytes reserves bytes at the end of each page of a new database.
func ReserveBytes(c any, n int) error {
	_, err := c.(*conn).raw.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, n)
	return err
}
