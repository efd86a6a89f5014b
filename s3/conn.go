package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	defaultRegion              = "us-east-1"
	defaultPartSize            = 8 << 20
	minPartSize                = 5 << 20
	defaultConcurrency         = 5
	defaultMetadataConcurrency = 50
	maxConcurrency             = 1000
)

// conn is a client that is ready for requests. It does not change, except for
// what it learns about the server. It is safe for concurrent use.
type conn struct {
	api     *s3.Client
	creds   *credentials
	bucket  string
	layout  clientio.Layout
	release func() // nil if the transport is the caller's
	log     *slog.Logger

	partSize            int
	concurrency         int
	metadataConcurrency int
	maxPartBackoff      time.Duration // longest delay between attempts at a part
	storageClass        string
	sse                 encryption

	directory        bool // the bucket is a directory bucket
	noConditionalPut bool
	warnNoCreate     sync.Once
	singleDeletes    atomic.Bool // the server knows no batches of deletions
}

// bucketNames matches the bucket names of AWS, including old ones, and some
// more.
var bucketNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

func (c *ReplicaClient) newConn(ctx context.Context) (_ *conn, err error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	ep, err := newEndpoint(cmp.Or(c.Endpoint, os.Getenv("LITESTREAM_S3_ENDPOINT")))
	if err != nil {
		return nil, err
	}
	static, source, err := c.staticCredentials()
	if err != nil {
		return nil, err
	}
	log := c.logger()
	load := []func(*config.LoadOptions) error{
		config.WithLogger(sdkLogger(log)), config.WithAPIOptions([]func(*middleware.Stack) error{limitAnswers}),
	}
	if static != nil {
		load = append(load, config.WithCredentialsProvider(static))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		// The error may quote a line of a file with keys.
		return nil, clientio.WithCause(ctx, clientio.Permanent(errors.New("load aws configuration: "+configProblem(err))))
	}
	cfg.APIOptions = nil // limitAnswers is only for the services that hand out credentials
	if ep.url == "" {
		if base := aws.ToString(s3.NewFromConfig(cfg).Options().BaseEndpoint); base != "" {
			if ep, err = newEndpoint(base); err != nil {
				return nil, err
			}
		}
	}
	sse, err := c.encryption(ep)
	if err != nil {
		return nil, err
	}
	directory := isDirectory(c.Bucket)
	if directory {
		// The answer does not come from the usual service.
		ep.service = directoryBuckets
	}
	creds := &credentials{provider: cfg.Credentials, source: source, secrets: []string{c.SSECustomerKey}}
	svc := ep.service
	made := &conn{
		creds:               creds,
		bucket:              c.Bucket,
		layout:              clientio.NewHexLayout(c.Path),
		log:                 log,
		partSize:            cmp.Or(int(c.PartSize), svc.partSize, defaultPartSize),
		concurrency:         cmp.Or(c.Concurrency, svc.concurrency, defaultConcurrency),
		metadataConcurrency: cmp.Or(c.MetadataConcurrency, defaultMetadataConcurrency),
		maxPartBackoff:      retry.DefaultMaxBackoff,
		storageClass:        c.StorageClass,
		directory:           directory,
		sse:                 sse,
		noConditionalPut:    c.NoConditionalPut || svc.noConditionalPut,
	}
	made.singleDeletes.Store(svc.singleDeletes)

	transport := c.Transport
	if transport == nil {
		transport, made.release = clientio.SharedTransport(tlsConfig(cfg, c.SkipVerify))
		defer func() {
			if err != nil {
				made.release()
			}
		}()
	}
	region := cmp.Or(c.Region, arnRegion(c.Bucket), ep.region)
	if directory {
		if region = cmp.Or(region, cfg.Region); region == "" {
			return nil, clientio.Invalid("region is not set, and nobody tells that of a directory bucket")
		}
	}
	made.api = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.Credentials = creds
		o.HTTPClient = roundTripper{clientio.Checked(transport, wanted)}
		o.Retryer, o.RetryMaxAttempts = skewRetryer{}, 0
		o.Region = cmp.Or(region, cfg.Region, defaultRegion)
		o.UseARNRegion = true
		o.UsePathStyle = c.ForcePathStyle || ep.pathStyle && !c.virtualHost
		if ep.url != "" {
			o.BaseEndpoint = aws.String(ep.url)
		}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(o.APIOptions, c.middleware(svc, ep.plain())...)
	})
	if directory {
		made.rememberSessions()
	}
	if region == "" && !isARN(c.Bucket) {
		// An endpoint always has a region.
		if region, err = made.findRegion(ctx); err != nil {
			return nil, fmt.Errorf("find region of bucket: %w", err)
		}
		opts := made.api.Options()
		opts.Region = region
		made.api = s3.New(opts)
	}
	return made, nil
}

