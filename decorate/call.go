// Package decorate wraps a replica.Client to record the calls that are made to
// it ([Trace]), to make it as slow as a distant store ([LatencyClient]) and to
// make it fail ([Fault]). It is meant for tests and benchmarks.
//
// Decorators nest in any order. Each of them implements every optional interface
// but replica.LTXFileCopier, so that the bytes of copies pass through them. If the
// inner client lacks one, Init does nothing, and the other methods return an error
// that wraps errors.ErrUnsupported. Such a call is not traced, delayed or counted.
//
// All decorators use the clock and the timers of package time, so they run in
// virtual time within a testing/synctest bubble.
package decorate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// Op names a method of a replica.Client or of one of its optional interfaces.
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
	OpSurvey  Op = "survey"   // Survey
)

// Call describes a call of a method. Fields that are not among the arguments of
// the method are zero.
type Call struct {
	Op    Op
	Level int // of a list, read, write or create

	MinTXID, MaxTXID ltx.TXID // of a read, write or create

	Seek        ltx.TXID // of a list
	UseMetadata bool     // of a list or list-all

	Offset int64 // of a read, in bytes
	Size   int64 // of a read, in bytes; 0 reads to the end

	Dir string // of a survey

	// Files are copies of the infos of the files to delete, with Level, MinTXID
	// and MaxTXID only.
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

// Ops returns a predicate for [Rule] that matches the calls of the given
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

// decorator is the common part of the decorators.
type decorator struct {
	inner replica.Client
}

// Unwrap returns the inner client.
func (d decorator) Unwrap() replica.Client { return d.inner }

// ReplicaIdentity implements replica.Identifier. It returns the identity of the
// inner client.
func (d decorator) ReplicaIdentity() string {
	if inner, ok := d.inner.(replica.Identifier); ok {
		return inner.ReplicaIdentity()
	}
	return ""
}

// supports tells whether the innermost client has the optional interface that
// op belongs to. The method set of a decorator has all of them.
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
	case OpSurvey:
		_, ok = d.inner.(replica.Surveyor)
	}
	return ok
}

// unsupported returns the error for an operation that the innermost client does
// not support.
func unsupported(op Op) error { return fmt.Errorf("%s ltx files: %w", op, errors.ErrUnsupported) }

// These functions call a method of an optional interface, after supports has
// returned true.

func (d decorator) init(ctx context.Context) error {
	return d.inner.(replica.Initializer).Init(ctx)
}

func (d decorator) listAll(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return d.inner.(replica.AllLTXFilesLister).AllLTXFiles(ctx, useMetadata)
}

func (d decorator) survey(ctx context.Context, dir string) (replica.Survey, error) {
	return d.inner.(replica.Surveyor).Survey(ctx, dir)
}

// put calls WriteLTXFile or CreateLTXFile, depending on op.
func (d decorator) put(ctx context.Context, op Op, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if op == OpCreate {
		return d.inner.(replica.LTXFileCreator).CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	}
	return d.inner.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}
