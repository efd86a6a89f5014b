package litestream

import (
	"context"
	"io"

	"github.com/superfly/ltx"
)

const (
	// SnapshotLevel is the compaction level that holds snapshots, LTX files
	// with MinTXID 1 that hold a whole database. It is the highest level.
	SnapshotLevel = 9

	numLevels = SnapshotLevel + 1
)

// ReplicaClient stores the LTX files of one database. Its methods are a
// subset of those of upstream Litestream's clients, over the same types, so
// that any of them can be used as it is.
//
// A file is named by (level, minTXID, maxTXID), with levels from 0 to
// SnapshotLevel. Files do not change: what is under a name is deleted, or replaced by
// the same transactions encoded again, as a whole. What a body that is open meanwhile
// gives is one or the other or an error.
//
// All methods are safe for concurrent use. Every method returns soon after
// its context is done, between reads of r where it reads one, with an error
// that wraps the context's error. A level, an offset or a size that cannot
// be, and a body whose header has other TXIDs than its name, are fs.ErrInvalid.
//
// A client whose store tells versions of a file apart calls NoteFileVersion for
// the items of its listings, and CheckFileVersion where it reads: so a reader
// notices that a file was replaced.
//
// Errors fall into three classes, which decide what a caller does next:
//
//   - missing: errors.Is(err, fs.ErrNotExist). Only OpenLTXFile returns it.
//   - permanent: errors.Is(err, fs.ErrPermission), fs.ErrInvalid,
//     fs.ErrExist or errors.ErrUnsupported, or an error that implements
//     interface{ Permanent() bool } and returns true. Not retried.
//   - transient: everything else. Retried until the operation's time limit.
type ReplicaClient interface {
	// LTXFiles lists the files of one level with MinTXID >= seek, in
	// ascending order of MinTXID, then MaxTXID. A level without files, and
	// a replica that does not exist yet, give an empty listing and no
	// error. Names that are not LTX files are left out.
	//
	// Each item has Level, MinTXID, MaxTXID and Size. CreatedAt is a hint of
	// the timestamp in the file's header, as cheap as the store has it; with
	// useMetadata it is as good as the store can tell, which may cost more
	// requests.
	//
	// The listing includes every file whose write had returned before the
	// call. Files written or deleted meanwhile may or may not be listed. Items
	// stay valid after Next. A listing is complete or ends in an error, which may come from LTXFiles
	// itself, from the iterator's Err or from its Close. The caller closes
	// the iterator; the context must stay valid until then.
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)

	// OpenLTXFile reads size bytes of a file from offset on; a size of 0
	// reads to the end. A range that goes beyond the end of the file gives
	// the bytes that there are, possibly none.
	//
	// A file that does not exist is fs.ErrNotExist, from OpenLTXFile itself.
	// A body that is cut off, be it by the context, gives an error from Read
	// that is not io.EOF. The caller closes the reader; the context must stay
	// valid until then.
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)

	// WriteLTXFile stores what r gives until io.EOF, replacing a file of the
	// same name. It reads the LTX header from r for the timestamp. The file
	// appears whole, and is durable, when WriteLTXFile returns; after an
	// error, including one from r, it is there whole or not at all.
	//
	// The returned info has Level, MinTXID, MaxTXID, Size, and the timestamp
	// of the header as CreatedAt.
	WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)

	// DeleteLTXFiles deletes files. Of each, Level, MinTXID and MaxTXID are
	// used. A file that does not exist is not an error. After an error, some
	// of the files may be gone.
	DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error
}

// Initializer is an optional interface of a ReplicaClient. Init prepares a
// client for use (credentials, connections, bucket look-ups). It is called
// before any other method, possibly more than once and concurrently; a call
// after a successful one does nothing.
type Initializer interface {
	Init(ctx context.Context) error
}

// ReplicaIdentifier is an optional interface of a ReplicaClient that can tell
// its replica from others. A write buffer notes which replica it is for.
type ReplicaIdentifier interface {
	// ReplicaIdentity returns a text that names the place where the replica
	// is. It is the same for every client of that place, in every process and
	// with any credentials, and another one for any other place. It has no
	// secrets: it is logged and written to disk. Empty means that it is not
	// known. It does no I/O.
	ReplicaIdentity() string
}

// LTXFileCreator is an optional interface of a ReplicaClient whose store can
// create a file only if none of that name exists.
type LTXFileCreator interface {
	// CreateLTXFile is like WriteLTXFile, but when a file of that name
	// exists it changes nothing and returns an error that
	// errors.Is(err, fs.ErrExist). Of any number of concurrent calls for one
	// name exactly one succeeds. A client that turns out to be unable to do
	// that returns errors.ErrUnsupported and stores nothing.
	CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)
}

// AllLTXFilesLister is an optional interface of a ReplicaClient whose store
// can list all levels in one pass, for about the cost of listing one.
type AllLTXFilesLister interface {
	// AllLTXFiles lists the files of every level, in ascending order of
	// level, MinTXID and MaxTXID, under the terms of LTXFiles. A client that
	// turns out to be unable to do that returns errors.ErrUnsupported.
	AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error)
}
