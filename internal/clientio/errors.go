package clientio

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
)

// Permanent returns err as one that it is no use to retry.
func Permanent(err error) error { return permanent{err} }

type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

func (permanent) Permanent() bool { return true }

// StatusError returns the error for an HTTP status that is not a success, in
// the class that replica.Client wants: fs.ErrPermission for 401 and
// 403, transient for 408, 425, 429 and 5xx but 501, permanent for the others.
// What 404, 409 and 412 mean is up to the caller, who may not have asked for
// what is missing.
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

// WithoutURL returns err without the URL that net/http puts in front: it may
// hold a signature.
func WithoutURL(err error) error {
	var uerr *url.Error
	if errors.As(err, &uerr) {
		return uerr.Err
	}
	return err
}
