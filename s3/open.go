package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

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
	switch {
	case size > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+size-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
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
	total, ok := strings.CutPrefix(resp.Response.Header.Get("Content-Range"), "bytes */")
	if !ok {
		return true
	}
	n, err := strconv.ParseInt(total, 10, 64)
	return err != nil || n <= offset
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
	first, last, total, ok := parseContentRange(*out.ContentRange)
	wantLast := total - 1
	if size > 0 {
		wantLast = min(wantLast, offset+size-1)
	}
	if !ok || first != offset || last != wantLast || length >= 0 && length != last-first+1 {
		return 0, clientio.Permanent(errors.New("server sends another range than asked for"))
	}
	return last - first + 1, nil
}

// parseContentRange parses a header like "bytes 5-9/20".
func parseContentRange(s string) (first, last, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	bounds, all, ok2 := strings.Cut(s, "/")
	from, to, ok3 := strings.Cut(bounds, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := strconv.ParseInt(all, 10, 64)
	ok = ok && ok2 && ok3 && errors.Join(err1, err2, err3) == nil && 0 <= first && first <= last && last < total
	return first, last, total, ok
}
