package gs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// errAmbiguous is a transient error after which it is not known whether a file
// was stored.
var errAmbiguous = errors.New("outcome of the upload is unknown")

const (
	maxMessage = 300 // bytes of a message of the service

	// maxSkew is the difference between two clocks from which on it may be the
	// reason for a refusal. Google tolerates at most five minutes.
	maxSkew = 4 * time.Minute
)

// statusOf returns the HTTP status in an error, or 0.
func statusOf(err error) int {
	var gerr *googleapi.Error
	if errors.As(err, &gerr) {
		return gerr.Code
	}
	return 0
}

// fail returns the error of a request in its class, without secrets. The caller
// decides what 412 and a missing object mean.
func (s *session) fail(ctx context.Context, err error) error {
	var terr *tokenError
	var gerr *googleapi.Error
	var wrong *clientio.AnswerError
	switch {
	case errors.As(err, &terr):
		err = terr
	case errors.As(err, &wrong):
		err = wrong.Show(nil)
	case errors.As(err, &gerr):
		err = s.statusError(gerr)
	default:
		err = clientio.WithoutURL(err)
	}
	return clientio.WithCause(ctx, err)
}

func (s *session) statusError(gerr *googleapi.Error) error {
	text := messageOf(gerr)
	switch gerr.Code {
	case http.StatusNotFound:
		return clientio.Permanent(fmt.Errorf("http status %d: no bucket %s, or not for %s: %s", gerr.Code, s.bucketName, s.source, text))
	case http.StatusConflict:
		// The conflict is with a request at the same time. No request conflicts
		// with stored objects.
		return fmt.Errorf("http status %d: %s", gerr.Code, text)
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: token is not accepted, it may have expired or been revoked%s: %w",
			s.source, skew(gerr.Header), clientio.StatusError(gerr.Code, text))
	case http.StatusForbidden:
		if isRateLimit(gerr) {
			return fmt.Errorf("http status %d: %s", gerr.Code, text)
		}
		return fmt.Errorf("%s%s: %w", s.source, skew(gerr.Header), clientio.StatusError(gerr.Code, text))
	}
	return clientio.StatusError(gerr.Code, text)
}

// isRateLimit reports whether 403 means too many requests.
func isRateLimit(gerr *googleapi.Error) bool {
	for _, e := range gerr.Errors {
		if e.Reason == "rateLimitExceeded" || e.Reason == "userRateLimitExceeded" {
			return true
		}
	}
	return false
}

// messageOf returns the message of an error in the service's own format. It
// never returns the body of another server's answer.
func messageOf(gerr *googleapi.Error) string {
	if gerr.Message == "" {
		return http.StatusText(gerr.Code)
	}
	return shorten(gerr.Message)
}

// shorten returns a text as one short line.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

// skew says by how much the clock of this host differs from the clock of a
// server, if that may be the reason for a refusal.
func skew(h http.Header) string {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return ""
	}
	d := time.Since(date).Round(time.Second)
	switch {
	case d > maxSkew:
		return fmt.Sprintf(" (the clock of this host is %v ahead of the server's)", d)
	case d < -maxSkew:
		return fmt.Sprintf(" (the clock of this host is %v behind the server's)", -d)
	}
	return ""
}

// tokenError is an error of the credentials themselves.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// denied returns an error that wraps fs.ErrPermission.
func denied(format string, a ...any) error {
	return fmt.Errorf("%w (%w)", fmt.Errorf(format, a...), fs.ErrPermission)
}
