package gs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/api/googleapi"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// open reads a range of an object, to its end if size is 0.
//
// The reader of package storage would ask again, silently, when a body is cut
// off, and take a whole object for a range at its start.
func (s *session) open(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	call := s.objects.Get(s.bucketName, key).Context(ctx)
	ranged := offset > 0 || size > 0
	if ranged {
		value := fmt.Sprintf("bytes=%d-", offset)
		if size > 0 {
			value += strconv.FormatInt(offset+size-1, 10)
		}
		call.Header().Set("Range", value)
	}
	resp, err := call.Download()
	if err != nil {
		return s.openFailed(ctx, key, offset, err)
	}
	s.bucketFound.Store(true)
	length, err := bodyLength(resp, ranged, offset, size)
	if err != nil {
		_ = resp.Body.Close() // says nothing of interest
		return nil, err
	}
	return clientio.NewBody(ctx, resp.Body, length), nil
}

// openFailed returns what there is of an object that the service did not give.
func (s *session) openFailed(ctx context.Context, key string, offset int64, err error) (io.ReadCloser, error) {
	switch statusOf(err) {
	case http.StatusRequestedRangeNotSatisfiable:
		// The range is beyond the end, unless the service says otherwise.
		var gerr *googleapi.Error
		errors.As(err, &gerr)
		total, ok := strings.CutPrefix(gerr.Header.Get("Content-Range"), "bytes */")
		if n, err := strconv.ParseInt(total, 10, 64); ok && (err != nil || n > offset) {
			return nil, fmt.Errorf("range from %d on was refused, of an object of %q bytes", offset, total)
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

// bodyLength checks that a response is what was asked for, and returns the
// length of its body.
func bodyLength(resp *http.Response, ranged bool, offset, size int64) (int64, error) {
	// Google unpacks such an object as it sends it, whole.
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
	header := resp.Header.Get("Content-Range")
	first, last, total, ok := parseContentRange(header)
	want := total - 1
	if size > 0 {
		want = min(want, offset+size-1)
	}
	if !ok || first != offset || last != want {
		return 0, fmt.Errorf("content range %.80q for a range at %d of %d bytes", header, offset, size)
	}
	length := last - first + 1
	if resp.ContentLength >= 0 && resp.ContentLength != length {
		return 0, fmt.Errorf("length %d for content range %.80q", resp.ContentLength, header)
	}
	return length, nil
}

// parseContentRange parses "bytes <first>-<last>/<total>".
func parseContentRange(s string) (first, last, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	firstText, s, ok1 := strings.Cut(s, "-")
	lastText, totalText, ok2 := strings.Cut(s, "/")
	if !ok || !ok1 || !ok2 {
		return 0, 0, 0, false
	}
	for _, field := range []struct {
		to   *int64
		text string
	}{{&first, firstText}, {&last, lastText}, {&total, totalText}} {
		n, err := strconv.ParseUint(field.text, 10, 63) // no signs
		if err != nil {
			return 0, 0, 0, false
		}
		*field.to = int64(n)
	}
	return first, last, total, first <= last && last < total
}
