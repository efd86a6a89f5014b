package oss

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	contentType  = "application/octet-stream"
	abortTimeout = 5 * time.Second
	deleteBatch  = 1000 // the limit of the service
)

// write stores a file and returns its size.
func (s *session) write(ctx context.Context, file clientio.Upload) (int64, error) {
	up := &upload{
		session:  s,
		key:      s.layout.Key(file.Level, file.MinTXID, file.MaxTXID),
		metadata: map[string]string{MetadataKeyTimestamp: file.Timestamp.Format(time.RFC3339Nano)},
	}
	if file.Create {
		if err := s.checkVersioning(ctx); err != nil {
			return 0, err
		}
		up.forbidOverwrite = oss.Ptr("true")
	}
	first, more, err := clientio.ReadPart(file.Body, s.partSize)
	if err == nil {
		err = ctx.Err() // the body may have ended just as the context did
	}
	if err != nil {
		return 0, clientio.WithCause(ctx, err)
	}
	if more {
		return up.inParts(ctx, first, file.Body)
	}
	_, err = s.api.PutObject(ctx, &oss.PutObjectRequest{
		Bucket: &s.bucket, Key: &up.key, Body: bytes.NewReader(first), ContentLength: oss.Ptr(int64(len(first))), ContentType: oss.Ptr(contentType),
		Metadata: up.metadata, ForbidOverwrite: up.forbidOverwrite,
	})
	return int64(len(first)), up.failure(ctx, err)
}

// checkVersioning returns errors.ErrUnsupported for a bucket in which the service
// ignores that a file must not exist.
func (s *session) checkVersioning(ctx context.Context) error {
	if s.unversioned.Load() {
		return nil
	}
	out, err := s.api.GetBucketVersioning(ctx, &oss.GetBucketVersioningRequest{Bucket: &s.bucket})
	if err != nil {
		return fmt.Errorf("look whether the bucket has versioning, for which oss:GetBucketVersioning is needed: %w", s.fail(ctx, err))
	}
	if status := oss.ToString(out.VersionStatus); status != "" {
		return fmt.Errorf("bucket %s has versioning (%.20s), with which the service creates no files conditionally (%w)", s.bucket, status, errors.ErrUnsupported)
	}
	s.unversioned.Store(true)
	return nil
}

// upload is the writing of one file.
type upload struct {
	session         *session
	key             string
	metadata        map[string]string
	forbidOverwrite *string // nil if the file may replace another one
}

// failure returns an error of the request that makes the file visible, in its
// class.
func (u *upload) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, code := statusOf(err); u.forbidOverwrite != nil && code == "FileAlreadyExists" {
		return fmt.Errorf("object %s/%s: %w", u.session.bucket, u.key, fs.ErrExist)
	}
	return u.session.fail(ctx, err)
}

// inParts stores a file in parts: first, and what r has.
func (u *upload) inParts(ctx context.Context, first []byte, r io.Reader) (int64, error) {
	s := u.session
	begun, err := s.api.InitiateMultipartUpload(ctx, &oss.InitiateMultipartUploadRequest{
		Bucket: &s.bucket, Key: &u.key, ContentType: oss.Ptr(contentType), Metadata: u.metadata, ForbidOverwrite: u.forbidOverwrite,
	})
	if err != nil {
		return 0, u.failure(ctx, err)
	}
	parts, size, err := u.sendParts(ctx, begun.UploadId, first, r)
	if err == nil {
		_, err = s.api.CompleteMultipartUpload(ctx, &oss.CompleteMultipartUploadRequest{
			Bucket: &s.bucket, Key: &u.key, UploadId: begun.UploadId, ForbidOverwrite: u.forbidOverwrite,
			CompleteMultipartUpload: &oss.CompleteMultipartUpload{Parts: parts},
		})
		err = u.failure(ctx, err)
	}
	if err != nil {
		u.abort(ctx, begun.UploadId)
		return 0, err
	}
	return size, nil
}

// sendParts sends the parts, several at a time.
func (u *upload) sendParts(ctx context.Context, id *string, part []byte, r io.Reader) (sent []oss.UploadPart, size int64, err error) {
	s := u.session
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.concurrency)
	var parts []*oss.UploadPart
	for more := true; err == nil && groupCtx.Err() == nil; {
		if len(part) > 0 {
			p, body := &oss.UploadPart{PartNumber: int32(len(parts) + 1)}, part
			parts = append(parts, p)
			size += int64(len(body))
			group.Go(func() error {
				out, err := s.api.UploadPart(groupCtx, &oss.UploadPartRequest{
					Bucket: &s.bucket, Key: &u.key, UploadId: id, PartNumber: p.PartNumber,
					Body: bytes.NewReader(body), ContentLength: oss.Ptr(int64(len(body))),
				})
				if err != nil {
					return fmt.Errorf("send part %d: %w", p.PartNumber, s.fail(groupCtx, err))
				}
				p.ETag = out.ETag
				return nil
			})
		}
		if !more {
			break
		}
		part, more, err = clientio.ReadPart(r, s.partSize)
	}
	if err = cmp.Or(group.Wait(), err, ctx.Err()); err != nil {
		return nil, 0, clientio.WithCause(ctx, err)
	}
	for _, p := range parts {
		sent = append(sent, *p)
	}
	return sent, size, nil
}

// abort makes the service discard the parts. If that fails, they stay until a
// lifecycle rule of the bucket deletes them.
func (u *upload) abort(ctx context.Context, id *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, _ = u.session.api.AbortMultipartUpload(ctx, &oss.AbortMultipartUploadRequest{Bucket: &u.session.bucket, Key: &u.key, UploadId: id})
}

// DeleteLTXFiles implements replica.Client, with one request for 1,000 files.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	s, err := c.connect(ctx)
	if err == nil {
		err = clientio.CheckInfos(a)
	}
	if err == nil {
		err = s.delete(ctx, a)
	}
	if err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}

func (s *session) delete(ctx context.Context, a []*ltx.FileInfo) error {
	for batch := range slices.Chunk(a, deleteBatch) {
		missing := make(map[string]clientio.File, len(batch))
		objects := make([]oss.DeleteObject, len(batch))
		for i, info := range batch {
			key := s.layout.Key(info.Level, info.MinTXID, info.MaxTXID)
			objects[i].Key, missing[key] = &key, clientio.NewFile(info.Level, info.MinTXID, info.MaxTXID)
		}
		out, err := s.api.DeleteMultipleObjects(ctx, &oss.DeleteMultipleObjectsRequest{Bucket: &s.bucket, Objects: objects})
		if err != nil {
			return s.fail(ctx, err)
		}
		// The answer names the files that are gone, also those that never were.
		for _, o := range out.DeletedObjects {
			delete(missing, oss.ToString(o.Key))
		}
		for _, file := range missing {
			return fmt.Errorf("%d could not be deleted, %s", len(missing), file)
		}
	}
	return nil
}
