package clientio

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
)

// Permanent returns err as an error that the caller does not retry.
func Permanent(err error) error { return permanent{err} }

type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

func (permanent) Permanent() bool { return true }

// StatusError returns the error for an HTTP status that is not a success, in
// the class that replica.Client asks for: fs.ErrPermission for 401 and 403,
// transient for 408, 425, 429 and 5xx except 501, and permanent for all others.
// The caller decides what 404, 409 and 412 mean, because that depends on the
// request.
func StatusError(status int, text string) error {
	err := fmt.Errorf("http status %d: %s", status, text)
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (%w)", err, fs.ErrPermission)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	case http.StatusNotImplemented:
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	if status >= 500 {
		return err
	}
	return Permanent(err)
}

// WithoutURL returns err without the URL that net/http puts in front of it. The
// URL may contain a signature.
func WithoutURL(err error) error {
	var uerr *url.Error
	if errors.As(err, &uerr) {
		return uerr.Err
	}
	return err
}
