package litestream

import (
	"errors"

	"github.com/ltxvfs/litestream/internal/errs"
)

// Errors of opening a database.
var (
	// ErrNoDatabase means that the replica holds no LTX files.
	ErrNoDatabase = errs.ErrNoDatabase

	// ErrClosed means that the VFS is closed.
	ErrClosed = errs.ErrClosed

	// ErrSharedCache means that a replica cannot be opened with SQLite's shared
	// cache. Connections that share a cache would travel in time together, and
	// SQLite would use one cache for two replicas with the same file name.
	ErrSharedCache = errors.New("a replica cannot be opened with SQLite's shared cache: say cache=private")

	// ErrBufferInUse means that another process, or another database of this
	// process, uses a write buffer at the same path.
	ErrBufferInUse = errs.ErrBufferInUse

	// ErrForeignBuffer means that the write buffer at the path contains commits
	// of another database. The buffer is left unchanged.
	ErrForeignBuffer = errs.ErrForeignBuffer
)

// Errors of reading. An open can return them, too.
var (
	// ErrCorrupt means that the content of an LTX file is invalid. Errors that
	// wrap it name the file.
	ErrCorrupt = errs.ErrCorrupt
)

// MissingError means that a replica has a gap: none of its files contains
// certain transactions, but it has files with later ones.
type MissingError = errs.MissingError

// Errors of writing.
var (
	// ErrReadOnly means that a connection attempted to write to a database that
	// is open for reading only.
	ErrReadOnly = errs.ErrReadOnly

	// ErrConflict means that another writer has written to the replica. The
	// database becomes read-only. Commits that are not on the replica are kept
	// in files whose path is logged.
	ErrConflict = errs.ErrConflict
)

// Errors of time travel.
var (
	// ErrTxNotAvailable means that the files of the replica do not give the
	// requested state: it is older than the oldest snapshot, lies within a
	// compacted file, or lies in the future.
	ErrTxNotAvailable = errs.ErrTxNotAvailable

	// ErrRolledBack means that the replica has lost transactions that VFS.Tail has
	// followed, or has others in their place. Errors that wrap it wrap ErrConflict as
	// well.
	ErrRolledBack = errs.ErrRolledBack

	// ErrInTransaction means that a connection attempted to travel in time
	// within a transaction.
	ErrInTransaction = errors.New("cannot change the time of a connection within a transaction")
)
