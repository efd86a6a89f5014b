// Package s3 keeps the LTX files of a replica in a bucket of Amazon S3 or of
// a service that speaks its protocol: Cloudflare R2, Tigris, Backblaze B2,
// DigitalOcean Spaces, MinIO, Hetzner, Supabase, Wasabi, Scaleway, Filebase,
// Google Cloud Storage by its XML API, and others.
//
//	client := s3.NewReplicaClient()
//	client.Bucket, client.Path = "backups", "app.db"
//	vfs := litestream.NewVFS(client, nil)
//
// The layout is that of upstream Litestream:
//
//	<path>/<level as 4 hex digits>/<min>-<max>.ltx
//
// with the timestamp of the LTX header in the metadata litestream-timestamp.
// Importing the package makes litestream.NewReplicaClientFromURL understand
// URLs of the scheme s3.
//
// A bucket whose name ends in --x-s3 is a directory bucket (S3 Express One Zone).
// Its listings are in no order, so the client reads a listing to its end before it
// returns the first file.
package s3

import (
	"log/slog"
	"net/http"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

var (
	_ replica.Client            = (*ReplicaClient)(nil)
	_ replica.Initializer       = (*ReplicaClient)(nil)
	_ replica.LTXFileCreator    = (*ReplicaClient)(nil)
	_ replica.LTXFileCopier     = (*ReplicaClient)(nil)
	_ replica.AllLTXFilesLister = (*ReplicaClient)(nil)
	_ replica.Identifier        = (*ReplicaClient)(nil)
	_ replica.Surveyor          = (*ReplicaClient)(nil)
)

// ReplicaClient implements replica.Client, replica.LTXFileCreator and
// replica.AllLTXFilesLister on a bucket. Make one with [NewReplicaClient]. The
// fields may be set until the first call of a method, and all methods are safe
// for concurrent use.
//
// A wrong configuration is an error that wraps fs.ErrInvalid. A bucket that
// does not exist is a permanent error. Wrong credentials are fs.ErrPermission,
// and the error says where they come from. No error and no log contains a
// credential.
//
// A method does not repeat a request, with two exceptions: a request that
// stores a part of a large file, and a request whose time the server refuses.
// The latter is sent again with the time of the server.
type ReplicaClient struct {
	// AccessKeyID and SecretAccessKey are the credentials, both or none, with
	// SessionToken if they are temporary. Empty: AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY, else LITESTREAM_ACCESS_KEY_ID,
	// LITESTREAM_SECRET_ACCESS_KEY and LITESTREAM_SESSION_TOKEN, else the
	// credentials that the AWS SDK finds: profiles, web identities, container
	// and instance roles, renewed as they expire.
	AccessKeyID, SecretAccessKey, SessionToken string

	// Region is the region of the bucket. Empty: the region in the endpoint's
	// host, or us-east-1 if the host has none. Without an endpoint the client
	// asks AWS for the region of the bucket, once.
	Region string

	// Bucket is the name of the bucket, or the ARN of an access point. Required.
	Bucket string

	// Path is the text that all names begin with, without slashes at its ends.
	// If it is empty, names begin with a slash, as in upstream Litestream.
	Path string

	// Endpoint is the address of the service, like https://host:9000. Without a
	// scheme it is https, or http at local addresses. Empty:
	// LITESTREAM_S3_ENDPOINT, else AWS_ENDPOINT_URL_S3 and the other settings
	// of the AWS SDK, else AWS.
	Endpoint string

	// ForcePathStyle puts the bucket into the path of requests instead of their
	// host. It is on for services that need it, for IP addresses, and for hosts
	// with a port.
	ForcePathStyle bool

	// SkipVerify accepts any certificate. It cannot be combined with Transport.
	SkipVerify bool

	// SignPayload includes bodies in the signatures. NewReplicaClient sets it.
	// If it is false, only TLS protects bodies; without TLS they are signed
	// anyway.
	SignPayload bool

	// RequireContentMD5 sends Content-MD5 with batches of deletions, in
	// addition to the checksum of the SDK, which some services do not know.
	// NewReplicaClient sets it. PutObjectContentMD5 sends it with files, too,
	// for buckets with object lock at such services.
	RequireContentMD5, PutObjectContentMD5 bool

	// NoConditionalPut says that the server does not know If-None-Match, or
	// ignores it. CreateLTXFile then returns errors.ErrUnsupported. It is on
	// for Google Cloud Storage.
	NoConditionalPut bool

	// StorageClass is the storage class of new files. Empty: the default of the
	// bucket.
	StorageClass string

	// PartSize is the number of bytes up to which a file is stored in one
	// request. A larger file is stored in up to 10,000 parts of that size. At
	// least 5 MiB and at most 5 GiB; 0 means 8 MiB, and 16 MiB at Tigris.
	PartSize int64

	// Concurrency is the number of parts of a file that are stored, and are in
	// memory, at the same time. At most 1,000; 0 means 5, and 2 at R2 and
	// Tigris.
	Concurrency int

	// MetadataConcurrency is the number of concurrent requests of a listing
	// with useMetadata, which takes one request for each file. At most 1,000; 0
	// means 50.
	MetadataConcurrency int

	// SSECustomerKey makes the server encrypt files with a key that it does not
	// keep: 32 bytes in base64. SSECustomerAlgorithm is empty or AES256, and an
	// empty SSECustomerKeyMD5 is computed. The server must be reached by TLS or
	// at a local address.
	SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 string

	// SSEKMSKeyID makes AWS encrypt files with a key of its key management
	// service. It cannot be combined with SSECustomerKey.
	SSEKMSKeyID string

	// Transport makes the requests to the store. Requests for credentials use
	// the transport of the AWS SDK. Nil: a transport for many concurrent reads,
	// with the proxy of the environment and the authorities of AWS_CA_BUNDLE.
	Transport http.RoundTripper

	// Logger gets the warnings of the AWS SDK. Nil: slog.Default().
	Logger *slog.Logger

	virtualHost bool // ForcePathStyle is false on purpose

	conn clientio.Shared[conn]
}

// NewReplicaClient returns a client with the defaults, which needs a Bucket.
func NewReplicaClient() *ReplicaClient {
	return &ReplicaClient{SignPayload: true, RequireContentMD5: true}
}

// Close closes idle connections, unless Transport is set or other clients of the
// process share them. The client can still be used.
func (c *ReplicaClient) Close() error {
	if conn := c.conn.Peek(); conn != nil && conn.release != nil {
		conn.release()
	}
	return nil
}

func (c *ReplicaClient) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}
