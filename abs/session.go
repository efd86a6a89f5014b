package abs

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	maxPartSize = 4000 << 20 // the service's limit for one block
	maxParts    = 50_000     // the service's limit for the blocks of a blob

	maxConcurrency = 1000
)

// session is the connection of a ReplicaClient. It does not change, except for
// what it learns about the service.
type session struct {
	container *container.Client
	bucket    string
	layout    clientio.Layout
	cred      credential
	release   func() // nil if the transport is the user's

	partSize    int
	concurrency int
	pageSize    int32

	noStartFrom atomic.Bool // the service refused the parameter
	noBatch     atomic.Bool // the service refused batches, and took single requests
}

func newSession(c *ReplicaClient) (_ *session, err error) {
	s := &session{
		bucket:      c.Bucket,
		layout:      clientio.NewLayout(c.Path),
		partSize:    int(cmp.Or(c.PartSize, DefaultPartSize)),
		concurrency: cmp.Or(c.Concurrency, DefaultConcurrency),
		pageSize:    c.pageSize,
	}
	if err := checkBucket(c.Bucket); err != nil {
		return nil, err
	}
	if err := checkPartSize(c.PartSize); err != nil {
		return nil, err
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		return nil, clientio.Invalid("concurrency %d is not between 0 and %d", c.Concurrency, maxConcurrency)
	}
	endpoint, err := endpointOf(c)
	if err != nil {
		return nil, err
	}

	rt := c.Transport
	if rt == nil {
		rt, s.release = clientio.SharedTransport(nil)
		defer func() {
			if err != nil {
				s.release()
			}
		}()
	}
	options := azcore.ClientOptions{
		Retry:            policy.RetryOptions{MaxRetries: -1}, // callers retry
		Telemetry:        policy.TelemetryOptions{ApplicationID: "litestream"},
		Transport:        newTransporter(rt),
		PerCallPolicies:  []policy.Policy{startFromPolicy{}},
		PerRetryPolicies: []policy.Policy{bodyPolicy{}},
	}
	if s.cred, err = credentialOf(c, options); err != nil {
		return nil, err
	}
	containerURL := runtime.JoinPaths(endpoint.String(), c.Bucket)
	s.container, err = s.cred.open(containerURL, endpoint.Scheme, &container.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// endpointOf returns the URL of the account.
func endpointOf(c *ReplicaClient) (*url.URL, error) {
	if c.Endpoint != "" {
		return parseEndpoint(c.Endpoint)
	}
	if c.AccountName == "" {
		return nil, clientio.Invalid("no storage account and no endpoint")
	}
	if !accountName.MatchString(c.AccountName) {
		return nil, clientio.Invalid("storage account %q is not 3 to 24 lower-case letters and digits", c.AccountName)
	}
	return &url.URL{Scheme: "https", Host: c.AccountName + ".blob.core.windows.net"}, nil
}

// parseEndpoint checks an endpoint. Its errors do not show the endpoint, which
// may contain a token.
func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return nil, clientio.Invalid("endpoint is not a url")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, clientio.Invalid("endpoint is not a url of http or https with a host")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, clientio.Invalid("endpoint has more than a host and a path (a shared access signature goes to SASToken)")
	}
	return u, nil
}

var (
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

	// The rule of the service, without its two containers with a dollar sign.
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
)

// checkBucket checks the name of a container, which becomes part of a URL.
func checkBucket(bucket string) error {
	switch {
	case bucket == "":
		return clientio.Invalid("no container")
	case len(bucket) > 63 || !containerName.MatchString(bucket):
		return clientio.Invalid("container %q is not 3 to 63 lower-case letters, digits and single hyphens", bucket)
	}
	return nil
}

func checkPartSize(size int64) error {
	if size < 0 || size > maxPartSize {
		return clientio.Invalid("part size %d is not between 0 and %d", size, maxPartSize)
	}
	return nil
}

// transporter sends requests for the SDK. It follows no redirects, which could
// take a credential to another address, and its errors contain no URLs.
type transporter struct{ http.RoundTripper }

// newTransporter returns a transporter for the requests for blobs and for
// tokens. It sends them with base.
func newTransporter(base http.RoundTripper) transporter {
	return transporter{clientio.Checked(base, wanted)}
}

// Do implements policy.Transporter.
func (t transporter) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, clientio.WithoutURL(err)
	}
	return resp, nil
}
