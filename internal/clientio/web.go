package clientio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

// MaxListing is the limit of a listing of a web server in bytes, of some 100,000 files.
const MaxListing = 64 << 20

// ReadListing reads and closes the body of an answer that is a listing.
func ReadListing(ctx context.Context, resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxListing+1))
	_ = resp.Body.Close() // the rest does not matter
	switch {
	case err != nil:
		return nil, WithCause(ctx, fmt.Errorf("read answer: %w", err))
	case len(body) > MaxListing:
		return nil, NewAnswerError(resp, body, fmt.Sprintf("answer is too large, of more than %d bytes", MaxListing))
	case resp.ContentLength >= 0 && int64(len(body)) != resp.ContentLength:
		return nil, fmt.Errorf("answer ends after %d of %d bytes: %w", len(body), resp.ContentLength, io.ErrUnexpectedEOF)
	}
	return body, nil
}

// ErrAbsent is the error of a request to a web server for something that does not
// exist. It says nothing of LTX files, as fs.ErrNotExist does.
var ErrAbsent = errors.New("does not exist")

// WebRead is how a client reads a file of a web server.
type WebRead struct {
	// Send sends a request with a header.
	Send func(header http.Header) (*http.Response, error)

	// Refusal returns the error of an answer that is no success, and closes its
	// body.
	Refusal func(*http.Response) error

	// Version returns the version of the file with a header and a size.
	Version func(header http.Header, total int64) string
}

// Open reads size bytes from offset on, to the end if size is 0. If there is no file,
// the error is fs.ErrNotExist.
func (r WebRead) Open(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
	header := http.Header{}
	if offset > 0 || size > 0 {
		header.Set("Range", RangeHeader(offset, size))
	}
	resp, err := r.Send(header)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return webBody(ctx, resp, offset, size, func(total int64) string { return r.Version(resp.Header, total) })
	}
	if err := r.Refusal(resp); !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	return nil, fs.ErrNotExist
}

// webBody returns the body of a web server's answer to a read of size bytes from
// offset on, to the end if size is 0. The request has a Range unless both are 0. A
// web server has no headers of its own by which it could be recognised, so the body
// of a whole file has to begin like one. version returns the version of the file,
// whose size it gets.
func webBody(ctx context.Context, resp *http.Response, offset, size int64, version func(total int64) string) (io.ReadCloser, error) {
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_ = resp.Body.Close() // it says nothing
		if header := resp.Header.Get("Content-Range"); !EndsBefore(header, offset) {
			return nil, fmt.Errorf("no range at %d, and the content range is %.80q: %w", offset, header, io.ErrUnexpectedEOF)
		}
		return NewBody(ctx, http.NoBody, 0), nil
	}
	ranged, total := resp.StatusCode == http.StatusPartialContent, resp.ContentLength
	answer := ObjectAnswer{Response: resp, Ranged: ranged, Length: total}
	switch {
	case IsPage(resp.Header):
		return nil, RefuseBody(resp, "answer is a page and no LTX file")
	case resp.Header.Get("Content-Encoding") != "":
		answer.Wrong = errors.New("answer is encoded, which was not asked for: turn compression of .ltx files off")
	case ranged && offset == 0 && size == 0:
		answer.Wrong = errors.New("answer is a range of a file, which was not asked for")
	case ranged:
		answer.Length, answer.Wrong = RangeLength(resp.Header.Get("Content-Range"), resp.ContentLength, offset, size)
		_, after, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		if n, err := strconv.ParseInt(after, 10, 64); answer.Wrong == nil {
			total, answer.Wrong = n, err
		}
	case offset > 0, size > 0 && (total < 0 || total > size):
		_ = resp.Body.Close() // a file may be large
		return nil, Permanent(fmt.Errorf("server ignores ranges: asked for %d bytes at %d, it sends a whole file of %d", size, offset, total))
	case total < 0:
		answer.Wrong = errors.New("answer has no Content-Length")
	}
	if answer.Wrong == nil {
		if err := CheckVersion(ctx, version(total)); err != nil {
			_ = resp.Body.Close() // of another version
			return nil, err
		}
	}
	return answer.Body(ctx)
}
