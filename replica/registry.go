package replica

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
)

// Factory makes a client from the parts of a replica URL. It does no I/O.
// userinfo may be nil.
type Factory func(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (Client, error)

// factories is the only global state of the library.
var factories struct {
	sync.Mutex // serialises access to byScheme
	byScheme   map[string]Factory
}

// Register makes NewFromURL understand a URL scheme. A later registration of
// the same scheme replaces an earlier one. It is safe for concurrent use.
func Register(scheme string, factory Factory) {
	factories.Lock()
	defer factories.Unlock()
	if factories.byScheme == nil {
		factories.byScheme = make(map[string]Factory)
	}
	factories.byScheme[scheme] = factory
}

// factoryOf returns the factory of a URL scheme, or nil.
func factoryOf(scheme string) Factory {
	factories.Lock()
	defer factories.Unlock()
	return factories.byScheme[scheme]
}

// NewFromURL makes a client from a URL, with the factory that is registered for
// the URL's scheme. Importing a store registers its scheme, and importing
// litestream registers the scheme file.
//
// A URL is an error if a part of it would be ignored: if it is not
// percent-encoded correctly, has a semicolon between parameters or a fragment,
// or has a parameter that the scheme does not know. Errors do not show the URL,
// which may contain a password. NewFromURL is safe for concurrent use.
func NewFromURL(rawURL string) (Client, error) {
	u, query, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse replica url: %w", err)
	}
	factory := factoryOf(u.Scheme)
	if factory == nil {
		return nil, fmt.Errorf("no replica client is registered for url scheme %q", u.Scheme)
	}
	client, err := factory(u.Scheme, u.Host, u.Path, query, u.User)
	if err != nil {
		return nil, fmt.Errorf("replica url of scheme %s: %w", u.Scheme, err)
	}
	return client, nil
}

// parseURL takes a URL apart. If there are no slashes after the scheme, the
// rest of the URL is the path. Errors do not show the URL.
func parseURL(rawURL string) (*url.URL, url.Values, error) {
	if rest, ok := strings.CutPrefix(rawURL, "s3://arn:"); ok {
		rawURL = "s3:arn:" + rest // an ARN has too many colons for a host
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
