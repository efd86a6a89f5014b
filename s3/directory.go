package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// Directory buckets are those of S3 Express One Zone. They differ from other
// buckets:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-differences.html
//
//   - A listing has no order and begins nowhere else than at its begin. Its prefix
//     ends in a slash.
//   - An ETag is no MD5, and a Content-MD5 is refused.
//   - Requests are signed with the credentials of a session, which the SDK makes
//     and renews.
//   - Nothing tells the region of a bucket.

// directoryBuckets is how they differ from AWS otherwise.
var directoryBuckets = service{name: "S3 Express", noContentMD5: true}

// isDirectory reports whether a name is that of a directory bucket, or of an access
// point of one.
func isDirectory(bucket string) bool {
	return strings.HasSuffix(bucket, "--x-s3") || strings.HasSuffix(bucket, "--xa-s3")
}

// nextOfDirectory implements clientio.Pager. The first call returns all objects.
func (l *listing) nextOfDirectory(ctx context.Context) ([]clientio.Object, bool, error) {
	wanted := l.prefix
	l.prefix = wanted[:strings.LastIndexByte(wanted, '/')+1]
	var all []clientio.Object
	for more := true; more; {
		var page []clientio.Object
		var err error
		if page, more, err = l.page(ctx); err != nil {
			return nil, false, err
		}
		for _, o := range page {
			if strings.HasPrefix(o.Key, wanted) && o.Key >= l.start {
				all = append(all, o)
			}
		}
	}
	slices.SortFunc(all, func(a, b clientio.Object) int { return cmp.Compare(a.Key, b.Key) })
	// A file that is replaced meanwhile may be on two pages.
	all = slices.CompactFunc(all, func(a, b clientio.Object) bool { return a.Key == b.Key })
	if !l.useMetadata {
		return all, false, nil
	}
	all, err := l.conn.withTimestamps(ctx, all)
	return all, false, err
}

// folderOfDirectory is Folder, which reads the listing to its end, because the first
// names may be on the last page.
func (c *conn) folderOfDirectory(ctx context.Context, prefix string) (names []string, more bool, err error) {
	for token := (*string)(nil); ; {
		page, next, err := c.folder(ctx, prefix, pageSize, token)
		if err != nil {
			return nil, false, err
		}
		names = append(names, page...)
		if next == nil {
			slices.Sort(names)
			return slices.Compact(names), false, nil
		}
		if *next == "" || token != nil && *token == *next {
			return nil, false, errors.New("server cuts the listing without saying how to go on")
		}
		token = next
	}
}

// pageSize is the greatest number of names in an answer.
const pageSize = 1000

// rememberSessions makes the credentials remember those of the last session, for
// errors.
func (c *conn) rememberSessions() {
	opts := c.api.Options()
	opts.ExpressCredentials = sessions{opts.ExpressCredentials, c.creds}
	opts.APIOptions = append(slices.Clone(opts.APIOptions), keepSessionError)
	c.api = s3.New(opts)
}

// sessions are the sessions of a directory bucket.
type sessions struct {
	sdk   s3.ExpressCredentialsProvider
	creds *credentials
}

// Retrieve implements s3.ExpressCredentialsProvider.
func (s sessions) Retrieve(ctx context.Context, bucket string) (aws.Credentials, error) {
	v, err := s.sdk.Retrieve(ctx, bucket)
	if err == nil {
		s.creds.session.Store(&v)
	} else if kept, ok := ctx.Value(sessionErrorKey{}).(*error); ok {
		*kept = err
	}
	return v, err
}

type sessionErrorKey struct{}

// keepSessionError makes an operation return the error of its session. The SDK
// returns only the text of that error.
func keepSessionError(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("LitestreamSession", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		kept := new(error)
		out, metadata, err := next.HandleInitialize(context.WithValue(ctx, sessionErrorKey{}, kept), in)
		if err != nil && *kept != nil {
			err = fmt.Errorf("create session: %w", *kept)
		}
		return out, metadata, err
	}), middleware.After)
}
