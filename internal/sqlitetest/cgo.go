//go:build cgo

package sqlitetest

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// Driver is the name of the driver in database/sql.
const Driver = "sqlite3"

// ExtendedCode returns the extended result code of an error of SQLite. The result
// is false for other errors.
func ExtendedCode(err error) (code int, ok bool) {
	var e sqlite3.Error
	ok = errors.As(err, &e)
	return int(e.ExtendedCode), ok
}

// Text returns the text of an error of SQLite.
func Text(err error) string { return err.Error() }

// Close closes a connection of the driver, which database/sql would return to its
// pool.
func Close(conn any) error { return conn.(*sqlite3.SQLiteConn).Close() }

// Backup copies the main database of one connection of the driver to that of
// another by SQLite's backup interface.
func Backup(to, from any) error {
	b, err := to.(*sqlite3.SQLiteConn).Backup("main", from.(*sqlite3.SQLiteConn), "main")
	if err != nil {
		return err
	}
	_, err = b.Step(-1)
	return errors.Join(err, b.Finish())
}

// ReserveBytes reserves bytes at the end of each page of a new database.
func ReserveBytes(conn any, n int) error {
	const reserveBytes = 38 // SQLITE_FCNTL_RESERVE_BYTES
	return conn.(*sqlite3.SQLiteConn).SetFileControlInt("main", reserveBytes, n)
}
