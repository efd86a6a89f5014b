package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// metadataTimestamp is the key of the metadata that holds the timestamp of the
// LTX header, in RFC 3339 with nanoseconds.
const metadataTimestamp = "litestream-timestamp"

// LTXFiles implements replica.Client. CreatedAt is the time at which the object
// was stored. With useMetadata it is the timestamp in the object's metadata, if
// there is one, which takes a request for each file.
//
// LTXFiles itself makes no request except those of Init. The iterator makes the
// others.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister, with one request for 1,000
// files.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// Layout implements clientio.Lister.
func (c *conn) Layout() clientio.Layout { return c.layout }

// Pager implements clientio.Lister.
func (c *conn) Pager(prefix, start string, useMetadata bool) clientio.Pager {
	l := &listing{conn: c, prefix: prefix, start: start, useMetadata: useMetadata}
	if c.directory {
		return l.nextOfDirectory
	}
	return l.next
}

// listing fetches the pages of a listing.
type listing struct {
	conn        *conn
	prefix      string
	start       string // the name to begin at; empty: the first name
	useMetadata bool

	token *string // of the next page; nil before the first
}

// next implements clientio.Pager.
func (l *listing) next(ctx context.Context) ([]clientio.Object, bool, error) {
	page, more, err := l.page(ctx)
	if err == nil && l.useMetadata {
		page, err = l.conn.withTimestamps(ctx, page)
	}
	return page, more, err
}

func (l *listing) page(ctx context.Context) ([]clientio.Object, bool, error) {
	in := &s3.ListObjectsV2Input{Bucket: &l.conn.bucket, Prefix: &l.prefix, ContinuationToken: l.token}
	if l.start != "" && l.token == nil && !l.conn.directory {
		in.StartAfter = &l.start
	}
	out, err := l.conn.api.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, false, l.conn.failure(ctx, err)
	}
	if err := l.check(out); err != nil {
		return nil, false, err
	}
	page := make([]clientio.Object, 0, len(out.Contents))
	for _, o := range out.Contents {
		key := aws.ToString(o.Key)
		if !strings.HasPrefix(key, l.prefix) {
			return nil, false, errors.New("answer lists names that were not asked for")
		}
		if _, _, _, ok := l.conn.layout.Parse(key); !ok {
			continue
		}
		if o.Size == nil {
			return nil, false, errors.New("answer lists a file without its size")
		}
		page = append(page, clientio.Object{Key: key, Size: aws.ToInt64(o.Size), CreatedAt: aws.ToTime(o.LastModified), Version: aws.ToString(o.ETag)})
	}
	if !aws.ToBool(out.IsTruncated) {
		return page, false, nil
	}
	token := out.NextContinuationToken
	if aws.ToString(token) == "" || l.token != nil && *token == *l.token {
		return nil, false, errors.New("server cuts the listing without saying how to go on")
	}
	l.token = token
	return page, true, nil
}

// check checks that an answer belongs to its request, as far as the answer
// tells. Most servers repeat the bucket and the prefix, and some leave them
// out.
func (l *listing) check(out *s3.ListObjectsV2Output) error {
	prefix := aws.ToString(out.Prefix)
	if out.EncodingType == types.EncodingTypeUrl {
		if decoded, err := url.QueryUnescape(prefix); err == nil {
			prefix = decoded
		}
	}
	switch {
	case out.IsTruncated == nil:
		return errors.New("answer does not tell whether it is the whole listing")
	case out.Name != nil && *out.Name != l.conn.bucket && !hasOtherName(l.conn.bucket):
		return errors.New("answer is a listing of another bucket")
	case prefix != "" && prefix != l.prefix:
		return errors.New("answer is a listing of another path")
	case aws.ToInt32(out.KeyCount) > 0 && len(out.Contents) == 0 && len(out.CommonPrefixes) == 0:
		return errors.New("answer counts names that it does not list")
	}
	return nil
}

// hasOtherName reports whether answers may give a bucket another name, because
// the name in the request is the alias or the ARN of an access point.
func hasOtherName(bucket string) bool {
	return isARN(bucket) || strings.HasSuffix(bucket, "-s3alias") || strings.HasSuffix(bucket, "--ol-s3")
}

// withTimestamps sets CreatedAt of the objects of a page to the timestamps in
// their metadata. It leaves out objects that have been deleted meanwhile.
func (c *conn) withTimestamps(ctx context.Context, page []clientio.Object) ([]clientio.Object, error) {
	return clientio.Complete(ctx, page, c.metadataConcurrency, func(ctx context.Context, o *clientio.Object) (exists bool, err error) {
		at, exists, err := c.timestamp(ctx, *o)
		if !at.IsZero() {
			o.CreatedAt = at
		}
		return exists, err
	})
}

// timestamp returns the timestamp in the metadata of an object that was listed,
// or zero, and whether the object still exists.
func (c *conn) timestamp(ctx context.Context, o clientio.Object) (time.Time, bool, error) {
	out, err := c.api.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &c.bucket, Key: &o.Key,
		SSECustomerAlgorithm: c.sse.algorithm, SSECustomerKey: c.sse.key, SSECustomerKeyMD5: c.sse.keyMD5,
	})
	if errorStatus(err) == http.StatusNotFound {
		return time.Time{}, false, nil // the object was deleted after the listing; the bucket exists
	}
	if err != nil {
		return time.Time{}, true, fmt.Errorf("look up timestamp: %w", c.failure(ctx, err))
	}
	resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	if ok && !clientio.IsObject(resp.Header, storePrefixes...) && (clientio.IsPage(resp.Header) || resp.ContentLength != o.Size) {
		wrong := clientio.NewAnswerError(resp.Response, nil, "answer does not describe the file")
		return time.Time{}, true, fmt.Errorf("look up timestamp: %w", wrong)
	}
	at, err := time.Parse(time.RFC3339Nano, out.Metadata[metadataTimestamp])
	if err != nil {
		at = aws.ToTime(out.LastModified)
	}
	return at, true, nil
}
