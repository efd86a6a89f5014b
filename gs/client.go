// Package gs keeps the LTX files of a replica in Google Cloud Storage.
//
//	client := gs.NewReplicaClient()
//	client.Bucket, client.Path = "bucket", "databases/app.db"
//
// or, once the package is imported, litestream.NewReplicaClientFromURL with
// gs://bucket/databases/app.db. The layout is that of upstream Litestream:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// with a decimal level and two TXIDs of 16 hex digits. The metadata
// litestream-timestamp of an object is the timestamp of its LTX header, and
// comes with listings.
//
// Credentials are Google's application default credentials: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, else the file of gcloud auth
// application-default login, else the metadata server of the machine. They
// are never sent over plain http.
//
// The client implements the optional interfaces of package replica, except
// LTXFileCopier and IndexWriter. It deletes each file with a request of its own.
package gs

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClientType is the URL scheme of the package.
const ReplicaClientType = "gs"

// MetadataKeyTimestamp is the metadata key of the timestamp of an LTX header,
// in RFC 3339 with nanoseconds.
const MetadataKeyTimestamp = "litestream-timestamp"

func init() {
	replica.Register(ReplicaClientType, NewReplicaClientFromURL)
}

var (
	_ replica.Client            = (*ReplicaClient)(nil)
	_ replica.LTXFileCreator    = (*ReplicaClient)(nil)
	_ replica.AllLTXFilesLister = (*ReplicaClient)(nil)
	_ replica.Identifier        = (*ReplicaClient)(nil)
	_ replica.Surveyor          = (*ReplicaClient)(nil)
	_ replica.Initializer       = (*ReplicaClient)(nil)
)

// ReplicaClient implements replica.Client and optional interfaces on a bucket. The
// fields may be set until the first call of a method. All methods are safe for
// concurrent use. A ReplicaClient must not be copied.
//
// It makes one attempt at each request. Only the parts of large files are sent
// again, for up to 32 seconds each. The caller decides about other retries, by
// the classes of errors of replica.Client. A bucket that does not exist is a
// permanent error of every method. An error about missing permission says where
// the credentials came from.
type ReplicaClient struct {
	// Bucket is the name of the bucket. Required.
	Bucket string

	// Path is the text that the names of all objects begin with, without
	// slashes at its ends. Empty: the replica is at the root of the bucket.
	Path string

	// Endpoint is the URL of another server than storage.googleapis.com: a
	// private endpoint, or an emulator. The client sends no credentials over
	// plain http. Empty: the host or URL in the environment variable
	// STORAGE_EMULATOR_HOST, which never gets credentials, else the server of
	// Google.
	Endpoint string

	// PartSize is the number of bytes up to which a file is sent in one
	// request. A larger file is sent in parts of that size, rounded up to a
	// multiple of 256 KiB. A write takes up to twice that much memory. Zero: 8
	// MiB.
	PartSize int64

	// Transport makes all requests except those to the metadata server. It is
	// the place for proxies and private certificate authorities, and should
	// keep many idle connections to one host. Nil: a transport of this client.
	Transport http.RoundTripper

	session clientio.Shared[session]
}

// NewReplicaClient returns a client without a bucket.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init finds credentials. Its only request is the search for a metadata server,
// if there are no other credentials. Calling Init is optional, because every
// method connects. Concurrent callers share one attempt, and each of them waits
// as long as its context lasts.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// Close closes idle connections, unless Transport is set or other clients of the
// process share them. The client can still be used.
func (c *ReplicaClient) Close() error {
	if s := c.session.Peek(); s != nil && c.Transport == nil {
		s.release()
	}
	return nil
}

// connect returns the session, and makes it at the first call.
func (c *ReplicaClient) connect(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.session.Get(ctx, func(ctx context.Context) (*session, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		return newSession(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("connect to google cloud storage: %w", err)
	}
	return s, nil
}

// LTXFiles implements replica.Client. CreatedAt is the timestamp of the LTX
// header, or the creation time of the object if its metadata was lost. It needs
// no extra requests.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister like LTXFiles, with one flat
// listing.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// OpenLTXFile implements replica.Client, with one request.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// deletions is the number of objects that are deleted at the same time.
const deletions = 16

// DeleteLTXFiles implements replica.Client. It deletes 16 files at the same
// time, with a request for each, and stops after the first failure.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return clientio.Delete(ctx, a, deletions, c.connect, (*session).delete)
}
