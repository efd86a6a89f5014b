package clientio

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// RangeHeader returns the value of the HTTP header Range for size bytes from
// offset on. A size of 0 means all of them.
func RangeHeader(offset, size int64) string {
	if size == 0 {
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+size-1)
}

// RangeLength returns the length of the body of an answer with status 206 to
// such a request. It checks that the Content-Range is the range that was asked
// for, cut off at the end of the object, and that the Content-Length agrees
// unless it is negative.
func RangeLength(contentRange string, contentLength, offset, size int64) (int64, error) {
	first, last, total, ok := parseContentRange(contentRange)
	want := total - 1
	if size > 0 {
		want = min(want, offset+size-1)
	}
	n := last - first + 1
	if !ok || first != offset || last != want || contentLength >= 0 && contentLength != n {
		return 0, fmt.Errorf("asked for %d bytes at %d, got content range %.80q and length %d", size, offset, contentRange, contentLength)
	}
	return n, nil
}

// BodyLength returns the length of the body of an answer to a read, of a range if
// ranged, and otherwise of a whole object. If the answer is something else, it returns
// a permanent error.
func BodyLength(resp *http.Response, ranged bool, offset, size int64) (int64, error) {
	contentRange := resp.Header.Get("Content-Range")
	switch {
	case !ranged && (resp.StatusCode != http.StatusOK || resp.ContentLength < 0 || contentRange != ""):
		return 0, Permanent(errors.New("server does not tell the size of the file"))
	case !ranged:
		return resp.ContentLength, nil
	case resp.StatusCode != http.StatusPartialContent || contentRange == "":
		return 0, Permanent(errors.New("server ignores the range asked for"))
	}
	n, err := RangeLength(contentRange, resp.ContentLength, offset, size)
	if err != nil {
		return 0, Permanent(err)
	}
	return n, nil
}

// EndsBefore tells whether an object ends at or before offset, according to the
// Content-Range of an answer with status 416. An answer without that header is
// believed.
func EndsBefore(contentRange string, offset int64) bool {
	text, ok := strings.CutPrefix(contentRange, "bytes */")
	if !ok {
		return true
	}
	total, err := strconv.ParseInt(text, 10, 64)
	return err == nil && total <= offset
}

// parseContentRange parses a header like "bytes 5-9/20". A range may be empty
// and end right before it begins, because Azurite sends such ranges.
func parseContentRange(s string) (first, last, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	bounds, all, _ := strings.Cut(s, "/") // what is not there is no number
	from, to, _ := strings.Cut(bounds, "-")
	for _, field := range []struct {
		to   *int64
		text string
	}{{&first, from}, {&last, to}, {&total, all}} {
		n, err := strconv.ParseUint(field.text, 10, 63) // accepts no signs
		*field.to = int64(n)
		ok = ok && err == nil
	}
	return first, last, total, ok && first <= last+1 && last < total
}
