// Package errs defines the errors that callers of the library branch on. The
// root package exports them under the same names and documents them.
package errs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// Errors of opening, reading, writing and time travel.
var (
	ErrCorrupt        = ltxio.ErrCorrupt
	ErrNoDatabase     = errors.New("replica holds no database")
	ErrClosed         = errors.New("vfs is closed")
	ErrConflict       = errors.New("another writer has written to the replica")
	ErrBufferInUse    = errors.New("write buffer is in use")
	ErrForeignBuffer  = errors.New("write buffer is another database's")
	ErrReadOnly       = errors.New("database is read-only")
	ErrTxNotAvailable = errors.New("transaction not available")
)

// ErrRolledBack means that a replica has lost transactions that a program has
// followed it through, or has others in their place. Errors that wrap it wrap
// ErrConflict as well. Its text continues a sentence that says what was rolled back.
var ErrRolledBack error = rolledBackError{}

type rolledBackError struct{}

func (rolledBackError) Error() string { return "was rolled back" }

// Is makes the error one of ErrConflict as well.
func (rolledBackError) Is(target error) bool { return target == ErrConflict }

// Errors of the parts among each other.
var (
	// ErrStateGone means that no file of the replica has a page as a view has it.
	ErrStateGone = errors.New("state is no longer available")

	// ErrOvertaken means that another goroutine has published a view meanwhile.
	ErrOvertaken = errors.New("the view was replaced meanwhile")

	// ErrWriting means that news of the replica have to wait, or mean a conflict.
	ErrWriting = errors.New("there are commits that are not on the replica yet")
)

// MissingError means that a replica has a gap: none of its files contains the
// transactions First to Last, but it has files with later ones.
type MissingError struct {
	First, Last ltx.TXID // inclusive
}

func (e *MissingError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("replica has a gap: no file holds transaction %s", e.First)
	}
	return fmt.Sprintf("replica has a gap: no file holds transactions %s to %s", e.First, e.Last)
}

// Gap returns a MissingError for the transactions from first up to, but not
// including, next.
func Gap(first, next ltx.TXID) error { return &MissingError{First: first, Last: next - 1} }

// IsPermanent reports whether an operation that failed with err would fail
// again if it were repeated. The classes of errors are those that the contract
// of replica clients documents.
func IsPermanent(err error) bool {
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

// IsDiskFull reports whether a local disk has no room for what was to be
// written. There may be room later.
func IsDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IsMissing reports whether err says that a file does not exist.
func IsMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
