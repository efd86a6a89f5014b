package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// copyPartSize is the least number of bytes that a server copies with one request. It
// may be 5 GiB, but several requests at the same time are faster.
const copyPartSize = 256 << 20

// CopyLTXFile implements replica.LTXFileCopier, from a bucket at the same endpoint
// that the credentials of this client may read. It stores the file by an upload of
// parts, because servers are sooner able to complete one conditionally than to copy
// conditionally. Access points and customer keys are errors.ErrUnsupported.
func (c *ReplicaClient) CopyLTXFile(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	other, ok := from.(*ReplicaClient)
	if !ok {
		return nil, fmt.Errorf("copy ltx file from %T: %w", from, errors.ErrUnsupported)
	}
	connect := func(ctx context.Context) (*conn, error) { return c.connectToCopy(ctx, other) }
	return clientio.Copy(ctx, clientio.NewFile(level, minTXID, maxTXID), other, connect, func(conn *conn, ctx context.Context, file clientio.Upload) (int64, error) {
		source, err := other.connect(ctx)
		if err != nil {
			return 0, err
		}
		return conn.copy(ctx, source, file)
	})
}

// connectToCopy is connectToCreate for copies from another client.
func (c *ReplicaClient) connectToCopy(ctx context.Context, other *ReplicaClient) (*conn, error) {
	to, err := c.connectToCreate(ctx)
	if err != nil {
		return nil, err
	}
	from, err := other.connect(ctx)
	if err != nil {
		return nil, err
	}
	endpoint := func(c *conn) string { return aws.ToString(c.api.Options().BaseEndpoint) }
	switch {
	case endpoint(from) != endpoint(to):
		return nil, fmt.Errorf("copy from another endpoint: %w", errors.ErrUnsupported)
	case isARN(from.bucket) || isARN(to.bucket):
		return nil, fmt.Errorf("copy from or to an access point: %w", errors.ErrUnsupported)
	case from.sse.key != nil || to.sse.key != nil:
		return nil, fmt.Errorf("copy with a customer key: %w", errors.ErrUnsupported)
	}
	return to, nil
}

// copy makes the server copy a file, and returns its size.
func (c *conn) copy(ctx context.Context, from *conn, file clientio.Upload) (int64, error) {
	key := from.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	head, err := from.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &from.bucket, Key: &key})
	if err != nil {
		return 0, fmt.Errorf("look at the file to copy: %w", from.failure(ctx, err))
	}
	size := aws.ToInt64(head.ContentLength)
	if resp, ok := awsmiddleware.GetRawResponse(head.ResultMetadata).(*smithyhttp.Response); ok && clientio.IsPage(resp.Header) {
		return 0, errors.New("look at the file to copy: answer is a page")
	}
	if aws.ToString(head.ETag) == "" || size < ltx.HeaderSize {
		return 0, errors.New("look at the file to copy: answer does not describe it")
	}
	if err := clientio.CheckVersion(ctx, *head.ETag); err != nil {
		return 0, err
	}
	p := &put{
		conn:        c,
		key:         c.layout.Key(file.Level, file.MinTXID, file.MaxTXID),
		metadata:    map[string]string{metadataTimestamp: file.Timestamp.Format(time.RFC3339Nano)},
		ifNoneMatch: aws.String("*"),
	}
	source := aws.String(copySource(from.bucket, key))
	return p.multipart(ctx, func(ctx context.Context, uploadID *string) ([]types.CompletedPart, int64, error) {
		step := max(copyPartSize, (size+maxParts-1)/maxParts)
		parts := make([]types.CompletedPart, (size+step-1)/step)
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(c.concurrency)
		for i := range parts {
			g.Go(func() (err error) {
				in := &s3.UploadPartCopyInput{
					Bucket: &c.bucket, Key: &p.key, UploadId: uploadID, PartNumber: aws.Int32(int32(i + 1)),
					CopySource: source, CopySourceIfMatch: head.ETag,
				}
				if len(parts) > 1 {
					first := int64(i) * step
					in.CopySourceRange = aws.String(clientio.RangeHeader(first, min(step, size-first)))
				}
				parts[i], err = c.copyPart(ctx, in)
				return err
			})
		}
		return parts, size, g.Wait()
	})
}

// copyPart makes the server copy one part.
func (c *conn) copyPart(ctx context.Context, in *s3.UploadPartCopyInput) (part types.CompletedPart, err error) {
	out, err := c.api.UploadPartCopy(ctx, in)
	switch {
	case conditionFailed(err) || errorCode(err) == "NoSuchKey":
		return part, fmt.Errorf("copy part: %w: %w", c.failure(ctx, err), fs.ErrNotExist) // replaced or deleted meanwhile
	case err != nil:
		return part, fmt.Errorf("copy part %d: %w", *in.PartNumber, c.failure(ctx, err))
	case out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "":
		return part, errors.New("copy part: server gives no etag")
	}
	return types.CompletedPart{PartNumber: in.PartNumber, ETag: out.CopyPartResult.ETag}, nil
}

// copySource names an object as the header for copies has it.
func copySource(bucket, key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return bucket + "/" + strings.Join(segments, "/")
}
