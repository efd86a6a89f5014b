//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/sqlfunc"
	"github.com/mattn/go-sqlite3"
)

// RegisterFunctions gives a connection the SQL functions litestream_txid(),
// litestream_time(), litestream_lag(), litestream_status(), litestream_history(),
// litestream_hydration_progress(), litestream_hydration_status(),
// litestream_hydration_file(), litestream_sync() and litestream_write_enabled(),
// which return the same as the PRAGMAs of these names. litestream_set_time(x),
// litestream_set_txid(x) and litestream_set_write_enabled(x) set what these PRAGMAs
// set, and litestream_wait(txid, seconds) waits as the PRAGMA litestream_wait does.
// All of them concern the connection's main database. Unlike errors of a PRAGMA,
// their errors have a text.
//
// litestream_sync(), litestream_wait() and the setters cannot be called from views,
// triggers and other parts of a schema.
//
// RegisterFunctions is meant for the ConnectHook of a sqlite3.SQLiteDriver, for
// databases that psanford/sqlite3vfs serves. Connections to a VFS of RegisterVFS have
// the functions without it, and then it does nothing. They also have the table-valued
// function litestream_changes, which needs more from a VFS than sqlite3vfs passes on.
func RegisterFunctions(conn *sqlite3.SQLiteConn) error {
	if hasFunctions(conn) {
		return nil
	}
	for _, name := range []string{"txid", "time", "status", "history", "hydration_status", "hydration_file"} {
		name = "litestream_" + name
		if err := conn.RegisterFunc(name, func() (any, error) { return queryPragma(conn, name) }, false); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
	}
	for _, name := range []string{"litestream_lag", "litestream_write_enabled"} {
		if err := conn.RegisterFunc(name, func() (any, error) {
			s, err := queryPragma(conn, name)
			if err != nil {
				return nil, err
			}
			return strconv.ParseInt(s, 10, 64)
		}, false); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
	}
	if err := conn.RegisterFunc("litestream_hydration_progress", func() (any, error) {
		s, err := queryPragma(conn, "litestream_hydration_progress")
		if err != nil {
			return nil, err
		}
		return strconv.ParseFloat(s, 64)
	}, false); err != nil {
		return fmt.Errorf("register litestream_hydration_progress: %w", err)
	}
	return registerSetters(conn)
}

// hasFunctions reports whether a connection has the functions of RegisterVFS.
func hasFunctions(conn *sqlite3.SQLiteConn) bool {
	rows, err := conn.Query("SELECT litestream_set_txid(NULL)", nil)
	return err == nil && rows.Close() == nil
}

// registerSetters registers the functions that set something or upload. They must
// not run when a program reads a view of a schema that it does not trust.
func registerSetters(conn *sqlite3.SQLiteConn) error {
	err := sqlfunc.RegisterDirectOnly(conn, "litestream_sync", 0, func([]*string) (*string, error) {
		s, err := queryPragma(conn, "litestream_sync")
		return &s, err
	})
	if err != nil {
		return fmt.Errorf("register litestream_sync: %w", err)
	}
	for _, name := range []string{"time", "txid", "write_enabled"} {
		err := sqlfunc.RegisterDirectOnly(conn, "litestream_set_"+name, 1, func(args []*string) (*string, error) {
			if args[0] == nil {
				return nil, nil // NULL of NULL
			}
			if err := execPragma(conn, "litestream_"+name, *args[0]); err != nil {
				return nil, err
			}
			s, err := queryPragma(conn, "litestream_"+name)
			return &s, err
		})
		if err != nil {
			return fmt.Errorf("register litestream_set_%s: %w", name, err)
		}
	}
	for _, nargs := range []int{1, 2} {
		err := sqlfunc.RegisterDirectOnly(conn, "litestream_wait", nargs, func(args []*string) (*string, error) {
			var words []string
			for _, arg := range args {
				if arg == nil {
					return nil, nil // NULL of NULL
				}
				words = append(words, *arg)
			}
			if err := execPragma(conn, "litestream_wait", strings.Join(words, " ")); err != nil {
				return nil, err
			}
			s, err := queryPragma(conn, "litestream_wait")
			return &s, err
		})
		if err != nil {
			return fmt.Errorf("register litestream_wait: %w", err)
		}
	}
	return nil
}

// queryPragma runs a PRAGMA on the main database from within a statement.
func queryPragma(conn *sqlite3.SQLiteConn, name string) (string, error) {
	rows, err := conn.Query("PRAGMA main."+name, nil)
	if err != nil {
		return "", errorOfPragma(conn, name, err)
	}
	defer rows.Close()
	dest := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(dest); err == io.EOF || err == nil && len(dest) == 0 {
		return "", errors.New("the main database is not served by litestream")
	} else if err != nil {
		return "", errorOfPragma(conn, name, err)
	}
	switch s := dest[0].(type) {
	case string:
		return s, nil
	case []byte:
		return string(s), nil
	default:
		return fmt.Sprint(s), nil
	}
}

func execPragma(conn *sqlite3.SQLiteConn, name, value string) error {
	quoted := "'" + strings.ReplaceAll(value, "'", "''") + "'"
	if _, err := conn.Exec("PRAGMA main."+name+" = "+quoted, nil); err != nil {
		return errorOfPragma(conn, name, err)
	}
	return nil
}

// errorOfPragma returns the error of a PRAGMA with its text. SQLite knows only the
// code.
func errorOfPragma(conn *sqlite3.SQLiteConn, name string, err error) error {
	if name == "litestream_status" {
		return err
	}
	s, serr := queryPragma(conn, "litestream_status")
	if serr != nil {
		return err
	}
	var status struct {
		LastError *connError `json:"last_error"`
	}
	if json.Unmarshal([]byte(s), &status) == nil && status.LastError != nil && status.LastError.Op == "pragma "+name {
		return errors.New(status.LastError.Text)
	}
	return err
}
