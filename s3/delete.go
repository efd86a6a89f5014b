package s3

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	deleteBatch       = 1000 // the limit of S3
	deleteConcurrency = 16   // where the server knows no batches
)

// DeleteLTXFiles implements replica.Client, with one request for 1,000 files,
// or for each file where the server knows no batches.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := c.delete(ctx, a); err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}

func (c *ReplicaClient) delete(ctx context.Context, a []*ltx.FileInfo) error {
	if err := clientio.CheckInfos(a); err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, len(a))
	for i, info := range a {
		keys[i] = conn.layout.Key(info.Level, info.MinTXID, info.MaxTXID)
	}
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := conn.delete(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) delete(ctx context.Context, keys []string) error {
	if c.singleDeletes.Load() {
		return c.deleteSingly(ctx, keys)
	}
	ids := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		ids[i].Key = &keys[i]
	}
	out, err := c.api.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &c.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	switch status := errorStatus(err); {
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		c.singleDeletes.Store(true)
		return c.deleteSingly(ctx, keys)
	case err != nil:
		return c.failure(ctx, err)
	}
	return c.deleteErrors(out.Errors)
}

// deleteErrors returns the first error of a batch.
func (c *conn) deleteErrors(errs []types.Error) error {
	errs = slices.DeleteFunc(errs, func(e types.Error) bool { return aws.ToString(e.Code) == "NoSuchKey" })
	if len(errs) == 0 {
		return nil
	}
	first := errs[0]
	err := c.verdict(0, aws.ToString(first.Code), aws.ToString(first.Message), "")
	name := "a file"
	if level, minTXID, maxTXID, ok := c.layout.Parse(aws.ToString(first.Key)); ok {
		name = fmt.Sprintf("%d/%s", level, ltx.FormatFilename(minTXID, maxTXID))
	}
	return fmt.Errorf("%d could not be deleted, %s: %w", len(errs), name, err)
}

func (c *conn) deleteSingly(ctx context.Context, keys []string) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deleteConcurrency)
	for _, key := range keys {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err // another request has failed
			}
			_, err := c.api.DeleteObject(gctx, &s3.DeleteObjectInput{Bucket: &c.bucket, Key: &key})
			if err == nil || errorCode(err) == "NoSuchKey" {
				return nil
			}
			return c.failure(gctx, err)
		})
	}
	return clientio.WithCause(ctx, g.Wait())
}
