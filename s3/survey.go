package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyObjects(ctx, dir, c.connect)
	return replica.Survey(survey), err
}

// Folder implements clientio.Surveyed.
func (c *conn) Folder(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	if c.directory {
		return c.folderOfDirectory(ctx, prefix)
	}
	names, token, err := c.folder(ctx, prefix, limit, nil)
	return names, token != nil, err
}

// folder fetches a page of a listing with the slash as delimiter, and returns the
// token of the next page, or nil.
func (c *conn) folder(ctx context.Context, prefix string, limit int, token *string) (names []string, next *string, err error) {
	l := &listing{conn: c, prefix: prefix}
	out, err := c.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &c.bucket, Prefix: &prefix, Delimiter: aws.String("/"), MaxKeys: aws.Int32(int32(limit)), ContinuationToken: token,
	})
	if err != nil {
		return nil, nil, c.failure(ctx, err)
	}
	if err := l.check(out); err != nil {
		return nil, nil, err
	}
	for _, o := range out.Contents {
		names = append(names, aws.ToString(o.Key))
	}
	for _, p := range out.CommonPrefixes {
		names = append(names, aws.ToString(p.Prefix))
	}
	if !clientio.AllBelow(names, prefix) {
		return nil, nil, errors.New("answer lists names that were not asked for")
	}
	if *out.IsTruncated {
		next = aws.String(aws.ToString(out.NextContinuationToken)) // not nil
	}
	return names, next, nil
}
