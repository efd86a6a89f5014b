package litestream

import (
	"context"

	"github.com/superfly/ltx"

	_ "github.com/ltxvfs/litestream/file" // registers the URL scheme file
	"github.com/ltxvfs/litestream/replica"
)

const (
	// SnapshotLevel is the compaction level that holds snapshots: LTX files
	// with MinTXID 1 that contain a whole database. It is the highest level.
	SnapshotLevel = replica.SnapshotLevel
)

// The contract of a store is in package replica, which stores import instead of
// the engine. These are its types under the names that a program uses.
type (
	// ReplicaClient stores the LTX files of one database. Packages s3, gs, abs,
	// file and memory have implementations, and a client of upstream Litestream
	// is one without an adapter. See [replica.Client] for the contract: which
	// methods it has, what each of them promises, and the classes of errors.
	ReplicaClient = replica.Client

	// Initializer is an optional interface of a ReplicaClient. Init prepares
	// the client for use: credentials, connections, look-ups of buckets. It is
	// called before any other method, possibly more than once and concurrently.
	Initializer = replica.Initializer

	// ReplicaIdentifier is an optional interface of a ReplicaClient that can
	// tell its replica from other replicas. ReplicaIdentity returns a text
	// without secrets that names the place of the replica. A write buffer
	// records which replica it belongs to.
	ReplicaIdentifier = replica.Identifier

	// LTXFileCreator is an optional interface of a ReplicaClient whose store
	// can create a file on the condition that no file of that name exists.
	// It keeps two writers of one replica apart.
	LTXFileCreator = replica.LTXFileCreator

	// LTXFileCopier is an optional interface of a ReplicaClient whose store can
	// copy a file from another replica by itself.
	LTXFileCopier = replica.LTXFileCopier

	// AllLTXFilesLister is an optional interface of a ReplicaClient whose
	// store can list all levels in one pass, for about the cost of listing one
	// level.
	AllLTXFilesLister = replica.AllLTXFilesLister

	// ReplicaSurveyor is an optional interface of a ReplicaClient that can tell
	// what lies at the place of its replica, even if that is no LTX file. An
	// open that finds no database says it in its error, and starts no new
	// database where something else lies.
	ReplicaSurveyor = replica.Surveyor

	// ReplicaClientFactory makes a client from the parts of a replica URL. It
	// does no I/O. The user information may be nil.
	ReplicaClientFactory = replica.Factory
)

// RegisterReplicaClientFactory makes NewReplicaClientFromURL, and with it the
// URI parameter replica_url, understand a URL scheme. A later registration of
// the same scheme replaces an earlier one. It is safe for concurrent use.
func RegisterReplicaClientFactory(scheme string, factory ReplicaClientFactory) {
	replica.Register(scheme, factory)
}

// NewReplicaClientFromURL makes a client from a URL, with the factory that is
// registered for the URL's scheme. The scheme file is always registered:
// file:///absolute/path, or file:relative/path, or file://relative/path. Importing package s3, gs or abs
// registers the scheme of that name.
//
// A URL is an error if a part of it would be ignored: if it is not
// percent-encoded correctly, has a semicolon between parameters or a fragment,
// or has a parameter that the scheme does not know. Errors do not show the URL,
// which may contain a password. It is safe for concurrent use.
func NewReplicaClientFromURL(rawURL string) (ReplicaClient, error) {
	return replica.NewFromURL(rawURL)
}

// NoteFileVersion reports the version of an item of a listing to the reader of
// the listing. See [replica.NoteFileVersion].
func NoteFileVersion(ctx context.Context, info *ltx.FileInfo, version string) {
	replica.NoteFileVersion(ctx, info, version)
}

// FileVersion returns the version of the file that OpenLTXFile has to read, as
// a listing has reported it, or an empty string if it may read any version. See
// [replica.FileVersion].
func FileVersion(ctx context.Context) string { return replica.FileVersion(ctx) }

// CheckFileVersion returns an error that wraps fs.ErrNotExist if the context of
// a read asks for another version than got. See [replica.CheckFileVersion].
func CheckFileVersion(ctx context.Context, got string) error {
	return replica.CheckFileVersion(ctx, got)
}
