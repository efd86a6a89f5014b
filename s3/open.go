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
	resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	if !ok {
		return nil, errors.New("no answer") // the SDK always has it
	}
	return c.body(ctx, resp.Response, in.Range != nil, offset, size)
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

// body returns the body of an answer to a read, of a range if ranged. It
// checks that the server sends what was asked for.
func (c *conn) body(ctx context.Context, resp *http.Response, ranged bool, offset, size int64) (io.ReadCloser, error) {
	n, wrong := bodySize(resp, ranged, offset, size)
	isObject := clientio.IsObject(resp.Header, storePrefixes...)
	if wrong == "" && clientio.IsPage(resp.Header) {
		wrong = "answer is a page"
	}
	if isObject || wrong == "" && ranged {
		if err := clientio.CheckVersion(ctx, resp.Header.Get("ETag")); err != nil {
			_ = resp.Body.Close() // of another version
			return nil, err
		}
	}
	switch {
	case wrong != "" && isObject:
		_ = resp.Body.Close() // nobody wants it
		return nil, clientio.Permanent(errors.New(wrong))
	case wrong != "":
		return nil, clientio.RefuseBody(resp, wrong).Show(c.creds.redact)
	case !ranged && !isObject:
		body := clientio.NewBody(ctx, resp.Body, n)
		return clientio.CheckBegin(body, func(begin []byte) error {
			return clientio.NewAnswerError(resp, begin, "answer is no ltx file").Show(c.creds.redact)
		}), nil
	}
	return clientio.NewBody(ctx, resp.Body, n), nil
}

// bodySize returns the number of bytes that the body of an answer must have,
// or what is wrong with the answer.
func bodySize(resp *http.Response, ranged bool, offset, size int64) (n int64, wrong string) {
	contentRange := resp.Header.Get("Content-Range")
	switch {
	case !ranged && (resp.StatusCode != http.StatusOK || resp.ContentLength < 0 || contentRange != ""):
		return 0, "server does not tell the size of the file"
	case !ranged:
		return resp.ContentLength, ""
	case resp.StatusCode != http.StatusPartialContent || contentRange == "":
		return 0, "server ignores the range asked for"
	}
	n, err := clientio.RangeLength(contentRange, resp.ContentLength, offset, size)
	if err != nil {
		return 0, err.Error()
	}
	return n, ""
}
