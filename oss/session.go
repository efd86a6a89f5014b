package oss

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"
	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/credentials"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	defaultPartSize    = 8 << 20
	minPartSize        = 100 << 10
	maxPartSize        = 5 << 30
	defaultConcurrency = 3
	maxConcurrency     = 1000
)

// session is a client whose fields were checked. It does not change, except for
// what it learns about the bucket. It is safe for concurrent use.
type session struct {
	api     *oss.Client
	creds   *keys
	bucket  string
	layout  clientio.Layout
	release func() // nil if the transport is the caller's

	partSize            int
	concurrency         int
	metadataConcurrency int

	unversioned atomic.Bool // the bucket has no versioning, as far as is known
}

var (
	bucketNames = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	regionNames = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// validate checks the fields, as far as that is possible without the environment.
func (c *ReplicaClient) validate() error {
	switch {
	case c.Bucket == "":
		return clientio.Invalid("no bucket is set")
	case !bucketNames.MatchString(c.Bucket):
		return clientio.Invalid("bucket name has characters or a length that no bucket name has")
	case strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/"):
		return clientio.Invalid("path begins or ends with a slash")
	case c.Region != "" && !regionNames.MatchString(c.Region):
		return clientio.Invalid("region is not like eu-central-1")
	case c.PartSize != 0 && (c.PartSize < minPartSize || c.PartSize > maxPartSize):
		return clientio.Invalid("part size is not between 100 KiB and 5 GiB")
	case c.Concurrency < 0 || c.MetadataConcurrency < 0 || c.Concurrency > maxConcurrency || c.MetadataConcurrency > maxConcurrency:
		return clientio.Invalid("concurrency is not between 0 and %d", maxConcurrency)
	case (c.AccessKeyID == "") != (c.AccessKeySecret == ""):
		return clientio.Invalid("one of AccessKeyID and AccessKeySecret is set without the other")
	case c.Endpoint != "" && c.Internal:
		return clientio.Invalid("Internal is set along with an endpoint")
	}
	_, err := parseEndpoint(c.Endpoint)
	return err
}

// parseEndpoint returns the URL of an endpoint, nil for an empty one. Its errors do
// not show the endpoint, which may contain a password.
func parseEndpoint(endpoint string) (*url.URL, error) {
	if endpoint == "" {
		return nil, nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return nil, clientio.Invalid("endpoint is not a url")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, clientio.Invalid("endpoint needs a scheme and a host, like https://example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, clientio.Invalid("endpoint has more than a scheme and a host")
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

func newSession(c *ReplicaClient) (_ *session, err error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &session{
		creds:               newKeys(c),
		bucket:              c.Bucket,
		layout:              clientio.NewHexLayout(c.Path),
		partSize:            int(cmp.Or(c.PartSize, defaultPartSize)),
		concurrency:         cmp.Or(c.Concurrency, defaultConcurrency),
		metadataConcurrency: cmp.Or(c.MetadataConcurrency, DefaultMetadataConcurrency),
	}
	transport := c.Transport
	if transport == nil {
		transport, s.release = clientio.SharedTransport(nil)
		defer func() {
			if err != nil {
				s.release()
			}
		}()
	}
	cfg := oss.LoadDefaultConfig().
		WithRegion(cmp.Or(c.Region, DefaultRegion)).
		WithCredentialsProvider(s.creds).
		WithRetryMaxAttempts(1).
		WithUseInternalEndpoint(c.Internal).
		WithLogLevel(oss.LogOff).
		WithHttpClient(&http.Client{
			Transport:     clientio.Checked(transport, wanted),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		})
	if u, err := parseEndpoint(c.Endpoint); err != nil {
		return nil, err
	} else if u != nil {
		_, err := netip.ParseAddr(u.Hostname())
		cfg = cfg.WithEndpoint(u.String()).WithUsePathStyle(err == nil)
	}
	s.api = oss.NewClient(cfg)
	return s, nil
}

// keys are the credentials of a client. They are safe for concurrent use.
type keys struct {
	fixed  *credentials.Credentials // nil: those of the environment
	source string
	last   atomic.Pointer[credentials.Credentials]
}

func newKeys(c *ReplicaClient) *keys {
	if c.AccessKeyID == "" {
		return &keys{source: "OSS_ACCESS_KEY_ID"}
	}
	fixed := &credentials.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret, SecurityToken: c.SecurityToken}
	return &keys{fixed: fixed, source: "the client's AccessKeyID"}
}

var errNoKeys = errors.New("OSS_ACCESS_KEY_ID or OSS_ACCESS_KEY_SECRET is not set")

// GetCredentials implements credentials.CredentialsProvider.
func (k *keys) GetCredentials(context.Context) (credentials.Credentials, error) {
	got := k.fixed
	if got == nil {
		got = &credentials.Credentials{
			AccessKeyID: os.Getenv("OSS_ACCESS_KEY_ID"), AccessKeySecret: os.Getenv("OSS_ACCESS_KEY_SECRET"), SecurityToken: os.Getenv("OSS_SESSION_TOKEN"),
		}
	}
	if got.AccessKeyID == "" || got.AccessKeySecret == "" {
		return credentials.Credentials{}, errNoKeys
	}
	k.last.Store(got)
	return *got, nil
}

// redact returns a message of the server as one short line without credentials.
func (k *keys) redact(message string) string {
	const limit = 300
	if last := k.last.Load(); last != nil {
		for _, secret := range []string{last.SecurityToken, last.AccessKeySecret, last.AccessKeyID} {
			if secret != "" {
				message = strings.ReplaceAll(message, secret, "[redacted]")
			}
		}
	}
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > limit {
		message = strings.ToValidUTF8(message[:limit], "") + "..."
	}
	return message
}

// ReplicaIdentity implements replica.Identifier. The identity consists of bucket
// and path, and of the endpoint if one is set. Names of buckets are unique in all
// regions.
func (c *ReplicaClient) ReplicaIdentity() string {
	id := "oss://" + c.Bucket + "/" + c.Path
	if u, err := parseEndpoint(c.Endpoint); err == nil && u != nil {
		id += fmt.Sprintf("?endpoint=%s", u.Host)
	}
	return id
}
