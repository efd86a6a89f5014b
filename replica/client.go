package replica

import (
	"context"
	"io"

	"github.com/superfly/ltx"
)

// Client stores the LTX files of one database. Its methods are a subset of the
// methods of upstream Litestream's clients, over the same types, so that each
// of those clients is a Client without an adapter.
//
// A file is named by (level, minTXID, maxTXID), with levels from 0 to
// SnapshotLevel. The content of a file does not change. A file is only deleted
// as a whole, or replaced as a whole by another encoding of the same
// transactions. A body that is open meanwhile gives the old content, the new
// content or an error, but no mixture.
//
// All methods are safe for concurrent use. Every method returns soon after its
// context is done, with an error that wraps the context's error. A method that
// reads from an io.Reader looks at the context between two reads. A level, an
// offset or a size outside its range is fs.ErrInvalid, and so is a body whose
// LTX header has other TXIDs than the name of the file.
//
// A client whose store tells versions of a file apart calls NoteFileVersion for
// the items of its listings, and CheckFileVersion where it reads. A reader then
// notices that a file was replaced.
//
// Errors fall into three classes, which decide what the caller does next:
//
//   - missing: errors.Is(err, fs.ErrNotExist). Only OpenLTXFile returns it.
//   - permanent: errors.Is(err, fs.ErrPermission), fs.ErrInvalid,
//     fs.ErrExist or errors.ErrUnsupported, or an error that implements
//     interface{ Permanent() bool } and returns true. The caller does not
//     retry it.
//   - transient: every other error. The caller retries it until the time limit
//     of its operation.
type Client interface {
	// LTXFiles lists the files of one level with MinTXID >= seek, in
	// ascending order of MinTXID, then MaxTXID. The listing of a level without
	// files, or of a replica that does not exist yet, is empty and no error.
	// Names that are not names of LTX files are left out.
	//
	// Each item has Level, MinTXID, MaxTXID and Size. CreatedAt approximates
	// the timestamp in the file's header, as well as the store can tell
	// without more requests. With useMetadata it is as exact as the store can
	// tell, which may take more requests.
	//
	// The listing includes every file whose write had returned before the
	// call. It may or may not include a file that is written or deleted
	// meanwhile. Items stay valid after Next. A listing is complete or ends in
	// an error, which comes from LTXFiles, from the iterator's Err or from its
	// Close. The caller closes the iterator, and keeps the context valid until
	// then.
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)

	// OpenLTXFile reads size bytes of a file from offset on. A size of 0 reads
	// to the end. If the range goes beyond the end of the file, the body has
	// the bytes up to the end, possibly none.
	//
	// If the file does not exist, OpenLTXFile itself returns fs.ErrNotExist.
	// If the body is cut off, by the context or otherwise, Read returns an
	// error that is not io.EOF. The caller closes the reader, and keeps the
	// context valid until then.
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)

	// WriteLTXFile stores everything up to io.EOF of r, and replaces a file of
	// the same name. It takes the timestamp from the LTX header in r. When
	// WriteLTXFile returns, the file is complete and durable. After an error,
	// which may be one of r, the file is either complete or absent.
	//
	// The returned info has Level, MinTXID, MaxTXID, Size, and the timestamp
	// of the header as CreatedAt.
	WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)

	// DeleteLTXFiles deletes files. It uses Level, MinTXID and MaxTXID of each
	// info. A file that does not exist is not an error. After an error, some
	// of the files may be gone.
	DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error
}

// Initializer is an optional interface of a Client. Init prepares the client
// for use: credentials, connections, look-ups of buckets. The caller calls it
// before any other method, possibly more than once and concurrently. After a
// successful call, further calls do nothing.
type Initializer interface {
	Init(ctx context.Context) error
}

// Identifier is an optional interface of a Client that can tell its replica
// from other replicas. A write buffer records which replica it belongs to.
type Identifier interface {
	// ReplicaIdentity returns a text that names the place of the replica. The
	// text is the same for every client of that place, in every process and
	// with any credentials, and differs from the text of every other place.
	// It contains no secrets, because it is logged and written to disk. An
	// empty text means that the identity is not known. ReplicaIdentity does
	// no I/O.
	ReplicaIdentity() string
}

// LTXFileCreator is an optional interface of a Client whose store can create a
// file on the condition that no file of that name exists.
type LTXFileCreator interface {
	// CreateLTXFile is like WriteLTXFile, but if a file of that name exists,
	// it changes nothing and returns an error that errors.Is(err,
	// fs.ErrExist). Of any number of concurrent calls for one name exactly one
	// succeeds. A client that finds out that its store cannot do this returns
	// errors.ErrUnsupported and stores nothing.
	CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)
}

// LTXFileCopier is an optional interface of a Client whose store can copy a file
// from another replica in the same store, without its bytes passing through the
// program.
type LTXFileCopier interface {
	// CopyLTXFile is like CreateLTXFile with the content of the file of the same
	// name in the replica of from. If that file does not exist, or has another
	// version than the context asks for, the error is fs.ErrNotExist. The copy
	// has the content of one version of the file, which is not checked.
	//
	// If from is a client of another store, or if the store cannot copy from it,
	// CopyLTXFile returns errors.ErrUnsupported and stores nothing. Decorators
	// are clients of another store: the bytes of a copy pass through them.
	CopyLTXFile(ctx context.Context, from Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error)
}

// IndexWriter is an optional interface of a Client that can store the list of its
// files for web servers, which package https reads.
type IndexWriter interface {
	// WriteIndex stores an object named index.json directly below the place of the
	// replica, and replaces an earlier one at once: a reader gets one of both whole.
	WriteIndex(ctx context.Context, index []byte) error
}

// AllLTXFilesLister is an optional interface of a Client whose store can list
// all levels in one pass, for about the cost of listing one level.
type AllLTXFilesLister interface {
	// AllLTXFiles lists the files of every level, in ascending order of
	// level, MinTXID and MaxTXID. Everything else is as for LTXFiles. A client
	// that finds out that its store cannot do this returns
	// errors.ErrUnsupported.
	AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error)
}

// Surveyor is an optional interface of a Client that can tell what lies at the
// place of its replica, even if that is no LTX file. The caller calls it when it
// has found no LTX files, to say in an error what is there instead.
type Surveyor interface {
	// Survey lists the names directly below the place of the replica, or
	// directly below one of its folders. dir is empty or the name of a folder
	// as Survey lists it, with the slash at its end. Any other dir is
	// fs.ErrInvalid. If nothing is there, there are no names, which is no error.
	//
	// Survey makes one request for names, and at the same time at most one for
	// the bytes of Head. A client that finds out that its store cannot list
	// folders returns errors.ErrUnsupported.
	Survey(ctx context.Context, dir string) (Survey, error)
}

// MaxSurveyNames is the greatest number of names in a Survey.
const MaxSurveyNames = 100

// SurveyHeadSize is the greatest number of bytes in Survey.Head.
const SurveyHeadSize = 16

// Survey is what lies at the place of a replica.
type Survey struct {
	// Names are the first names in ascending order, at most MaxSurveyNames,
	// whatever they belong to. The name of a folder ends in a slash.
	Names []string

	// More says that there are more names.
	More bool

	// Head has the first bytes, up to SurveyHeadSize, of the file whose name is
	// the place itself. It is nil if there is no such file, if the client may
	// not read it, and in the survey of a folder.
	Head []byte

	// LevelDir is where the client keeps the files of the highest level, below
	// the place and with a slash at the end: "ltx/9/" or "0009/". Empty: not
	// known.
	LevelDir string
}
