package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// OpenLTXFile implements litestream.ReplicaClient.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	body, err := c.open(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, fmt.Errorf("open ltx file %d/%s: %w", level, ltx.FormatFilename(minTXID, maxTXID), err)
	}
	return body, nil
}

func (c *ReplicaClient) open(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if err := clientio.CheckLevel(level); err != nil {
		return nil, err
	}
	if err := clientio.CheckRange(offset, size); err != nil {
		return nil, err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn.open(ctx, conn.layout.Key(level, minTXID, maxTXID), offset, size)
}

func (c *conn) open(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
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
	n, err := bodySize(out, in.Range != nil, offset, size)
	if err != nil {
		_ = out.Body.Close()
		return nil, err
	}
	return clientio.NewBody(ctx, out.Body, n), nil
}

// isBeyond reports whether the object ends before offset, for all that the
// server says with status 416.
func isBeyond(err error, offset int64) bool {
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &resp) {
		return false
	}
	return clientio.EndsBefore(resp.Response.Header.Get("Content-Range"), offset)
}

// bodySize returns the number of bytes that the body must have, of a range if
// ranged. It checks that the server sends what was asked for.
func bodySize(out *s3.GetObjectOutput, ranged bool, offset, size int64) (int64, error) {
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	if !ranged {
		if length < 0 || out.ContentRange != nil {
			return 0, clientio.Permanent(errors.New("server does not tell the size of the file"))
		}
		return length, nil
	}
	if out.ContentRange == nil {
		return 0, clientio.Permanent(errors.New("server ignores the range asked for"))
	}
	n, err := clientio.RangeLength(*out.ContentRange, length, offset, size)
	if err != nil {
		return 0, clientio.Permanent(err)
	}
	return n, nil
}
