package oss

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// pageSize is the greatest number of objects that the service lists in one answer.
const pageSize = 1000

// Layout implements clientio.Lister.
func (s *session) Layout() clientio.Layout { return s.layout }

// Pager implements clientio.Lister.
func (s *session) Pager(prefix, start string, useMetadata bool) clientio.Pager {
	in := &oss.ListObjectsV2Request{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: pageSize}
	if start != "" {
		in.StartAfter = &start
	}
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		out, err := s.list(ctx, in)
		if err != nil {
			return nil, false, err
		}
		page := make([]clientio.Object, 0, len(out.Contents))
		for _, o := range out.Contents {
			key := oss.ToString(o.Key)
			if _, _, _, ok := s.layout.Parse(key); !ok {
				continue
			}
			page = append(page, clientio.Object{Key: key, Size: o.Size, CreatedAt: oss.ToTime(o.LastModified), Version: oss.ToString(o.ETag)})
		}
		if useMetadata {
			page, err = s.withTimestamps(ctx, page)
		}
		in.ContinuationToken, in.StartAfter = out.NextContinuationToken, nil
		return page, out.IsTruncated, err
	}
}

// list fetches a page of a listing, and checks that it belongs to the request.
func (s *session) list(ctx context.Context, in *oss.ListObjectsV2Request) (*oss.ListObjectsV2Result, error) {
	out, err := s.api.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	prefix, next := oss.ToString(in.Prefix), oss.ToString(out.NextContinuationToken)
	switch {
	case out.Name != nil && *out.Name != s.bucket:
		return nil, errors.New("answer is a listing of another bucket")
	case oss.ToString(out.Prefix) != "" && *out.Prefix != prefix:
		return nil, errors.New("answer is a listing of another path")
	case out.KeyCount > 0 && len(out.Contents) == 0 && len(out.CommonPrefixes) == 0:
		return nil, errors.New("answer counts names that it does not list")
	case out.IsTruncated && (next == "" || next == oss.ToString(in.ContinuationToken)):
		return nil, errors.New("server cuts the listing without saying how to go on")
	}
	for _, o := range out.Contents {
		if !strings.HasPrefix(oss.ToString(o.Key), prefix) {
			return nil, errors.New("answer lists names that were not asked for")
		}
	}
	return out, nil
}

// withTimestamps sets CreatedAt of the objects of a page to the timestamps in their
// metadata. It leaves out objects that have been deleted meanwhile.
func (s *session) withTimestamps(ctx context.Context, page []clientio.Object) ([]clientio.Object, error) {
	return clientio.Complete(ctx, page, s.metadataConcurrency, func(ctx context.Context, o *clientio.Object) (exists bool, err error) {
		out, err := s.api.HeadObject(ctx, &oss.HeadObjectRequest{Bucket: &s.bucket, Key: &o.Key})
		if status, _ := statusOf(err); status == http.StatusNotFound {
			return false, nil // it was deleted after the listing
		}
		if err != nil {
			return true, fmt.Errorf("look up timestamp: %w", s.fail(ctx, err))
		}
		if at, err := time.Parse(time.RFC3339Nano, out.Metadata[MetadataKeyTimestamp]); err == nil {
			o.CreatedAt = at
		}
		return true, nil
	})
}

// Folder implements clientio.Surveyed.
func (s *session) Folder(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	out, err := s.list(ctx, &oss.ListObjectsV2Request{Bucket: &s.bucket, Prefix: &prefix, Delimiter: oss.Ptr("/"), MaxKeys: int32(limit)})
	if err != nil {
		return nil, false, err
	}
	for _, o := range out.Contents {
		names = append(names, oss.ToString(o.Key))
	}
	for _, p := range out.CommonPrefixes {
		names = append(names, oss.ToString(p.Prefix))
	}
	if !clientio.AllBelow(names, prefix) {
		return nil, false, errors.New("answer lists names that were not asked for")
	}
	return names, out.IsTruncated, nil
}
