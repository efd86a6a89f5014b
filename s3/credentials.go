package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdkcredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// staticCredentials returns the credentials of the fields or of the
// environment, and the name of their source. Nil means the credentials of the
// AWS SDK.
func (c *ReplicaClient) staticCredentials() (aws.CredentialsProvider, string, error) {
	if c.AccessKeyID != "" || c.SecretAccessKey != "" {
		if c.AccessKeyID == "" || c.SecretAccessKey == "" {
			return nil, "", clientio.Invalid("one of AccessKeyID and SecretAccessKey is set without the other")
		}
		return sdkcredentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
			"the client's AccessKeyID", nil
	}
	if os.Getenv("AWS_ACCESS_KEY_ID") != "" && os.Getenv("AWS_SECRET_ACCESS_KEY") != "" {
		return nil, "AWS_ACCESS_KEY_ID", nil
	}
	id, secret := os.Getenv("LITESTREAM_ACCESS_KEY_ID"), os.Getenv("LITESTREAM_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		return sdkcredentials.NewStaticCredentialsProvider(id, secret, os.Getenv("LITESTREAM_SESSION_TOKEN")),
			"LITESTREAM_ACCESS_KEY_ID", nil
	case id != "" || secret != "":
		return nil, "", clientio.Invalid("one of LITESTREAM_ACCESS_KEY_ID and LITESTREAM_SECRET_ACCESS_KEY is set without the other")
	}
	return nil, "", nil
}

// credentials remembers the last credentials of its provider, for errors. It is
// safe for concurrent use.
type credentials struct {
	provider aws.CredentialsProvider
	source   string   // name of their source; empty: the name that the SDK gives it
	secrets  []string // other texts that no error may show

	last    atomic.Pointer[aws.Credentials]
	session atomic.Pointer[aws.Credentials] // of a directory bucket, which last made
}

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	v, err := c.provider.Retrieve(ctx)
	if err != nil {
		return v, clientio.WithCause(ctx, &credentialsError{err})
	}
	c.last.Store(&v)
	return v, nil
}

// String returns the name of the source of the credentials.
func (c *credentials) String() string {
	last := c.last.Load()
	switch {
	case c.source != "":
		return c.source
	case last == nil || last.Source == "":
		return "the aws credential chain"
	}
	return last.Source
}

// renew makes the provider get new credentials, if it can.
func (c *credentials) renew() bool {
	last := c.last.Load()
	cache, ok := c.provider.(*aws.CredentialsCache)
	if !ok || last == nil || !last.CanExpire {
		return false
	}
	cache.Invalidate()
	return true
}

// credentialsError says why there are no credentials. Its text consists of
// parts that are known to contain no secrets. The text of the SDK quotes URLs
// and the output of a credential process.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	var (
		process *processcreds.ProviderError
		exit    *exec.ExitError
		api     smithy.APIError
		uerr    *url.Error
		perr    *fs.PathError
	)
	reason := "none found"
	switch {
	case errors.As(e.err, &process):
		reason = "credential_process gives none"
		if errors.As(e.err, &exit) {
			reason = "credential_process fails: " + exit.Error()
		}
	case errors.As(e.err, &api):
		reason = api.ErrorCode()
	case errors.As(e.err, &uerr):
		reason = uerr.Err.Error()
	case errors.As(e.err, &perr):
		reason = perr.Error()
	}
	return "get credentials from the aws credential chain: " + reason +
		" (AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID are not set)"
}

// classify returns e in the class that its cause has.
func (e *credentialsError) classify() error {
	var resp *smithyhttp.ResponseError
	var uerr *url.Error
	status := 0
	if errors.As(e.err, &resp) {
		status = resp.HTTPStatusCode()
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == 0 && errors.As(e.err, &uerr) {
		return errors.New(e.Error()) // the service that hands them out may come back
	}
	return fmt.Errorf("%s (%w)", e, fs.ErrPermission)
}

// configProblem says what is wrong with the AWS configuration, without quoting
// it.
func configProblem(err error) string {
	var perr *fs.PathError
	var profile config.SharedConfigProfileNotExistError
	switch {
	case errors.As(err, &profile):
		return "profile " + profile.Profile + " does not exist"
	case errors.As(err, &perr):
		return perr.Error()
	case os.Getenv("AWS_CA_BUNDLE") != "":
		return "a setting is malformed, perhaps the file of AWS_CA_BUNDLE"
	}
	return "a setting or a file is malformed"
}
