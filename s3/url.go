package s3

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/booltext"
	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

func init() { replica.Register("s3", NewReplicaClientFromURL) }

// NewReplicaClientFromURL makes a client from the parts of a URL like
//
//	s3://bucket/path?region=eu-west-1
//	s3://bucket.fra1.digitaloceanspaces.com/path
//	s3://bucket/path?endpoint=https://minio.example.com
//	s3:arn:aws:s3:eu-west-1:123456789012:accesspoint/name/path
//
// Parameters are named like the fields of [ReplicaClient], with hyphens between
// the words or without, in upper or lower case: endpoint, region, force-path-style,
// skip-verify, sign-payload, require-content-md5, put-object-content-md5,
// conditional-put, part-size, concurrency, metadata-concurrency, storage-class,
// sse-customer-algorithm, sse-customer-key, sse-customer-key-md5 and
// sse-kms-key-id. The parameter sign-accept-encoding of upstream is accepted and
// has no effect, because no service needs that header to be signed. Booleans are
// true or false, yes or no, on or off, 1 or 0. Any other parameter, and a user in
// the URL, is an error.
// Errors name parameters and show no values.
func NewReplicaClientFromURL(_, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	if userinfo != nil {
		return nil, invalidURL("url has a user: credentials come from the environment, like AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	c := NewReplicaClient()
	arn := urlPath // a URL without slashes has it in the path
	if host != "" {
		arn = host + "/" + strings.TrimPrefix(urlPath, "/")
	}
	if isARN(arn) {
		var ok bool
		if c.Bucket, urlPath, ok = cutARN(arn); !ok {
			return nil, invalidURL("url has an ARN that is not of an access point")
		}
	} else {
		at, err := parseHost(host)
		if err != nil {
			return nil, invalidURL(err.Error())
		}
		c.Bucket, c.Region, c.Endpoint = at.bucket, at.region, at.endpoint
	}
	c.Path = strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if err := c.setParameters(query); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	if _, err := newEndpoint(c.Endpoint); err != nil {
		return nil, err
	}
	return c, nil
}

func invalidURL(text string) error { return clientio.Invalid("%s", text) }

// accessPoints matches the ARN of an access point at the beginning of a text:
// arn:partition:service:region:account:accesspoint/name, where the service of a
// multi-region access point has no region, and Outposts and Object Lambda are
// services of their own.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
var accessPoints = regexp.MustCompile(`^arn:[a-z0-9-]+:s3[a-z0-9-]*:[a-z0-9-]*:[0-9]{1,12}:(outpost[:/][a-zA-Z0-9-]+[:/])?accesspoint/[a-zA-Z0-9.-]+`)

// cutARN cuts a text after the ARN of an access point.
func cutARN(s string) (arn, rest string, ok bool) {
	arn = accessPoints.FindString(s)
	rest, isWhole := strings.CutPrefix(s[len(arn):], "/")
	return arn, rest, arn != "" && (isWhole || rest == "")
}

// setParameters sets the fields that the query of a URL names.
func (c *ReplicaClient) setParameters(query url.Values) error {
	parameters := map[string]func(string) error{
		"endpoint":               text(&c.Endpoint),
		"region":                 text(&c.Region),
		"force-path-style":       boolean(&c.ForcePathStyle),
		"skip-verify":            boolean(&c.SkipVerify),
		"sign-payload":           boolean(&c.SignPayload),
		"require-content-md5":    boolean(&c.RequireContentMD5),
		"put-object-content-md5": boolean(&c.PutObjectContentMD5),
		"sign-accept-encoding":   boolean(new(bool)), // upstream signs Accept-Encoding unless this is false; this client never does
		"conditional-put": func(value string) error {
			var can bool
			err := boolean(&can)(value)
			c.NoConditionalPut = !can
			return err
		},
		"part-size":              size(&c.PartSize),
		"concurrency":            number(&c.Concurrency),
		"metadata-concurrency":   number(&c.MetadataConcurrency),
		"storage-class":          text(&c.StorageClass),
		"sse-customer-algorithm": text(&c.SSECustomerAlgorithm),
		"sse-customer-key":       text(&c.SSECustomerKey),
		"sse-customer-key-md5":   text(&c.SSECustomerKeyMD5),
		"sse-kms-key-id":         text(&c.SSEKMSKeyID),
	}
	byName := make(map[string]string, len(parameters))
	for name := range parameters {
		byName[spelled(name)] = name
	}
	seen := map[string]bool{}
	for _, given := range sortedKeys(query) {
		name, ok := byName[spelled(given)]
		switch values := query[given]; {
		case !ok:
			return clientio.UnknownParameter(given, slices.Sorted(maps.Keys(parameters)))
		case len(values) != 1 || seen[name]:
			return clientio.Invalid("parameter %s is there more than once", name)
		default:
			if err := parameters[name](values[0]); err != nil {
				return clientio.Invalid("parameter %s %w", name, err)
			}
		}
		seen[name] = true
	}
	if seen["endpoint"] && !seen["force-path-style"] {
		c.ForcePathStyle = true // as upstream does
	}
	c.virtualHost = seen["force-path-style"] && !c.ForcePathStyle
	return nil
}

func text(field *string) func(string) error {
	return func(value string) error {
		if value == "" {
			return errors.New("is empty")
		}
		*field = value
		return nil
	}
}

func boolean(field *bool) func(string) error {
	return func(value string) error {
		is, err := booltext.Parse(value)
		if err != nil {
			return errors.New("is neither true nor false")
		}
		*field = is
		return nil
	}
}

// number sets a field to a number from 1 to maxConcurrency.
func number(field *int) func(string) error {
	return func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n > maxConcurrency {
			return fmt.Errorf("is no positive number up to %d", maxConcurrency)
		}
		*field = n
		return nil
	}
}

// size sets a field to a number of bytes.
func size(field *int64) func(string) error {
	return func(value string) error {
		n, err := bytesize.Parse(value)
		if err != nil || n <= 0 {
			return errors.New("is no size, like 16777216 or 16MiB")
		}
		*field = n
		return nil
	}
}

func sortedKeys(query url.Values) []string {
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// spelled returns what the spellings of a parameter have in common: upstream's
// with hyphens, its other one in camel case, and that of the field of the client.
func spelled(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "")) }
