// Package decorate wraps a replica.Client to see what is asked of
// it ([Trace]), to make it as slow as a store far away ([LatencyClient]) and to
// make it fail ([Fault]). It is meant for tests and benchmarks.
//
// Decorators nest in any order. Each implements every optional interface: where
// the client within lacks one, Init does nothing and the other methods return
// an error that wraps errors.ErrUnsupported, which is neither traced, delayed
// nor counted.
//
// All of them use the time package's clock and timers, and so run in virtual
// time within a testing/synctest bubble.
package decorate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// Op names a method of a ReplicaClient or of one of its optional interfaces.
type Op string

// The operations, one for each method.
const (
	OpInit    Op = "init"     // Init
	OpList    Op = "list"     // LTXFiles
	OpListAll Op = "list-all" // AllLTXFiles
	OpRead    Op = "read"     // OpenLTXFile
	OpWrite   Op = "write"    // WriteLTXFile
	OpCreate  Op = "create"   // CreateLTXFile
	OpDelete  Op = "delete"   // DeleteLTXFiles
)

// Call says what was asked of a client. Fields that are not among a method's
// arguments are zero.
type Call struct {
	Op    Op
	Level int // of a list, read, write or create

	MinTXID, MaxTXID ltx.TXID // of a read, write or create

	Seek        ltx.TXID // of a list
	UseMetadata bool     // of a list or list-all

	Offset int64 // of a read, in bytes
	Size   int64 // of a read, in bytes; 0 reads to the end

	// Files are those to delete: copies, with Level, MinTXID and MaxTXID only.
	Files []ltx.FileInfo
}

func readCall(level int, minTXID, maxTXID ltx.TXID, offset, size int64) Call {
	return Call{Op: OpRead, Level: level, MinTXID: minTXID, MaxTXID: maxTXID, Offset: offset, Size: size}
}

func writeCall(op Op, level int, minTXID, maxTXID ltx.TXID) Call {
	return Call{Op: op, Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
}

func deleteCall(a []*ltx.FileInfo) Call {
	files := make([]ltx.FileInfo, 0, len(a))
	for _, info := range a {
		if info != nil {
			files = append(files, ltx.FileInfo{Level: info.Level, MinTXID: info.MinTXID, MaxTXID: info.MaxTXID})
		}
	}
	return Call{Op: OpDelete, Files: files}
}

// Ops returns a predicate for [Rule] that is true of calls of the given
// operations.
func Ops(ops ...Op) func(Call) bool {
	return func(c Call) bool {
		for _, op := range ops {
			if c.Op == op {
				return true
			}
		}
		return false
	}
}

// decorator is what the decorators have in common.
type decorator struct {
	inner replica.Client
}

// Unwrap returns the client within.
func (d decorator) Unwrap() replica.Client { return d.inner }

// ReplicaIdentity implements replica.Identifier: it is that of the
// client within.
func (d decorator) ReplicaIdentity() string {
	if inner, ok := d.inner.(replica.Identifier); ok {
		return inner.ReplicaIdentity()
	}
	return ""
}

// supports tells whether the innermost client has the optional interface that
// op belongs to: a decorator's own method set says nothing.
func (d decorator) supports(op Op) bool {
	if inner, ok := d.inner.(interface{ supports(Op) bool }); ok {
		return inner.supports(op)
	}
	ok := true
	switch op {
	case OpInit:
		_, ok = d.inner.(replica.Initializer)
	case OpCreate:
		_, ok = d.inner.(replica.LTXFileCreator)
	case OpListAll:
		_, ok = d.inner.(replica.AllLTXFilesLister)
	}
	return ok
}

// unsupported is the error for an operation that supports denies.
func unsupported(op Op) error { return fmt.Errorf("%s ltx files: %w", op, errors.ErrUnsupported) }

// The following call a method of an optional interface that supports has
// affirmed.

func (d decorator) init(ctx context.Context) error {
	return d.inner.(replica.Initializer).Init(ctx)
}

func (d decorator) listAll(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return d.inner.(replica.AllLTXFilesLister).AllLTXFiles(ctx, useMetadata)
}

// put calls WriteLTXFile or CreateLTXFile, as op says.
func (d decorator) put(ctx context.Context, op Op, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if op == OpCreate {
		return d.inner.(replica.LTXFileCreator).CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	}
	return d.inner.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}
