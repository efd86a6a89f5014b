// Package webdav keeps the LTX files of a replica on a WebDAV server. Importing it
// makes litestream.NewReplicaClientFromURL understand webdav:// and webdavs:// URLs,
// for http and https.
//
//	client := webdav.NewReplicaClient()
//	client.URL = "https://cloud.example.com" // without the path
//	client.Path = "/remote.php/dav/files/me/app.db"
//	client.Username, client.Password = "me", "secret"
//
// The layout is that of upstream Litestream:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// with a decimal level and two TXIDs of 16 hex digits. WebDAV cannot set the time of a
// file, so a listing has the time of the upload. With useMetadata it reads the header
// of each file.
//
// # Writing
//
// A file is stored under a temporary name and then moved, so that no reader sees a
// part of it. A file that must not exist yet is moved while the client holds a lock of
// the folder, because many servers look and move in two steps. Apache's locks are not
// exclusive. There the file is moved out of a folder that only one client can have.
// With other servers whose locks are not exclusive, and with those without locks,
// CreateLTXFile returns errors.ErrUnsupported.
//
// # Limits
//
// A process that is killed while it writes leaves a file or a folder whose name begins
// with a dot and ends in ".tmp", and perhaps a lock that ends after a minute, or at
// Apache a folder ".create", which the next writer removes after ten seconds. Listings
// ignore all of them.
package webdav

import (
	"context"
	"net/http"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClient implements replica.Client and its optional interfaces, except
// replica.AllLTXFilesLister and replica.LTXFileCopier, on a WebDAV server. Make one
// with [NewReplicaClient]. The fields may be set until the first call of a method. All
// methods are safe for concurrent use. A ReplicaClient must not be copied.
//
// No method repeats a request, except one that the server answers with a demand for
// credentials.
type ReplicaClient struct {
	// URL is the address of the server, of http or https, without a path.
	URL string

	// Username and Password are sent as the server asks: by digest or basic
	// authentication. An empty Password means LITESTREAM_WEBDAV_PASSWORD.
	Username, Password string

	// Path is the folder of the replica at the server. The first write makes it.
	Path string

	// Transport sends all requests. It sees the credentials. Nil means a transport
	// of this client, with the proxy of the environment and the system's
	// certificate authorities.
	Transport http.RoundTripper

	session clientio.Shared[session]
}

var (
	_ replica.Client         = (*ReplicaClient)(nil)
	_ replica.Initializer    = (*ReplicaClient)(nil)
	_ replica.LTXFileCreator = (*ReplicaClient)(nil)
	_ replica.Identifier     = (*ReplicaClient)(nil)
	_ replica.Surveyor       = (*ReplicaClient)(nil)
	_ replica.IndexWriter    = (*ReplicaClient)(nil)
)

// NewReplicaClient returns a client without a server.
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
