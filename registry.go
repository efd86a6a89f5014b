package litestream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/file"
)

// ReplicaClientFactory makes a client from the parts of a replica URL. It
// does no I/O. Userinfo may be nil.
type ReplicaClientFactory func(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (ReplicaClient, error)

// factories is the only global state of the package.
var factories = struct {
	mu       sync.Mutex
	byScheme map[string]ReplicaClientFactory // guarded by mu
}{byScheme: map[string]ReplicaClientFactory{"file": newFileClient}}

// RegisterReplicaClientFactory makes NewReplicaClientFromURL, and so the URI
// parameter replica_url, understand a URL scheme. A later registration of the same scheme
// replaces an earlier one. It is safe for concurrent use.
func RegisterReplicaClientFactory(scheme string, factory ReplicaClientFactory) {
	factories.mu.Lock()
	defer factories.mu.Unlock()
	factories.byScheme[scheme] = factory
}

// NewReplicaClientFromURL makes a client from a URL, by the factory that is
// registered for its scheme. The scheme file is always there:
// file:///absolute/path, or file:relative/path. It is safe for concurrent use.
func NewReplicaClientFromURL(rawURL string) (ReplicaClient, error) {
	if rest, ok := strings.CutPrefix(rawURL, "s3://arn:"); ok {
		rawURL = "s3:arn:" + rest // as a host, an ARN has too many colons
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse quotes parts of the URL, which may hold a password.
		return nil, errors.New("parse replica url: malformed, or something in it is not percent-encoded")
	}
	if u.Scheme == "" {
		return nil, fmt.Errorf("replica url %q has no scheme, want one like s3://bucket/path or file:///path", u.Redacted())
	}
	factories.mu.Lock()
	factory := factories.byScheme[u.Scheme]
	factories.mu.Unlock()
	if factory == nil {
		return nil, fmt.Errorf("no replica client is registered for url scheme %q", u.Scheme)
	}
	path := u.Path
	if u.Opaque != "" {
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return nil, fmt.Errorf("parse replica url: %w", err)
		}
	}
	client, err := factory(u.Scheme, u.Host, path, u.Query(), u.User)
	if err != nil {
		return nil, fmt.Errorf("replica url of scheme %s: %w", u.Scheme, err)
	}
	return client, nil
}

func newFileClient(_, host, urlPath string, _ url.Values, _ *url.Userinfo) (ReplicaClient, error) {
	if host != "" && host != "localhost" {
		return nil, fmt.Errorf("a file url has no host, not %q", host)
	}
	if urlPath == "" {
		return nil, errors.New("a file url needs a path")
	}
	return file.NewReplicaClient(urlPath), nil
}
