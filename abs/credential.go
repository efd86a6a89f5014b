package abs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// The environment variables are those of upstream.
const (
	envAccountKey = "LITESTREAM_AZURE_ACCOUNT_KEY"
	envSASToken   = "LITESTREAM_AZURE_SAS_TOKEN"
)

// credential is a shared key, a shared access signature or a source of tokens.
type credential struct {
	source string // for errors: the place where it comes from

	key   *azblob.SharedKeyCredential
	sas   string
	valid timeRange // of sas
	token azcore.TokenCredential
}

// timeRange is the time in which a shared access signature is valid. Zero times
// are open ends.
type timeRange struct{ from, to time.Time }

// credentialOf returns the credential of a client.
func credentialOf(c *ReplicaClient, options azcore.ClientOptions) (credential, error) {
	switch {
	case c.Credential != nil:
		source := "token of the field Credential"
		return credential{source: source, token: tokenSource{c.Credential, source}}, nil
	case c.SASToken != "":
		return newSAS("shared access signature of the field SASToken", c.SASToken)
	case c.AccountKey != "":
		return newSharedKey("account key of the field AccountKey", c.AccountName, c.AccountKey)
	case os.Getenv(envSASToken) != "":
		return newSAS("shared access signature from "+envSASToken, os.Getenv(envSASToken))
	case os.Getenv(envAccountKey) != "":
		return newSharedKey("account key from "+envAccountKey, c.AccountName, os.Getenv(envAccountKey))
	}
	source := "token of the Azure default credential chain"
	chain, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
	if err != nil {
		// The only thing that it refuses is the value of this variable, and its
		// error shows the value.
		return credential{}, clientio.Invalid("azure default credential chain: AZURE_TOKEN_CREDENTIALS has a value that it does not know")
	}
	return credential{source: source, token: tokenSource{chain, source}}, nil
}

func newSharedKey(source, account, key string) (credential, error) {
	if account == "" {
		return credential{}, clientio.Invalid("%s: no storage account", source)
	}
	shared, err := azblob.NewSharedKeyCredential(account, strings.TrimSpace(key))
	if err != nil {
		return credential{}, clientio.Invalid("%s is not base64", source)
	}
	return credential{source: source, key: shared}, nil
}

func newSAS(source, token string) (credential, error) {
	token = strings.TrimPrefix(strings.TrimSpace(token), "?")
	query, err := url.ParseQuery(token)
	if err != nil || query.Get("sig") == "" {
		return credential{}, clientio.Invalid("%s is not a query string with a signature", source)
	}
	valid := timeRange{sasTime(query.Get("st")), sasTime(query.Get("se"))}
	return credential{source: source, sas: query.Encode(), valid: valid}, nil
}

// sasTime parses a time of a shared access signature. It returns zero for a
// format that it does not know, because the service decides.
func sasTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// open makes a client of a container.
func (c credential) open(containerURL, scheme string, options *container.ClientOptions) (client *container.Client, err error) {
	switch {
	case c.key != nil:
		client, err = container.NewClientWithSharedKeyCredential(containerURL, c.key, options)
	case c.sas != "":
		client, err = container.NewClientWithNoCredential(containerURL+"?"+c.sas, options)
	case scheme != "https":
		return nil, clientio.Invalid("%s: it is only sent to an https endpoint", c.source)
	default:
		client, err = container.NewClient(containerURL, c.token, options)
	}
	if err != nil {
		return nil, fmt.Errorf("make client of container: %w", clientio.WithoutURL(err))
	}
	return client, nil
}

// tokenTimeout limits a request for a token, and with it the time that other
// callers wait for it.
const tokenTimeout = 30 * time.Second

// tokenSource returns the tokens of another source, and removes secrets from
// its errors.
type tokenSource struct {
	from   azcore.TokenCredential
	source string
}

// GetToken implements azcore.TokenCredential.
func (s tokenSource) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	tokenCtx, cancel := context.WithTimeout(asking(ctx, requestToken), tokenTimeout)
	defer cancel()
	token, err := s.from.GetToken(tokenCtx, options)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("get %s: %w", s.source, clientio.WithCause(tokenCtx, tokenError(err)))
	}
	return token, nil
}

// boundToken requests tokens with a context of its own.
type boundToken struct {
	azcore.TokenCredential
	ctx context.Context
}

// GetToken implements azcore.TokenCredential.
func (b boundToken) GetToken(_ context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return b.TokenCredential.GetToken(b.ctx, options)
}

// entraCode matches the code of an error of Microsoft Entra ID.
var entraCode = regexp.MustCompile(`AADSTS[0-9]{1,9}`)

// tokenError returns the reason why there is no token, without the requests and
// answers in azidentity's errors.
func tokenError(err error) error {
	var failed *azidentity.AuthenticationFailedError
	var answer *azcore.ResponseError
	var final interface{ NonRetriable() }
	switch {
	case errors.As(err, &failed):
		code := cmp.Or(entraCode.FindString(err.Error()), "authentication failed")
		if failed.RawResponse == nil {
			return fmt.Errorf("%s", code) // possibly because there is no network
		}
		return tokenStatusError(failed.RawResponse.StatusCode, code)
	case errors.As(err, &answer):
		return tokenStatusError(answer.StatusCode, cmp.Or(cleanCode(answer.ErrorCode), "authentication failed"))
	case errors.As(err, &final):
		// No source of the chain is set up on this machine.
		return fmt.Errorf("no credential available: %w", fs.ErrPermission)
	}
	return clientio.WithoutURL(err)
}

func tokenStatusError(status int, text string) error {
	if status == http.StatusBadRequest { // the status of Entra ID for a wrong secret
		return fmt.Errorf("http status %d: %s: %w", status, text, fs.ErrPermission)
	}
	return clientio.StatusError(status, text)
}
