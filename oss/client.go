// Package oss keeps the LTX files of a replica in Alibaba Cloud's Object Storage
// Service.
//
//	client := oss.NewReplicaClient()
//	client.Bucket, client.Path, client.Region = "bucket", "app.db", "eu-central-1"
//
// or, once the package is imported, litestream.NewReplicaClientFromURL with
// oss://bucket.oss-eu-central-1.aliyuncs.com/app.db. The layout is that of upstream
// Litestream:
//
//	<path>/<level as 4 hex digits>/<min>-<max>.ltx
//
// with the timestamp of the LTX header in the metadata litestream-timestamp.
//
// Credentials are fields, or the variables OSS_ACCESS_KEY_ID,
// OSS_ACCESS_KEY_SECRET and OSS_SESSION_TOKEN.
//
// The client implements the optional interfaces of package replica, except
// LTXFileCopier and IndexWriter. In a bucket with versioning the service cannot
// create files conditionally.
package oss

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
const ReplicaClientType = "oss"

// MetadataKeyTimestamp is the metadata key of the timestamp of an LTX header, in
// RFC 3339 with nanoseconds.
const MetadataKeyTimestamp = "litestream-timestamp"

// DefaultRegion is the region where neither the client nor the URL names one.
const DefaultRegion = "cn-hangzhou"

// DefaultMetadataConcurrency is the default of ReplicaClient.MetadataConcurrency.
const DefaultMetadataConcurrency = 50

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

// ReplicaClient implements replica.Client and optional interfaces of that package on
// a bucket. The fields may be set until the first call of a method. All methods are
// safe for concurrent use. A ReplicaClient must not be copied.
//
// A method does not repeat a request. The caller decides about that, by the classes
// of errors of replica.Client. No error contains a credential.
type ReplicaClient struct {
	// AccessKeyID and AccessKeySecret are the credentials, both or none, with
	// SecurityToken if they are temporary. Empty: OSS_ACCESS_KEY_ID,
	// OSS_ACCESS_KEY_SECRET and OSS_SESSION_TOKEN, which are read at each request.
	AccessKeyID, AccessKeySecret, SecurityToken string

	// Bucket is the name of the bucket. Required.
	Bucket string

	// Path is the text that the names of all objects begin with, without slashes
	// at its ends. Empty: the names begin with a slash.
	Path string

	// Region is the region of the bucket, like eu-central-1. Empty: DefaultRegion.
	Region string

	// Internal takes the way through the network of Alibaba Cloud.
	Internal bool

	// Endpoint is the URL of another server than that of the region. Without a
	// scheme it is https. Empty: the server of the region.
	Endpoint string

	// PartSize is the number of bytes up to which a file is sent in one request. A
	// larger file is sent in parts of that size. Zero: 8 MiB. The least is 100 KiB.
	PartSize int64

	// Concurrency is the number of parts that are in memory and sent at a time.
	// Zero: 3.
	Concurrency int

	// MetadataConcurrency is the number of requests at a time of a listing with
	// timestamps. Zero: DefaultMetadataConcurrency.
	MetadataConcurrency int

	// Transport makes all requests. It should keep many idle connections to one
	// host. Nil: a transport of this client.
	Transport http.RoundTripper

	session clientio.Shared[session]
}

// NewReplicaClient returns a client without a bucket.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init checks the fields. It makes no request. Calling it is optional.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// Close closes idle connections, unless Transport is set or other clients of the
// process share them. The client can still be used.
func (c *ReplicaClient) Close() error {
	if s := c.session.Peek(); s != nil && s.release != nil {
		s.release()
	}
	return nil
}

// connect returns the session, and makes it at the first call.
func (c *ReplicaClient) connect(ctx context.Context) (*session, error) {
	s, err := c.session.Get(ctx, func(context.Context) (*session, error) { return newSession(c) })
	if err != nil {
		return nil, fmt.Errorf("init oss client: %w", err)
	}
	return s, nil
}

// LTXFiles implements replica.Client. CreatedAt is the time at which the object was
// stored. With useMetadata it is the timestamp in the object's metadata, if there
// is one, which takes a request for each file.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister, with one request for 1,000
// files.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// OpenLTXFile implements replica.Client, with one request.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// WriteLTXFile implements replica.Client. A file of up to PartSize is stored by one
// request.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator. Before the first file it asks
// whether the bucket has versioning, where the service ignores the condition. Then
// it returns errors.ErrUnsupported. After a transient error it is not known whether
// the file was stored.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// Survey implements replica.Surveyor.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyObjects(ctx, dir, c.connect)
	return replica.Survey(survey), err
}
