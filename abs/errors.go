package abs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// maxSkew is the difference between the clocks that the service tolerates.
const maxSkew = 15 * time.Minute

// explain returns an error of the SDK in one of the classes of replica.Client,
// without the requests and answers in the SDK's errors.
func (s *session) explain(ctx context.Context, err error) error {
	var answer *azcore.ResponseError
	var wrong *clientio.AnswerError
	switch {
	case errors.As(err, &wrong):
		err = wrong.Show(nil)
	case errors.As(err, &answer):
		err = s.explainAnswer(answer)
	default:
		err = clientio.WithoutURL(err)
	}
	return clientio.WithCause(ctx, err)
}

func (s *session) explainAnswer(answer *azcore.ResponseError) error {
	code := cleanCode(answer.ErrorCode)
	text := code
	if text == "" {
		text = "no error code"
	}
	if id := requestID(answer.RawResponse); id != "" {
		text += ", request " + id
	}
	switch {
	case code == string(bloberror.ContainerNotFound):
		return clientio.Permanent(fmt.Errorf("container %q does not exist (%s)", s.bucket, text))
	case code == string(bloberror.InvalidBlockList):
		// Another client wrote to this name, which discarded the blocks of this
		// one.
		return fmt.Errorf("blocks are gone, there is another writer of this file (%s)", text)
	case code == string(bloberror.InvalidAuthenticationInfo),
		answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("http status %d: %s, with the %s: %s: %w",
			answer.StatusCode, text, s.cred.source, s.whyRefused(code, dateOf(answer.RawResponse)), fs.ErrPermission)
	}
	return clientio.StatusError(answer.StatusCode, text)
}

// whyRefused returns the reason why the service does not accept a credential.
// now is the time of the service's clock, or zero if that is not known.
func (s *session) whyRefused(code string, now time.Time) string {
	skew := time.Since(now)
	if now.IsZero() {
		skew, now = 0, time.Now()
	}
	switch valid := s.cred.valid; {
	case !valid.to.IsZero() && !now.Before(valid.to):
		return "it expired at " + valid.to.UTC().Format(time.RFC3339)
	case !valid.from.IsZero() && now.Before(valid.from):
		return "it is not valid before " + valid.from.UTC().Format(time.RFC3339)
	case skew.Abs() > maxSkew:
		return fmt.Sprintf("the clock of this machine differs from the service's by %s", skew.Abs().Round(time.Second))
	}
	switch bloberror.Code(code) {
	case bloberror.AuthenticationFailed:
		if s.cred.token != nil {
			return "it is not accepted"
		}
		return "signature not accepted, wrong key"
	case bloberror.InvalidAuthenticationInfo:
		return "it is malformed or expired"
	case bloberror.AuthorizationPermissionMismatch, bloberror.InsufficientAccountPermissions:
		return "it does not allow this operation"
	case bloberror.AuthorizationFailure:
		if s.cred.key != nil {
			return "wrong key, or the account's network rules do not allow it"
		}
		return "it does not allow this operation, or the account's network rules do not"
	}
	return "it is not accepted"
}

var codePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,80}$`)

// cleanCode returns an error code, or "" if the text does not look like one.
func cleanCode(code string) string {
	if codePattern.MatchString(code) {
		return code
	}
	return ""
}

// requestID returns the service's identifier of a request, which its operators
// ask for.
func requestID(resp *http.Response) string {
	if resp == nil {
		return ""
	}
	return cleanCode(resp.Header.Get("X-Ms-Request-Id"))
}

// dateOf returns the time of an answer by the service's clock, or zero.
func dateOf(resp *http.Response) time.Time {
	if resp == nil {
		return time.Time{}
	}
	t, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// hasCode reports whether the service answered with an error code.
func hasCode(err error, code bloberror.Code) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.ErrorCode == string(code)
}

// hasStatus reports whether the service answered with an HTTP status.
func hasStatus(err error, status int) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == status
}