// validate checks the fields, as far as that is possible without the
// environment.
func (c *ReplicaClient) validate() error {
	invalid := func(what string) error { return clientio.Invalid("%s", what) }
	switch {
	case c.Bucket == "":
		return invalid("bucket is not set")
	case isARN(c.Bucket) && accessPoints.FindString(c.Bucket) != c.Bucket:
		return invalid("bucket is an ARN that is not of an access point")
	case !isARN(c.Bucket) && !bucketNames.MatchString(c.Bucket):
		return invalid("bucket name has characters or a length that no bucket name has")
	case isDirectory(c.Bucket) && (c.SSECustomerKey != "" || c.SSECustomerAlgorithm != "" || c.SSECustomerKeyMD5 != ""):
		return invalid("a directory bucket takes no keys of customers")
	case isDirectory(c.Bucket) && c.PutObjectContentMD5:
		return invalid("a directory bucket takes no MD5")
	case isDirectory(c.Bucket) && c.StorageClass != "" && c.StorageClass != string(types.StorageClassExpressOnezone):
		return invalid("a directory bucket has no other storage class than " + string(types.StorageClassExpressOnezone))
	case strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/"):
		return invalid("path begins or ends with a slash")
	case c.PartSize != 0 && c.PartSize < minPartSize:
		return invalid("part size is below 5 MiB")
	case c.PartSize > 5<<30:
		return invalid("part size is above 5 GiB")
	case c.Concurrency < 0 || c.MetadataConcurrency < 0:
		return invalid("concurrency is negative")
	case c.Concurrency > maxConcurrency || c.MetadataConcurrency > maxConcurrency:
		return invalid(fmt.Sprintf("concurrency is above %d", maxConcurrency))
	case c.SkipVerify && c.Transport != nil:
		return invalid("SkipVerify is set along with Transport, which verifies or does not")
	}
	return nil
}

// tlsConfig returns the configuration of the SDK's transport, including
// AWS_CA_BUNDLE.
func tlsConfig(cfg aws.Config, skipVerify bool) *tls.Config {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		if sdk := client.GetTransport().TLSClientConfig; sdk != nil {
			out = sdk.Clone()
		}
	}
	out.InsecureSkipVerify = skipVerify
	return out
}

// findRegion asks AWS for the region of the bucket. It needs no permission,
// because a refusal contains the region, too.
func (c *conn) findRegion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	out, err := c.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &c.bucket}, func(o *s3.Options) {
		o.Credentials = nil // anonymous
	})
	if err == nil && aws.ToString(out.BucketRegion) != "" {
		return *out.BucketRegion, nil
	}
	if region := bucketRegion(err); region != "" {
		return region, nil
	}
	switch status := errorStatus(err); {
	case err != nil && (status == 0 || status >= 500 || status == http.StatusTooManyRequests):
		return "", c.failure(ctx, err)
	case status == http.StatusNotFound:
		return "", clientio.Permanent(errors.New("http status 404: bucket does not exist"))
	}
	return "", clientio.Permanent(errors.New("server does not tell: set the region"))
}

// roundTripper is a transport with the interface of the SDK. It follows no
// redirect, because the key of SSE-C would be sent to the new address.
type roundTripper struct{ http.RoundTripper }

func (r roundTripper) Do(req *http.Request) (*http.Response, error) { return r.RoundTrip(req) }

// sdkLogger passes on the warnings of the SDK.
func sdkLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(class logging.Classification, format string, v ...any) {
		if class == logging.Warn {
			log.Warn("aws sdk", "message", fmt.Sprintf(format, v...))
		}
	})
}

func isARN(bucket string) bool { return strings.HasPrefix(bucket, "arn:") }

// arnRegion returns the region in the ARN of an access point, which begins with
// arn:partition:service:region.
func arnRegion(bucket string) string {
	if parts := strings.SplitN(bucket, ":", 5); len(parts) == 5 && isARN(bucket) {
		return parts[3]
	}
	return ""
}
