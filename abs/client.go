// Package abs keeps the LTX files of a replica in a container of Azure Blob
// Storage. Importing it makes litestream.NewReplicaClientFromURL understand
// abs:// URLs.
//
//	client := abs.NewReplicaClient()
//	client.AccountName = "myaccount"
//	client.Bucket = "mycontainer" // which must exist
//	client.Path = "app.db"
//
// The layout is that of upstream Litestream:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// with a decimal level and two TXIDs of 16 hex digits. The metadata
// litestreamtimestamp of a blob is the timestamp of its LTX header. Listings
// include it.
//
// # Credentials
//
// The client uses the first of these that is set:
//
//  1. the field Credential
//  2. the field SASToken
//  3. the field AccountKey
//  4. the environment variable LITESTREAM_AZURE_SAS_TOKEN
//  5. the environment variable LITESTREAM_AZURE_ACCOUNT_KEY
//  6. Azure's default chain: environment, workload identity, managed
//     identity, Azure CLI. Its tokens are renewed as they expire.
//
// # Limits
//
// A write of more than one part that fails, or whose process dies, leaves
// blocks that were never committed. Nothing lists or reads them, they cannot
// be deleted, and the service drops them after a week. Writers that replace the
// same file of more than one part at the same time can discard each other's
// blocks. A writer whose blocks are discarded gets a transient error.
package abs

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

const (
	// DefaultPartSize is the default of ReplicaClient.PartSize, 8 MiB.
	DefaultPartSize = 8 << 20

	// DefaultConcurrency is the default of ReplicaClient.Concurrency.
	DefaultConcurrency = 4

	// MetadataKeyTimestamp is the key of the metadata that holds the timestamp
	// of a file's LTX header, as RFC 3339 with nanoseconds.
	MetadataKeyTimestamp = "litestreamtimestamp"
)

// ReplicaClient implements replica.Client and its optional interfaces, except
// LTXFileCopier and IndexWriter, on a container of Azure Blob Storage. Make one with
// [NewReplicaClient]. The fields may be set until the first call of a method. All
// methods are safe for concurrent use. A ReplicaClient must not be copied.
//
// No method retries a request, except that the blocks of a write of several
// parts are sent up to three times.
type ReplicaClient struct {
	// AccountName is the storage account. It may be empty if Endpoint is set
	// and the credential is not an account key.
	AccountName string

	// AccountKey is one of the account's two keys, in base64.
	AccountKey string

	// SASToken is a shared access signature for the account or the container,
	// with or without a question mark in front. It must permit listing and
	// reading, and for writers also creating, writing and deleting.
	SASToken string

	// Credential gives tokens of Microsoft Entra ID, for an https endpoint.
	Credential azcore.TokenCredential

	// Endpoint is the URL of the account. Empty means
	// https://<AccountName>.blob.core.windows.net.
	Endpoint string

	// Bucket is the container. It must exist.
	Bucket string

	// Path is the text that the names of the replica's blobs begin with. It may
	// be empty.
	Path string

	// PartSize is the number of bytes up to which a file is sent in one
	// request. A larger file is sent in up to 50,000 parts of that size. Zero
	// means DefaultPartSize; at most 4,000 MiB.
	PartSize int64

	// Concurrency is the number of parts of one file that are in memory, and
	// are sent, at the same time. Zero means DefaultConcurrency; at most 1,000.
	Concurrency int

	// Transport sends all requests, including those for tokens. It sees the
	// credentials. Nil means a transport of this client, with the proxy of the
	// environment and the system's certificate authorities.
	Transport http.RoundTripper

	pageSize int32 // of listings; 0 means the default of the service

	session clientio.Shared[session]
}

var (
	_ replica.Client            = (*ReplicaClient)(nil)
	_ replica.Initializer       = (*ReplicaClient)(nil)
	_ replica.LTXFileCreator    = (*ReplicaClient)(nil)
	_ replica.AllLTXFilesLister = (*ReplicaClient)(nil)
	_ replica.Identifier        = (*ReplicaClient)(nil)
	_ replica.Surveyor          = (*ReplicaClient)(nil)
)

// NewReplicaClient returns a client without a container.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init implements replica.Initializer. It checks the fields and the
// environment, and sends no request. Calling it is optional, because every
// method connects. An invalid field is an error that wraps fs.ErrInvalid.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect returns the session that all calls share. Making it may read files
// that the environment names, and these reads ignore the context.
func (c *ReplicaClient) connect(ctx context.Context) (*session, error) {
	return c.session.Get(ctx, func(context.Context) (*session, error) { return newSession(c) })
}

// Close closes idle connections, unless Transport is set or other clients of the
// process share them. The client can still be used.
func (c *ReplicaClient) Close() error {
	if s := c.session.Peek(); s != nil && s.release != nil {
		s.release()
	}
	return nil
}
