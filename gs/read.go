package gs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"google.golang.org/api/googleapi"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return s.ReadKey(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// ReadKey implements clientio.Surveyed. It reads a range of an object, to its end
// if size is 0.
//
// It does not use the reader of package storage, which silently asks again when
// a body is cut off, and accepts a whole object as a range at its start.
func (s *session) ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	call := s.objects.Get(s.bucketName, key).Context(ctx)
	ranged := offset > 0 || size > 0
	if ranged {
		call.Header().Set("Range", clientio.RangeHeader(offset, size))
	}
	resp, err := call.Download()
	if err != nil {
		return s.openFailed(ctx, key, offset, err)
	}
	return s.body(ctx, resp, ranged, offset, size)
}

// body returns the body of an answer to a read, after checking the answer.
func (s *session) body(ctx context.Context, resp *http.Response, ranged bool, offset, size int64) (io.ReadCloser, error) {
	length, wrong := bodyLength(resp, ranged, offset, size)
	if wrong == nil && clientio.IsPage(resp.Header) {
		wrong = errors.New("answer is a page")
	}
	body, err := clientio.ObjectAnswer{
		Response: resp,
		IsObject: clientio.IsObject(resp.Header, storePrefix),
		Ranged:   ranged,
		Length:   length,
		Version:  resp.Header.Get("X-Goog-Generation"),
		Wrong:    wrong,
	}.Body(ctx)
	if err == nil {
		s.bucketFound.Store(true)
	}
	return body, err
}

// openFailed returns an empty body if the range is beyond the end of the
// object, and otherwise the error of a read.
func (s *session) openFailed(ctx context.Context, key string, offset int64, err error) (io.ReadCloser, error) {
	switch statusOf(err) {
	case http.StatusRequestedRangeNotSatisfiable:
		// The range is beyond the end, unless the header says otherwise.
		var gerr *googleapi.Error
		errors.As(err, &gerr)
		if header := gerr.Header.Get("Content-Range"); !clientio.EndsBefore(header, offset) {
			return nil, fmt.Errorf("range from %d on was refused, and the content range is %.80q", offset, header)
		}
		s.bucketFound.Store(true)
		return clientio.NewBody(ctx, http.NoBody, 0), nil
	case http.StatusNotFound:
		if err := s.checkBucket(ctx, key); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("object %s/%s: %w", s.bucketName, key, fs.ErrNotExist)
	}
	return nil, s.fail(ctx, err)
}

// bodyLength checks that a response is the range or the object that was asked
// for, and returns the length of its body.
func bodyLength(resp *http.Response, ranged bool, offset, size int64) (int64, error) {
	// Google decompresses such an object and sends it whole.
	if encoding := resp.Header.Get("X-Goog-Stored-Content-Encoding"); encoding != "" && encoding != "identity" {
		return 0, clientio.Permanent(fmt.Errorf("object is stored with content encoding %q", encoding))
	}
	if !ranged {
		switch {
		case resp.StatusCode != http.StatusOK:
			return 0, clientio.Permanent(fmt.Errorf("http status %d for a whole object", resp.StatusCode))
		case resp.ContentLength < 0:
			return 0, errors.New("response without a length")
		}
		return resp.ContentLength, nil
	}
	if resp.StatusCode != http.StatusPartialContent {
		return 0, clientio.Permanent(fmt.Errorf("server ignores ranges: http status %d", resp.StatusCode))
	}
	return clientio.RangeLength(resp.Header.Get("Content-Range"), resp.ContentLength, offset, size)
}
