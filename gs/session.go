package gs

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"
	raw "google.golang.org/api/storage/v1"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// connectTimeout is longer than the search for a metadata server takes.
	connectTimeout = 15 * time.Second

	defaultPartSize = 8 << 20
	maxPartSize     = math.MaxInt32

	emulatorEnv = "STORAGE_EMULATOR_HOST"

	// apiPath is the path of the JSON API.
	apiPath = "/storage/v1/"
)

// session is a client whose fields were checked and whose credentials were
// found. It does not change.
type session struct {
	bucketName string
	layout     clientio.Layout
	partSize   int

	http    *http.Client // adds credentials
	bucket  *storage.BucketHandle
	objects *raw.ObjectsService // of the same service; it shows more of a download than bucket
	source  string              // where the credentials came from

	release     func()
	bucketFound atomic.Bool // a request has shown that the bucket exists
}

func newSession(ctx context.Context, c *ReplicaClient) (_ *session, err error) {
	if c.Bucket == "" {
		return nil, clientio.Invalid("no bucket is set")
	}
	partSize := c.PartSize
	if partSize == 0 {
		partSize = defaultPartSize
	}
	if partSize < 0 || partSize > maxPartSize {
		return nil, clientio.Invalid("part size of %d bytes", partSize)
	}
	endpoint, anonymous, err := resolveEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}

	base := c.Transport
	release := func() {}
	if base == nil {
		base, release = clientio.SharedTransport(nil)
		defer func() {
			if err != nil {
				release()
			}
		}()
	}
	source := "no credentials, which are only used over https"
	var creds *tokenSource
	if !anonymous {
		if creds, err = findCredentials(ctx, base); err != nil {
			return nil, err
		}
		source = creds.source
	}
	hc := &http.Client{
		Transport:     &transport{base: clientio.Checked(base, wanted), creds: creds},
		CheckRedirect: noRedirect,
	}

	// The transport adds credentials, so the libraries do not have to look for
	// any.
	opts := []option.ClientOption{option.WithHTTPClient(hc), option.WithoutAuthentication()}
	if endpoint != "" {
		opts = append(opts, option.WithEndpoint(endpoint))
	}
	client, err := storage.NewClient(ctx, opts...)
	if err != nil {
		return nil, clientio.Permanent(fmt.Errorf("make storage client: %w", clientio.WithoutURL(err)))
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever))
	service, err := raw.NewService(ctx, opts...)
	if err != nil {
		return nil, clientio.Permanent(fmt.Errorf("make storage service: %w", clientio.WithoutURL(err)))
	}
	return &session{
		bucketName: c.Bucket,
		layout:     clientio.NewLayout(c.Path),
		partSize:   int(partSize),
		http:       hc,
		bucket:     client.Bucket(c.Bucket),
		objects:    service.Objects,
		source:     source,
		release:    release,
	}, nil
}

// resolveEndpoint returns the URL of the JSON API, empty for Google's, and
// whether requests go there without credentials.
func resolveEndpoint(endpoint string) (apiURL string, anonymous bool, err error) {
	name := "endpoint"
	if endpoint == "" {
		if endpoint = os.Getenv(emulatorEnv); endpoint == "" {
			return "", false, nil
		}
		name, anonymous = emulatorEnv, true
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		// The error of the parser quotes the URL, which may contain a password.
		return "", false, clientio.Invalid("%s is not a url", name)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return "", false, clientio.Invalid("%s needs a scheme and a host, like https://example.com", name)
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return "", false, clientio.Invalid("%s has more than a scheme, a host and a path", name)
	}
	path := u.Path
	if anonymous || strings.Trim(path, "/") == "" {
		path = apiPath
	}
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return u.Scheme + "://" + u.Host + path, anonymous || u.Scheme == "http", nil
}
