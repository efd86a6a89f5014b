// Package nats keeps the LTX files of a replica in an object store of NATS
// JetStream.
//
//	client := nats.NewReplicaClient()
//	client.URL, client.BucketName = "nats://localhost:4222", "bucket"
//
// or, once the package is imported, litestream.NewReplicaClientFromURL with
// nats://localhost:4222/bucket. The bucket has to exist:
//
//	nats object add bucket
//
// The layout is that of upstream Litestream, with decimal levels and two TXIDs
// of 16 hex digits:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// The header Litestream-Timestamp of an object is the timestamp of its LTX
// header, and comes with listings.
//
// An object is a sequence of messages, the chunks. The client reads single
// chunks, so a read of a page transfers one or two of them and not the object.
// Listings read the descriptions of all objects of the bucket: NATS cannot
// select them by prefix. A bucket should hold one replica, or few.
//
// The client implements the optional interfaces of package replica, except
// LTXFileCopier and IndexWriter.
package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClientType is the URL scheme of the package.
const ReplicaClientType = "nats"

// HeaderKeyTimestamp is the header of an object that holds the timestamp of an
// LTX header, in RFC 3339 with nanoseconds.
const HeaderKeyTimestamp = "Litestream-Timestamp"

// DefaultChunkSize is the default of ReplicaClient.ChunkSize.
const DefaultChunkSize = 128 << 10

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
	_ io.Closer                 = (*ReplicaClient)(nil)
)

// ReplicaClient implements replica.Client and optional interfaces of that package
// on a bucket of an object store. The fields may be set until the first call of a
// method. All methods are safe for concurrent use. A ReplicaClient must not be
// copied.
//
// All calls share one connection. The client reconnects for as long as it is in
// use, and calls fail in the meantime. The caller decides about retries, by the
// classes of errors of replica.Client.
type ReplicaClient struct {
	// URL is the address of a server, or addresses separated by commas. It holds
	// no credentials. Empty: nats://127.0.0.1:4222.
	URL string

	// BucketName is the name of the object store. Required.
	BucketName string

	// Path is the text that the names of all objects begin with, without slashes
	// at its ends. Empty: the replica is at the root of the bucket.
	Path string

	// One of these is how the client authenticates: JWT with its seed, a file of
	// credentials, an NKey with its seed or a file that holds the seed, a user with
	// a password, or a token. If none is set, the variables NATS_CREDS, NATS_NKEY,
	// which is like NKeyFile, NATS_USER with NATS_PASSWORD, or NATS_TOKEN are used.
	JWT      string
	Seed     string // of JWT or NKey
	Creds    string // name of a file
	NKey     string // public key; with Seed or SigCB
	NKeyFile string
	Username string
	Password string
	Token    string

	// UserJWT returns a JWT at each connect, and SigCB signs for UserJWT or NKey.
	UserJWT func() (string, error)
	SigCB   func([]byte) ([]byte, error)

	// TLS requires an encrypted connection. A server can require it as well.
	TLS bool

	// RootCAs are files with the certificates of authorities. Empty: the file
	// that NATS_CA names, else those of the system.
	RootCAs []string

	// ClientCert and ClientKey are files with the certificate of the client and
	// its key. Empty: NATS_CERT and NATS_KEY.
	ClientCert string
	ClientKey  string

	// Timeout limits an attempt to connect. Zero: 5 seconds.
	Timeout time.Duration

	// ReconnectWait is the delay between attempts to reconnect. Zero: 250
	// milliseconds.
	ReconnectWait time.Duration

	// ChunkSize is the number of bytes in a message of an object that the client
	// writes, up to what the server accepts in a message. A read of a page
	// transfers a whole message. Zero: DefaultChunkSize, as other clients have it.
	ChunkSize int64

	// ChunkCacheSize is the number of bytes of messages that the client keeps in
	// memory, since the pages next to the one that is read are in the same
	// message. Zero: 4 MiB. Negative: none.
	ChunkCacheSize int64

	mu struct {
		sync.Mutex          // held for no I/O
		session    *session // nil before the first call and after Close
		closes     int      // number of calls of Close
	}
	connecting clientio.Flight[*session]
}

// NewReplicaClient returns a client without a bucket.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init connects, and looks for the bucket. Calling Init is optional, because
// every method connects. Concurrent callers share one attempt, and each of them
// waits as long as its context lasts.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// Close closes the connection. Calls that are in flight fail. The client can
// still be used: the next call connects again.
func (c *ReplicaClient) Close() error {
	c.mu.Lock()
	s := c.mu.session
	c.mu.session = nil
	c.mu.closes++
	c.mu.Unlock()
	if s != nil {
		s.nc.Close()
	}
	return nil
}

// connect returns the session, and makes one if there is none.
func (c *ReplicaClient) connect(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, closes := c.current()
	if s != nil {
		return s, nil
	}
	s, err := c.connecting.Do(ctx, func(ctx context.Context) (*session, error) {
		if s, _ := c.current(); s != nil {
			return s, nil // a run ended between current and Do
		}
		// The attempt goes on for the callers that are left.
		s, err := newSession(context.WithoutCancel(ctx), c)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.mu.closes != closes {
			s.nc.Close()
			return nil, errors.New("client was closed meanwhile")
		}
		c.mu.session = s
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	return s, nil
}

// current returns the session, which may be nil, and the number of calls of Close.
// A session whose connection gave up is none.
func (c *ReplicaClient) current() (*session, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.mu.session; s != nil && s.nc.Status() == natsgo.CLOSED {
		c.mu.session = nil
	}
	return c.mu.session, c.mu.closes
}

// LTXFiles implements replica.Client. CreatedAt is the timestamp of the LTX
// header, or the time at which the object was stored if its header was lost. It
// needs no extra requests. A listing reads the descriptions of all objects of the
// bucket.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister for the cost of LTXFiles.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// OpenLTXFile implements replica.Client. A read of a version that a listing has
// reported, and whose chunks are known from an earlier read, takes one round trip.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// WriteLTXFile implements replica.Client.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator. The server compares the
// sequence number of the description that it would replace. After an error that
// is not fs.ErrExist the file may have been stored.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// Survey implements replica.Surveyor, for the cost of a listing.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyObjects(ctx, dir, c.connect)
	return replica.Survey(survey), err
}
