package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
	"github.com/ltxvfs/litestream/s3"
)

// child runs the process that TestKill kills, and does not return in that
// process. It is nil without cgo, where there is no TestKill.
var child func()

func TestMain(m *testing.M) {
	if child != nil {
		child()
	}
	goleak.VerifyTestMain(m)
}

// Credentials of the test server, and of all others here.
const (
	testKey    = "testkey"
	testSecret = "testsecret"
)

// noEnvironment takes away what the machine has set for AWS and S3.
func noEnvironment(t testing.TB) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY", "LITESTREAM_SESSION_TOKEN", "LITESTREAM_S3_ENDPOINT",
	} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("AWS_CONFIG_FILE", dir+"/config")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", dir+"/credentials")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// server is a real server and the bucket of this process on it.
type server struct {
	endpoint, addr string
	key, secret    string
	bucket         string
	transport      http.RoundTripper
}

var (
	bucketOnce sync.Once
	bucketErr  error
	bucketName = fmt.Sprintf("litestream-%d", time.Now().UnixNano())
	replicas   atomic.Int64
)

// testServer returns the server that the environment names, or skips the test.
func testServer(t testing.TB) *server {
	t.Helper()
	u := storetest.Server(t, "LITESTREAM_TEST_S3")
	s := &server{endpoint: u.String(), addr: u.Host, key: testKey, secret: testSecret, bucket: bucketName}
	bucketOnce.Do(func() { bucketErr = s.createBucket(context.Background()) })
	if bucketErr != nil {
		t.Fatal(bucketErr)
	}
	return s
}

// sdk returns the AWS SDK's own client of the server.
func (s *server) sdk() *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &s.endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.key, s.secret, ""),
		HTTPClient:  &http.Client{Transport: closing{s.transport}},
	})
}

// closing leaves no connections behind.
type closing struct{ inner http.RoundTripper }

func (c closing) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Close = true
	if c.inner != nil {
		return c.inner.RoundTrip(req)
	}
	return http.DefaultTransport.RoundTrip(req)
}

func (s *server) createBucket(ctx context.Context) error {
	_, err := s.sdk().CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &s.bucket})
	return err
}

// client returns a client of a replica on the server.
func (s *server) client(t testing.TB, path string, transport http.RoundTripper) *s3.ReplicaClient {
	c := s3.NewReplicaClient()
	c.AccessKeyID, c.SecretAccessKey = s.key, s.secret
	c.Endpoint, c.Bucket, c.Path = s.endpoint, s.bucket, path
	c.Transport = transport
	c.Logger = testlog.New(t, nil)
	t.Cleanup(func() { c.Close() })
	return c
}

// newPath returns a path that no replica has had.
func newPath() string { return fmt.Sprintf("replicas/%d", replicas.Add(1)) }

func (s *server) newClient(t testing.TB) *s3.ReplicaClient { return s.client(t, newPath(), nil) }

// put stores an object as it is.
func (s *server) put(t testing.TB, key string, body []byte) {
	t.Helper()
	if _, err := s.sdk().PutObject(t.Context(), &sdk.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
}

// head returns the metadata of an object.
func (s *server) head(t testing.TB, key string) *sdk.HeadObjectOutput {
	t.Helper()
	out, err := s.sdk().HeadObject(t.Context(), &sdk.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	replicatest.Run(t, func(t *testing.T) replica.Client { return s.newClient(t) }, s.properties())
}

// properties are those of servers that do everything.
func (s *server) properties() replicatest.Properties {
	return replicatest.Properties{
		LargeBody: 11 << 20, // two parts
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			s.put(t, fmt.Sprintf("%s/%04x/%s", c.(*s3.ReplicaClient).Path, level, name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			s.put(t, path.Join(c.(*s3.ReplicaClient).Path, name), body)
		},
		Peer: func(t *testing.T, _ replica.Client) replica.Client { return s.newClient(t) },
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			return s.client(t, c.(*s3.ReplicaClient).Path, nil)
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			return at(t, c.(*s3.ReplicaClient), below)
		},
	}
}

// at returns a client of a place below that of another client.
func at(t *testing.T, c *s3.ReplicaClient, below string) replica.Client {
	client, err := replica.NewFromURL("s3://" + c.Bucket + "/" + c.Path + below + "?endpoint=" + url.QueryEscape(c.Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	d := client.(*s3.ReplicaClient)
	d.AccessKeyID, d.SecretAccessKey, d.Region, d.Transport, d.Logger = c.AccessKeyID, c.SecretAccessKey, c.Region, c.Transport, c.Logger
	d.NoConditionalPut = c.NoConditionalPut
	t.Cleanup(func() { d.Close() })
	return d
}

// The suite with what a client does for servers that cannot create, nor
// delete in batches.
func TestConformance_FewFeatures(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	props := s.properties()
	props.NoCreate, props.ManyFiles, props.LargeBody, props.Peer = true, 40, -1, nil
	replicatest.Run(t, func(t *testing.T) replica.Client {
		c := s.newClient(t)
		c.NoConditionalPut = true
		c.Transport = noBatches{s.ownTransport(t)}
		return c
	}, props)
}

// noBatches answers batches of deletions as some servers do.
type noBatches struct{ http.RoundTripper }

func (n noBatches) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Has("delete") {
		return answer(req, http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented"), nil
	}
	return n.RoundTripper.RoundTrip(req)
}

func (s *server) ownTransport(t testing.TB) *http.Transport {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// answer is an error of an S3 server.
func answer(req *http.Request, status int, code, message string) *http.Response {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if code != "" && req.Method != http.MethodHead {
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
	resp := w.Result()
	resp.Request = req
	return resp
}

// file returns a valid LTX file of about size bytes.
func file(t testing.TB, txid ltx.TXID, size int) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{
		MinTXID: txid, MaxTXID: txid, Timestamp: time.UnixMilli(1_700_000_000_123), PageSize: 4096, Pages: max(size/4096, 1), Seed: uint64(txid),
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, c replica.Client, level int, txid ltx.TXID, body []byte) {
	t.Helper()
	if _, err := c.WriteLTXFile(t.Context(), level, txid, txid, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

func read(ctx context.Context, c replica.Client, level int, txid ltx.TXID, offset, size int64) ([]byte, error) {
	body, err := c.OpenLTXFile(ctx, level, txid, txid, offset, size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func list(ctx context.Context, c replica.Client, useMetadata bool) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, 0, 0, useMetadata)
	if err != nil {
		return nil, err
	}
	return ltx.SliceFileIterator(itr)
}
