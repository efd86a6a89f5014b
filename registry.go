package litestream

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
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
// file:///absolute/path, or file:relative/path. A URL of which a part would be
// dropped is an error: one that is not percent-encoded well, or has a semicolon
// between parameters, a fragment, or a parameter that the scheme does not have.
// It is safe for concurrent use.
func NewReplicaClientFromURL(rawURL string) (ReplicaClient, error) {
	u, query, err := parseReplicaURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse replica url: %w", err)
	}
	factories.mu.Lock()
	factory := factories.byScheme[u.Scheme]
	factories.mu.Unlock()
	if factory == nil {
		return nil, fmt.Errorf("no replica client is registered for url scheme %q", u.Scheme)
	}
	client, err := factory(u.Scheme, u.Host, u.Path, query, u.User)
	if err != nil {
		return nil, fmt.Errorf("replica url of scheme %s: %w", u.Scheme, err)
	}
	return client, nil
}

// parseReplicaURL takes a URL apart. What follows the scheme of one without
// slashes is its path. Errors do not show the URL, which may hold a password.
func parseReplicaURL(rawURL string) (*url.URL, url.Values, error) {
	if rest, ok := strings.CutPrefix(rawURL, "s3://arn:"); ok {
		rawURL = "s3:arn:" + rest // as a host, an ARN has too many colons
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, errors.New("malformed, or something in it is not percent-encoded")
	}
	if u.Scheme == "" {
		return nil, nil, errors.New("it has no scheme, want one like s3://bucket/path or file:///path")
	}
	if strings.Contains(rawURL, "#") {
		return nil, nil, errors.New("it has a fragment: write # as %23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, errors.New("parameters are malformed: separate them by &, and write % as %25 and ; as %3B in values")
	}
	if u.Opaque != "" {
		if u.Path, err = url.PathUnescape(u.Opaque); err != nil {
			return nil, nil, errors.New("path is not percent-encoded: write % as %25")
		}
	}
	if strings.Contains(u.Path, "\x00") {
		return nil, nil, errors.New("path has a zero byte")
	}
	return u, query, nil
}

func newFileClient(_, host, urlPath string, query url.Values, userinfo *url.Userinfo) (ReplicaClient, error) {
	switch {
	case userinfo != nil:
		return nil, errors.New("a file url has no user")
	case len(query) > 0:
		return nil, fmt.Errorf("a file url has no parameters, not %q: write ? in a path as %%3F", slices.Min(slices.Collect(maps.Keys(query))))
	case host != "" && host != "localhost":
		return nil, fmt.Errorf("a file url has no host, not %q", host)
	case urlPath == "":
		return nil, errors.New("a file url needs a path")
	}
	return file.NewReplicaClient(urlPath), nil
}
