// Package https reads replicas behind any web server or CDN that serves ranges of
// files. It cannot write. Importing it makes litestream.NewReplicaClientFromURL
// understand https:// and http:// URLs.
//
//	client := https.NewReplicaClient()
//	client.URL = "https://example.com/data/app.db" // the folder of the replica
//
// # Listings
//
// Web servers have no common way to list files. The client looks for these, in this
// order:
//
//  1. index.json in the folder of the replica, which "ltxvfs publish" writes
//  2. a listing of a folder as nginx, Apache, lighttpd and other servers make it
//  3. a listing of a public bucket in the XML of S3
//
// If there is an index.json, only files that it names exist. A poll asks whether it
// has changed. Otherwise a poll asks for the next file by its name.
//
// # Limits
//
// A server that ignores ranges is an error and not a download. A file whose entity
// tag changes, or which is listed with another time, is another version of the file.
// Where several servers answer under one name, their entity tags and times have to be
// the same. Encoded bodies, such as those that a server compresses, are an error.
package https

import (
	"context"
	"net/http"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClient implements replica.Client, without writing, and those of its optional
// interfaces that do not write. Make one with [NewReplicaClient]. The
// fields may be set until the first call of a method. All methods are safe for
// concurrent use. A ReplicaClient must not be copied.
//
// No method repeats a request. Redirects are followed, but not from https to http. To
// another host or port they take neither the password nor Header along.
type ReplicaClient struct {
	// URL is the address of the replica's folder, without a query.
	URL string

	// Username and Password are sent by basic authentication, unless both are
	// empty.
	Username, Password string

	// Header is sent with each request, such as a token.
	Header http.Header

	// Transport sends all requests. It sees the credentials. Nil means a transport
	// of this client, with the proxy of the environment and the system's
	// certificate authorities.
	Transport http.RoundTripper

	session clientio.Shared[session]
}

var (
	_ replica.Client            = (*ReplicaClient)(nil)
	_ replica.Initializer       = (*ReplicaClient)(nil)
	_ replica.AllLTXFilesLister = (*ReplicaClient)(nil)
	_ replica.Identifier        = (*ReplicaClient)(nil)
	_ replica.Surveyor          = (*ReplicaClient)(nil)
)

// NewReplicaClient returns a client without an address.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// Init implements replica.Initializer. It checks the fields, and sends no request.
// Calling it is optional. An invalid field is an error that wraps fs.ErrInvalid.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect returns the session that all calls share.
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
