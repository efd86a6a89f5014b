package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// Codes of errors that say more than the status.
var (
	refusedCodes = []string{ // the credentials, whatever the status is
		"XAdminUserNotFound", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "ExpiredTokenException",
		"TokenRefreshRequired", "SignatureDoesNotMatch", "AccessDenied",
	}
	expiredCodes = []string{"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
	skewCodes    = []string{"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
	regionCodes  = []string{"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}

	// Only the way of the request failed, or the server did at that moment.
	passingCodes = []string{
		"RequestTimeout", "RequestCanceled", "SlowDown", "InternalError", "ServiceUnavailable", "TemporaryRedirect",
		"ConditionalRequestConflict", "OperationAborted", "NoSuchUpload", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch",
	}
)

// errorCode returns the code that the server gave with an error, or "".
func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// errorStatus returns the HTTP status of an error, or 0.
func errorStatus(err error) int {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		return resp.HTTPStatusCode()
	}
	return 0
}

// conditionFailed reports whether the condition of a request does not hold. The server
// may notice that after it has begun to answer with status 200. Then only the code says
// so, since the SDK makes 500 of the status.
func conditionFailed(err error) bool {
	return errorStatus(err) == http.StatusPreconditionFailed || errorCode(err) == "PreconditionFailed"
}

// bucketRegion returns the region that the server gave with an error, or "".
func bucketRegion(err error) string {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil {
		return resp.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

// failure returns an error of the SDK in its class, without secrets.
func (c *conn) failure(ctx context.Context, err error) error {
	var cerr *credentialsError
	if errors.As(err, &cerr) {
		return clientio.WithCause(ctx, cerr.classify())
	}
	var wrong *clientio.AnswerError
	if errors.As(err, &wrong) {
		return clientio.WithCause(ctx, wrong.Show(c.creds.redact))
	}
	if status := errorStatus(err); status != 0 {
		return clientio.WithCause(ctx, c.answer(err, status))
	}
	if ctx.Err() != nil {
		return ctx.Err() // the other error says no more
	}
	var send *smithyhttp.RequestSendError
	if !errors.As(err, &send) {
		// The SDK refused the request before it sent anything.
		return clientio.Permanent(errors.New(c.creds.redact(err.Error())))
	}
	err = clientio.WithoutURL(send.Err)
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		err = clientio.Permanent(err)
	}
	return fmt.Errorf("send request: %w", err)
}

// answer is failure for an answer of the server.
func (c *conn) answer(err error, status int) error {
	var message string
	var api smithy.APIError
	if errors.As(err, &api) {
		message = api.ErrorMessage()
	}
	return c.verdict(status, errorCode(err), message, bucketRegion(err))
}

// verdict returns the error for a status, a code and a message of the server.
// The status may be 0, and the texts may be empty.
func (c *conn) verdict(status int, code, message, region string) error {
	text := c.creds.redact(cmp.Or(code, http.StatusText(status)))
	if message = c.creds.redact(message); message != "" && message != text {
		text += ": " + message
	}
	if status != 0 {
		text = fmt.Sprintf("http status %d: %s", status, text)
	}
	switch {
	case slices.Contains(expiredCodes, code) && c.creds.renew():
		return fmt.Errorf("%s; getting new credentials from %s", text, c.creds)
	case slices.Contains(expiredCodes, code):
		return fmt.Errorf("%s: the session token has expired (credentials from %s; %w)", text, c.creds, fs.ErrPermission)
	case slices.Contains(skewCodes, code):
		return fmt.Errorf("%s: the clock of this machine, %s, differs too much from the server's (%w)",
			text, time.Now().UTC().Format(time.RFC3339), fs.ErrPermission)
	case code == "InvalidObjectState":
		return clientio.Permanent(errors.New(text + ": the file is archived"))
	case status == http.StatusMovedPermanently, slices.Contains(regionCodes, code):
		if region != "" {
			text += ": the bucket is in region " + c.creds.redact(region)
		}
		return clientio.Permanent(errors.New(text + ": set the right region or endpoint"))
	case slices.Contains(refusedCodes, code), status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%s (credentials from %s; %w)", text, c.creds, fs.ErrPermission)
	case slices.Contains(passingCodes, code), status == http.StatusTemporaryRedirect, status == 0, status/100 == 2:
		return errors.New(text)
	}
	return clientio.StatusError(status, c.creds.redact(cmp.Or(joinNonEmpty(code, message), http.StatusText(status))))
}

func joinNonEmpty(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
}

// skewRetryer retries a request that failed because of its time. The SDK has
// learnt the time of the server from the answer. The caller decides about all
// other errors.
type skewRetryer struct{ aws.NopRetryer }

// IsErrorRetryable implements aws.Retryer.
func (skewRetryer) IsErrorRetryable(err error) bool {
	var r interface{ RetryableError() bool }
	return slices.Contains(skewCodes, errorCode(err)) && errors.As(err, &r) && r.RetryableError()
}

// MaxAttempts implements aws.Retryer.
func (skewRetryer) MaxAttempts() int { return 2 }

// RetryDelay implements aws.Retryer.
func (skewRetryer) RetryDelay(int, error) (time.Duration, error) { return 0, nil }
