package oss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return s.ReadKey(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// ReadKey implements clientio.Surveyed. It reads a range of an object, to its end
// if size is 0.
func (s *session) ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	in := &oss.GetObjectRequest{Bucket: &s.bucket, Key: &key}
	ranged := offset > 0 || size > 0
	if ranged {
		in.Range = oss.Ptr(clientio.RangeHeader(offset, size))
		in.RangeBehavior = oss.Ptr("standard") // otherwise a range beyond the end is the whole object
	}
	out, err := s.api.GetObject(ctx, in)
	if err != nil {
		return s.openFailed(ctx, key, offset, ranged, err)
	}
	resp := &http.Response{StatusCode: out.StatusCode, Header: out.Headers, Body: out.Body, ContentLength: out.ContentLength}
	if resp.Header.Get("Content-Length") == "" {
		resp.ContentLength = -1 // the SDK leaves 0
	}
	length, wrong := clientio.BodyLength(resp, ranged, offset, size)
	if wrong == nil && clientio.IsPage(resp.Header) {
		wrong = errors.New("answer is a page")
	}
	return clientio.ObjectAnswer{
		Response: resp,
		IsObject: clientio.IsObject(resp.Header, storePrefix),
		Ranged:   ranged,
		Length:   length,
		Version:  resp.Header.Get("Etag"),
		Wrong:    wrong,
		Redact:   s.creds.redact,
	}.Body(ctx)
}

// openFailed returns an empty body if the range is beyond the end of the object,
// and otherwise the error of a read.
func (s *session) openFailed(ctx context.Context, key string, offset int64, ranged bool, err error) (io.ReadCloser, error) {
	status, code := statusOf(err)
	var service *oss.ServiceError
	switch {
	case code == "NoSuchKey":
		return nil, fmt.Errorf("object %s/%s: %w", s.bucket, key, fs.ErrNotExist)
	case ranged && status == http.StatusRequestedRangeNotSatisfiable && errors.As(err, &service) && clientio.EndsBefore(service.Headers.Get("Content-Range"), offset):
		return clientio.NewBody(ctx, http.NoBody, 0), nil
	}
	return nil, s.fail(ctx, err)
}
