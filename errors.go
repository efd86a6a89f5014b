package litestream

import (
	"errors"

	"github.com/ltxvfs/litestream/internal/errs"
)

// Errors of opening and reading.
var (
	// ErrCorrupt is wrapped by errors about the content of LTX files, which
	// name the file.
	ErrCorrupt = errs.ErrCorrupt

	// ErrNoDatabase means that the replica holds no LTX files.
	ErrNoDatabase = errs.ErrNoDatabase

	// ErrClosed means that the VFS was closed.
	ErrClosed = errs.ErrClosed

	// ErrConflict means that another writer has written to the replica. The
	// database is read-only from then on; what was committed and is not on the
	// replica is kept in files whose path is logged.
	ErrConflict = errs.ErrConflict

	// ErrBufferInUse means that another process, or another database of this
	// one, has the write buffer at the same path.
	ErrBufferInUse = errs.ErrBufferInUse

	// ErrForeignBuffer means that a write buffer has commits of another
	// database. It is left as it is.
	ErrForeignBuffer = errs.ErrForeignBuffer

	// ErrSharedCache means an attempt to open a replica with SQLite's shared cache.
	// Its connections would go to another time together, and it takes
	// replicas with the same file name for one.
	ErrSharedCache = errors.New("a replica cannot be opened with SQLite's shared cache: say cache=private")

	// ErrReadOnly means an attempt to write to a database that is open for
	// reading only.
	ErrReadOnly = errs.ErrReadOnly
)

// Errors of time travel.
var (
	// ErrTxNotAvailable means that the replica's files cannot give the state
	// asked for: it lies before the oldest snapshot, in the middle of a
	// compacted file, or in the future.
	ErrTxNotAvailable = errs.ErrTxNotAvailable

	// ErrInTransaction means an attempt to travel within a transaction.
	ErrInTransaction = errors.New("cannot change the time of a connection within a transaction")
)

// MissingError means that a replica has a gap: it holds transactions beyond
// some that none of its files holds.
type MissingError = errs.MissingError
