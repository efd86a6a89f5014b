package ncruces

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/changetable"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// function is an SQL function of the library.
type function struct {
	name   string // of the function
	pragma string // that it asks or sets
	kind   resultKind
	args   int
	setter bool // it changes something, so it is not for views and triggers
}

// resultKind is the type of a result.
type resultKind int

const (
	textResult resultKind = iota
	integerResult
	realResult
)

var functions = []function{
	{name: "litestream_txid", pragma: "litestream_txid"},
	{name: "litestream_time", pragma: "litestream_time"},
	{name: "litestream_lag", pragma: "litestream_lag", kind: integerResult},
	{name: "litestream_status", pragma: "litestream_status"},
	{name: "litestream_history", pragma: "litestream_history"},
	{name: "litestream_hydration_progress", pragma: "litestream_hydration_progress", kind: realResult},
	{name: "litestream_hydration_status", pragma: "litestream_hydration_status"},
	{name: "litestream_hydration_file", pragma: "litestream_hydration_file"},
	{name: "litestream_write_enabled", pragma: "litestream_write_enabled", kind: integerResult},
	{name: "litestream_sync", pragma: "litestream_sync", setter: true},
	{name: "litestream_wait", pragma: "litestream_wait", args: 1, setter: true},
	{name: "litestream_wait", pragma: "litestream_wait", args: 2, setter: true},
	{name: "litestream_set_time", pragma: "litestream_time", args: 1, setter: true},
	{name: "litestream_set_txid", pragma: "litestream_txid", args: 1, setter: true},
	{name: "litestream_set_write_enabled", pragma: "litestream_write_enabled", args: 1, kind: integerResult, setter: true},
}

// RegisterFunctions gives a connection the SQL functions litestream_txid(),
// litestream_time(), litestream_lag(), litestream_status(), litestream_history(),
// litestream_hydration_progress(), litestream_hydration_status(),
// litestream_hydration_file(), litestream_write_enabled() and litestream_sync(),
// which return the same as the PRAGMAs of these names, litestream_set_time(x),
// litestream_set_txid(x) and litestream_set_write_enabled(x), which set them, and
// litestream_wait(txid, seconds), which waits as the PRAGMA litestream_wait does, and
// the table-valued function litestream_changes(table, from, to), which returns what
// litestream.VFS.Changes does. All of them concern the connection's main database.
//
// litestream_sync(), litestream_wait() and the setters cannot be called from views,
// triggers and other parts of a schema.
//
// Connections whose main database is opened with a VFS of RegisterVFS have the
// functions without it.
func RegisterFunctions(conn *sqlite3.Conn) error {
	main, err := mainFileOf(conn)
	if err != nil {
		return err
	}
	for _, fn := range functions {
		var flags sqlite3.FunctionFlag
		if fn.setter {
			flags = sqlite3.DIRECTONLY
		}
		call := func(ctx sqlite3.Context, args ...sqlite3.Value) { fn.call(main, ctx, args) }
		if err := conn.CreateFunction(fn.name, fn.args, flags, call); err != nil && !errors.Is(err, sqlite3.BUSY) { // busy: it is there, and in use
			return fmt.Errorf("register %s: %w", fn.name, err)
		}
	}
	if err := registerChanges(conn, main); err != nil {
		return fmt.Errorf("register %s: %w", changetable.Name, err)
	}
	return nil
}

// connected is called for each new connection of the process.
func connected(conn *sqlite3.Conn) error {
	v, err := conn.FileControl("main", sqlite3.FCNTL_VFS_POINTER)
	if err != nil {
		return fmt.Errorf("find the VFS of the main database: %w", err)
	}
	if _, ok := v.(*binding); !ok {
		return nil
	}
	return RegisterFunctions(conn)
}

// mainFileOf returns the file of a connection's main database, nil if that is not
// a replica.
func mainFileOf(conn *sqlite3.Conn) (*file, error) {
	f, err := conn.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	if err != nil {
		return nil, fmt.Errorf("find the main database: %w", err)
	}
	main, _ := f.(vfs.File) // there is none for a database in memory
	return mainOf(main), nil
}

var errNotServed = errors.New("the main database is not served by litestream")

// call sets the result of the function, or its error.
func (fn function) call(main *file, ctx sqlite3.Context, args []sqlite3.Value) {
	if main == nil {
		ctx.ResultError(errNotServed)
		return
	}
	if fn.args > 0 {
		words := make([]string, len(args))
		for i, arg := range args {
			if arg.Type() == sqlite3.NULL {
				return // NULL of NULL
			}
			words[i] = arg.Text()
		}
		value := strings.Join(words, " ")
		if _, err := main.conn.Pragma(fn.pragma, &value); err != nil {
			ctx.ResultError(functionError{err})
			return
		}
	}
	result, err := main.conn.Pragma(fn.pragma, nil)
	if err != nil {
		ctx.ResultError(functionError{err})
		return
	}
	switch fn.kind {
	case integerResult:
		n, err := strconv.ParseInt(*result, 10, 64)
		ctx.ResultInt64(n)
		ctx.ResultError(err)
	case realResult:
		x, err := strconv.ParseFloat(*result, 64)
		ctx.ResultFloat(x)
		ctx.ResultError(err)
	default:
		ctx.ResultText(*result)
	}
}

// functionError is an error whose result code the driver finds by errors.As.
type functionError struct{ error }

func (e functionError) Unwrap() error { return e.error }

// As implements the interface of errors.As.
func (e functionError) As(target any) bool {
	code, ok := target.(*sqlite3.ExtendedErrorCode)
	if ok {
		*code = sqlite3.ExtendedErrorCode(litestream.CodeOf(e.error))
	}
	return ok
}
