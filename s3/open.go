package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*conn).open)
}

func (c *conn) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return c.ReadKey(ctx, c.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// ReadKey implements clientio.Surveyed. It reads a range of an object, to its end
// if size is 0.
func (c *conn) ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	in := &s3.GetObjectInput{
		Bucket: &c.bucket, Key: &key,
		SSECustomerAlgorithm: c.sse.algorithm, SSECustomerKey: c.sse.key, SSECustomerKeyMD5: c.sse.keyMD5,
	}
	if offset > 0 || size > 0 {
		in.Range = aws.String(clientio.RangeHeader(offset, size))
	}
	out, err := c.api.GetObject(ctx, in)
	switch {
	case errorCode(err) == "NoSuchKey":
		return nil, fmt.Errorf("%w: %w", c.failure(ctx, err), fs.ErrNotExist)
	case in.Range != nil && errorStatus(err) == http.StatusRequestedRangeNotSatisfiable && isBeyond(err, offset):
		return http.NoBody, nil
	case err != nil:
		return nil, c.failure(ctx, err)
	}
	resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	if !ok {
		return nil, errors.New("no answer") // the SDK always has one
	}
	return c.body(ctx, resp.Response, in.Range != nil, offset, size)
}

// isBeyond reports whether the object ends at or before offset, according to
// the answer with status 416.
func isBeyond(err error, offset int64) bool {
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &resp) {
		return false
	}
	return clientio.EndsBefore(resp.Response.Header.Get("Content-Range"), offset)
}

// body returns the body of an answer to a read. It checks that the server sends
// the range, or the whole object, that was asked for.
func (c *conn) body(ctx context.Context, resp *http.Response, ranged bool, offset, size int64) (io.ReadCloser, error) {
	n, wrong := clientio.BodyLength(resp, ranged, offset, size)
	if wrong == nil && clientio.IsPage(resp.Header) {
		wrong = clientio.Permanent(errors.New("answer is a page"))
	}
	return clientio.ObjectAnswer{
		Response: resp,
		IsObject: clientio.IsObject(resp.Header, storePrefixes...),
		Ranged:   ranged,
		Length:   n,
		Version:  resp.Header.Get("ETag"),
		Wrong:    wrong,
		Redact:   c.creds.redact,
	}.Body(ctx)
}
