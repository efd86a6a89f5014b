package litestream

import (
	"errors"
	"io"
	"net/url"
	"strings"
)

// placeOf returns where the replica of a client is, for texts. It is the URL that the
// client was made from, without secrets, or else the identity of the replica.
func placeOf(client ReplicaClient, replicaURL string) string {
	id := identityOf(client, replicaURL)
	if replicaURL == "" {
		return id
	}
	shown := shownURL(replicaURL)
	if base, endpoint, ok := strings.Cut(id, "?endpoint="); ok && base == shown {
		shown += " at " + endpoint // of the environment
	}
	return shown
}

// placedError is an error with the place of the replica.
type placedError struct {
	place string
	err   error
	said  bool // the text of err has the place
}

func (e *placedError) Error() string {
	if e.said {
		return e.err.Error()
	}
	return e.place + ": " + e.err.Error()
}

func (e *placedError) Unwrap() error { return e.err }

// placed adds a place to an error, unless either is empty or the error has one.
func placed(place string, err error) error {
	if _, ok := errors.AsType[*placedError](err); ok || place == "" || err == nil {
		return err
	}
	return &placedError{place: place, err: err}
}

// closeClient closes a client that can be closed.
func closeClient(client ReplicaClient) error {
	if c, ok := client.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// shownURL returns a replica URL for texts: without user information and without
// parameters, except the endpoint, since they may be secret.
func shownURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "":
		return "a replica with a malformed URL"
	case u.Host+u.Path+u.Opaque == "":
		return u.Scheme + "://"
	}
	shown := (&url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path}).String()
	if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
		shown += " at " + (&url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host}).String()
	}
	return shown
}
