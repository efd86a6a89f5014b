package clientio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/ltxvfs/litestream/internal/nearest"
)

// Permanent returns err as an error that the caller does not retry.
func Permanent(err error) error { return permanent{err} }

type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

func (permanent) Permanent() bool { return true }

// Invalid returns an error that is fs.ErrInvalid, whose text says what is wrong in its
// own words. The arguments are those of fmt.Errorf.
func Invalid(format string, args ...any) error { return invalid{fmt.Errorf(format, args...)} }

type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

func (invalid) Is(target error) bool { return target == fs.ErrInvalid }

// WithoutClass returns an error with the text of err that is neither fs.ErrNotExist nor
// fs.ErrExist, which callers take to be about LTX files. It is for errors of local
// files, such as those with credentials.
func WithoutClass(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return errors.New(err.Error())
	}
	return err
}

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

// UnknownParameter returns the error for a parameter of a URL that the store does not
// know. If one of the known ones was meant, most likely, it says so.
func UnknownParameter(name string, known []string) error {
	if meant := nearest.Of(name, known); meant != "" {
		return Invalid("unknown parameter %q, did you mean %q?", name, meant)
	}
	return Invalid("unknown parameter %q", name)
}

// WithoutURL returns err without the URL that net/http puts in front of it. The
// URL may contain a signature. If the server does not speak TLS, the error says so.
func WithoutURL(err error) error {
	var uerr *url.Error
	if errors.As(err, &uerr) {
		err = uerr.Err
	}
	var record tls.RecordHeaderError
	var said noTLSError
	if (errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)) && !errors.As(err, &said) {
		return noTLSError{err}
	}
	return err
}

// noTLSError is the error of a connection to a server that does not speak TLS.
type noTLSError struct{ error }

func (e noTLSError) Error() string {
	return e.error.Error() + ": the server does not speak TLS at that port, perhaps the endpoint should begin with http://"
}

func (e noTLSError) Unwrap() error { return e.error }
