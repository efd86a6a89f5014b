package litestream

import (
	"errors"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/write"
)

// Code is a result code of SQLite. An adapter of a driver translates it to the
// driver's own type.
type Code int

// Result codes of SQLite that Conn's errors have.
const (
	CodeOK        Code = 0   // SQLITE_OK
	CodeError     Code = 1   // SQLITE_ERROR: a PRAGMA or a function has a wrong value, or is not possible now
	CodeBusy      Code = 5   // SQLITE_BUSY: another connection writes, or has written
	CodeReadOnly  Code = 8   // SQLITE_READONLY: write mode is off, or was lost to another writer
	CodeIOErr     Code = 10  // SQLITE_IOERR: a method panicked
	CodeInterrupt Code = 9   // SQLITE_INTERRUPT: SQLite interrupted the statement
	CodeCorrupt   Code = 11  // SQLITE_CORRUPT: the content of a file is wrong
	CodeNotFound  Code = 12  // SQLITE_NOTFOUND: the PRAGMA is none of ours
	CodeFull      Code = 13  // SQLITE_FULL: the local disk is full
	CodeCantOpen  Code = 14  // SQLITE_CANTOPEN: a file cannot be opened
	CodeRead      Code = 266 // SQLITE_IOERR_READ: everything else
)

// CodeOf returns the result code for an error of a Conn, CodeOK for nil. It is
// the only place where errors become codes.
func CodeOf(err error) Code {
	switch {
	case err == nil:
		return CodeOK
	case errors.Is(err, task.ErrPanic):
		return CodeIOErr
	case errors.Is(err, ErrInterrupted):
		return CodeInterrupt
	case errors.Is(err, write.ErrBusy):
		return CodeBusy
	case errors.Is(err, ErrReadOnly), errors.Is(err, ErrConflict):
		return CodeReadOnly
	case errs.IsDiskFull(err):
		return CodeFull
	case errors.Is(err, ErrCorrupt):
		return CodeCorrupt
	case errors.Is(err, errUnknownPragma):
		return CodeNotFound
	case errors.Is(err, ErrInTransaction), errors.Is(err, ErrTxNotAvailable), errors.Is(err, errInvalidValue), errors.Is(err, errNotAllowed), errors.Is(err, ErrNoTable):
		return CodeError
	default:
		return CodeRead
	}
}

// CodeOfCommit returns the result code for an error of Conn.Commit that SQLite
// gets at SQLITE_FCNTL_COMMIT_PHASETWO: CodeFull or CodeIOErr, since SQLite keeps
// the pages that it has cached after any other error.
func CodeOfCommit(err error) Code {
	switch CodeOf(err) {
	case CodeOK:
		return CodeOK
	case CodeFull:
		return CodeFull
	default:
		return CodeIOErr
	}
}
