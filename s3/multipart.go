package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	maxParts     = 10_000
	partAttempts = 3
	abortTimeout = 10 * time.Second

	// partMemory is the capacity in bytes that parts behind the first one begin with.
	// To grow from less leaves garbage, and parts are what most memory goes to.
	partMemory = 16 << 20
)

// multipart stores a file in parts, which store stores, and returns its size.
func (p *put) multipart(ctx context.Context, store func(ctx context.Context, uploadID *string) ([]types.CompletedPart, int64, error)) (int64, error) {
	c := p.conn
	made, err := c.api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &c.bucket, Key: &p.key,
		Metadata: p.metadata, StorageClass: types.StorageClass(c.storageClass),
		SSECustomerAlgorithm: c.sse.algorithm, SSECustomerKey: c.sse.key, SSECustomerKeyMD5: c.sse.keyMD5,
		ServerSideEncryption: c.sse.method, SSEKMSKeyId: c.sse.kmsKeyID,
	})
	if err != nil {
		return 0, fmt.Errorf("begin upload: %w", c.failure(ctx, err))
	}
	if key := aws.ToString(made.Key); aws.ToString(made.UploadId) == "" || key != "" && key != p.key {
		return 0, errors.New("begin upload: answer is not about an upload of the file")
	}
	parts, size, err := store(ctx, made.UploadId)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		var done *s3.CompleteMultipartUploadOutput
		done, err = c.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &c.bucket, Key: &p.key, UploadId: made.UploadId, IfNoneMatch: p.ifNoneMatch,
			MultipartUpload:      &types.CompletedMultipartUpload{Parts: parts},
			SSECustomerAlgorithm: c.sse.algorithm, SSECustomerKey: c.sse.key, SSECustomerKeyMD5: c.sse.keyMD5,
		})
		if err = p.failure(ctx, err); err == nil {
			if key := aws.ToString(done.Key); key != "" && key != p.key {
				err = errors.New("complete upload: answer is about another file")
			}
		}
	}
	if err != nil {
		p.abort(ctx, made.UploadId)
		return 0, clientio.WithCause(ctx, err)
	}
	return size, nil
}

// parts stores first and then r as the parts of an upload, several at the same time. Only these
// parts are in memory, and later parts use the memory of earlier ones.
func (p *put) parts(ctx context.Context, uploadID *string, first []byte, r io.Reader) (parts []types.CompletedPart, size int64, err error) {
	g, gctx := errgroup.WithContext(ctx)
	slots := make(chan []byte, p.conn.concurrency) // memory for parts, at first none
	for range cap(slots) {
		slots <- nil
	}
	done := make([]*types.CompletedPart, 0, 16)
	err = func() error {
		for part, more := first, true; ; {
			var memory []byte
			select {
			case memory = <-slots:
			case <-gctx.Done():
				return gctx.Err()
			}
			if part == nil {
				if memory == nil {
					memory = make([]byte, 0, min(p.conn.partSize, partMemory))
				}
				var err error
				if part, more, err = clientio.ReadPartInto(memory, r, p.conn.partSize); err != nil {
					return err
				}
			}
			if len(part) > 0 {
				if len(done) == maxParts {
					return clientio.Permanent(fmt.Errorf("file has more than %d parts of %d bytes: set a larger part size", maxParts, p.conn.partSize))
				}
				made := &types.CompletedPart{PartNumber: aws.Int32(int32(len(done) + 1))}
				done = append(done, made)
				size += int64(len(part))
				body := part
				g.Go(func() error {
					free, err := p.part(gctx, uploadID, made, body)
					slots <- free
					return err
				})
			}
			if part = nil; !more {
				return nil
			}
		}
	}()
	// If a part has failed, the failure is the reason for the end of the loop.
	if partErr := g.Wait(); partErr != nil {
		err = partErr
	}
	for _, made := range done {
		parts = append(parts, *made)
	}
	return slices.Clip(parts), size, err
}

// part stores one part, with several attempts if necessary. Storing a part
// twice does no harm. It returns body if nothing uses that any more. An attempt that
// has failed may still be sending it.
func (p *put) part(ctx context.Context, uploadID *string, made *types.CompletedPart, body []byte) (free []byte, err error) {
	out, err := p.conn.api.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &p.conn.bucket, Key: &p.key, UploadId: uploadID, PartNumber: made.PartNumber,
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		SSECustomerAlgorithm: p.conn.sse.algorithm, SSECustomerKey: p.conn.sse.key, SSECustomerKeyMD5: p.conn.sse.keyMD5,
	}, func(o *s3.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = partAttempts, p.conn.maxPartBackoff
		})
	})
	if err == nil && aws.ToString(out.ETag) == "" {
		return nil, errors.New("upload part: server gives no etag")
	}
	if err != nil {
		return nil, fmt.Errorf("upload part %d: %w", *made.PartNumber, p.conn.failure(ctx, err))
	}
	made.ETag = out.ETag
	if attempts, ok := retry.GetAttemptResults(out.ResultMetadata); ok && len(attempts.Results) == 1 {
		free = body
	}
	return free, nil
}

// abort makes the server discard an upload, even if ctx is done. It logs a
// failure, because an upload that remains is invisible and costs money.
func (p *put) abort(ctx context.Context, uploadID *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, err := p.conn.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &p.conn.bucket, Key: &p.key, UploadId: uploadID,
	})
	if err != nil && errorCode(err) != "NoSuchUpload" {
		p.conn.log.Warn("abort s3 multipart upload", "key", p.key, "error", p.conn.failure(ctx, err))
	}
}
