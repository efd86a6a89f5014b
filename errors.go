package litestream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// Errors of opening and reading.
var (
	// ErrCorrupt is wrapped by errors about the content of LTX files, which
	// name the file.
	ErrCorrupt = ltxio.ErrCorrupt

	// ErrNoDatabase means that the replica holds no LTX files.
	ErrNoDatabase = errors.New("replica holds no database")

	// ErrClosed means that the VFS was closed.
	ErrClosed = errors.New("vfs is closed")

	// ErrConflict means that another writer has written to the replica. The
	// database is read-only from then on; what was committed and is not on the
	// replica is kept in files whose path is logged.
	ErrConflict = errors.New("another writer has written to the replica")

	// ErrBufferInUse means that another process, or another database of this
	// one, has the write buffer at the same path.
	ErrBufferInUse = errors.New("write buffer is in use")

	// ErrForeignBuffer means that a write buffer has commits of another
	// database. It is left as it is.
	ErrForeignBuffer = errors.New("write buffer is another database's")

	// ErrSharedCache means an attempt to open a replica with SQLite's shared cache.
	// Its connections would go to another time together, and it takes
	// replicas with the same file name for one.
	ErrSharedCache = errors.New("a replica cannot be opened with SQLite's shared cache: say cache=private")

	// ErrReadOnly means an attempt to write to a database that is open for
	// reading only.
	ErrReadOnly = errors.New("database is read-only")
)

// Errors of time travel.
var (
	// ErrTxNotAvailable means that the replica's files cannot give the state
	// asked for: it lies before the oldest snapshot, in the middle of a
	// compacted file, or in the future.
	ErrTxNotAvailable = errors.New("transaction not available")

	// ErrInTransaction means an attempt to travel within a transaction.
	ErrInTransaction = errors.New("cannot change the time of a connection within a transaction")
)

// MissingError means that a replica has a gap: it holds transactions beyond
// some that none of its files holds.
type MissingError struct {
	First, Last ltx.TXID // inclusive
}

func (e *MissingError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("replica has a gap: no file holds transaction %s", e.First)
	}
	return fmt.Sprintf("replica has a gap: no file holds transactions %s to %s", e.First, e.Last)
}

// gapError is a MissingError for the transactions from first up to, not including, next.
func gapError(first, next ltx.TXID) error { return &MissingError{First: first, Last: next - 1} }

// isPermanent reports whether it is no use to try again, by the classes
// documented at ReplicaClient.
func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	if errors.As(err, &p) {
		return p.Permanent()
	}
	for _, target := range []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrExist, errors.ErrUnsupported,
		context.Canceled, ErrCorrupt, ErrClosed,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
