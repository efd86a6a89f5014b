package clientio_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// TestWebRead reads ranges of a file from answers that are right, and from others.
func TestWebRead(t *testing.T) {
	const file = "LTX10123456789" // some bytes that begin like a file
	ranged := func(text string) map[string]string { return map[string]string{"Content-Range": text} }
	for name, c := range map[string]struct {
		offset, size int64
		status       int
		header       map[string]string
		length       int64 // Content-Length, negative: none
		body         string
		total        int64  // size that the version is made of; -1: none is asked for
		wrong        string // in the error; empty: the body is what is read
	}{
		"a whole file":               {0, 0, 200, nil, 14, file, 14, ""},
		"an empty file":              {0, 0, 200, nil, 0, "", 0, "no ltx file"},
		"no length":                  {0, 0, 200, nil, -1, file, -1, "answer has no Content-Length"},
		"a range that nobody wants":  {0, 0, 206, ranged("bytes 0-13/14"), 14, file, -1, "which was not asked for"},
		"a range":                    {4, 3, 206, ranged("bytes 4-6/14"), 3, "012", 14, ""},
		"the first bytes":            {0, 4, 206, ranged("bytes 0-3/14"), 4, "LTX1", 14, ""},
		"the rest":                   {12, 0, 206, ranged("bytes 12-13/14"), 2, "89", 14, ""},
		"another range":              {4, 3, 206, ranged("bytes 5-7/14"), 3, "123", -1, "asked for 3 bytes at 4"},
		"a size that is not known":   {4, 3, 206, ranged("bytes 4-6/*"), 3, "012", -1, "asked for 3 bytes at 4"},
		"a whole file, not a range":  {4, 3, 200, nil, 14, file, -1, "server ignores ranges"},
		"a whole file, not its rest": {1, 0, 200, nil, 14, file, -1, "server ignores ranges"},
		"a whole file, not its start": {
			0, 4, 200, nil, 14, file, -1, "server ignores ranges"},
		"a small file, which fits":    {0, 14, 200, nil, 14, file, 14, ""},
		"one byte more":               {0, 13, 200, nil, 14, file, -1, "server ignores ranges"},
		"a range, no length":          {0, 20, 200, nil, -1, file, -1, "server ignores ranges"},
		"nothing at the end":          {14, 0, 416, ranged("bytes */14"), 0, "", -1, ""},
		"nothing, which does not fit": {13, 0, 416, ranged("bytes */14"), 0, "", -1, "no range at 13"},
		"a page":                      {0, 0, 200, map[string]string{"Content-Type": "text/html"}, 14, file, -1, "answer is a page"},
		"compressed":                  {0, 0, 200, map[string]string{"Content-Encoding": "gzip"}, 14, file, -1, "answer is encoded"},
		"something else":              {0, 0, 200, nil, 5, "hello", 5, "no ltx file"},
	} {
		total := int64(-1)
		r, err := clientio.WebRead{
			Send: func(header http.Header) (*http.Response, error) {
				if want := c.offset > 0 || c.size > 0; (header.Get("Range") != "") != want {
					t.Errorf("%s: range %q", name, header.Get("Range"))
				}
				resp := &http.Response{StatusCode: c.status, Header: http.Header{}, ContentLength: c.length, Body: io.NopCloser(strings.NewReader(c.body))}
				for k, v := range c.header {
					resp.Header.Set(k, v)
				}
				return resp, nil
			},
			Version: func(_ http.Header, n int64) string { total = n; return "1" },
		}.Open(t.Context(), c.offset, c.size)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		if c.wrong == "" && (err != nil || string(b) != c.body) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) || total != c.total {
			t.Errorf("%s: %q of a file of %d bytes, %v", name, b, total, err)
		}
	}
}

// TestWebRead_Refused reads a file for which the server has no success.
func TestWebRead_Refused(t *testing.T) {
	wrong := errors.New("wrong")
	for _, c := range []struct{ send, refusal, want error }{
		{wrong, nil, wrong}, {nil, wrong, wrong}, {nil, clientio.ErrAbsent, fs.ErrNotExist},
	} {
		_, err := clientio.WebRead{
			Send: func(http.Header) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody}, c.send
			},
			Refusal: func(*http.Response) error { return c.refusal },
		}.Open(t.Context(), 0, 0)
		if !errors.Is(err, c.want) {
			t.Errorf("%v, %v: %v", c.send, c.refusal, err)
		}
	}
}

// failing is a body that cannot be read.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

func TestReadListing(t *testing.T) {
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   string
		err    error
	}{
		"whole":                      {strings.NewReader("a list"), 6, "a list", nil},
		"without a length":           {strings.NewReader("a list"), -1, "a list", nil},
		"empty":                      {strings.NewReader(""), 0, "", nil},
		"cut off":                    {strings.NewReader("a lis"), 6, "", io.ErrUnexpectedEOF},
		"nothing of it":              {strings.NewReader(""), 6, "", io.ErrUnexpectedEOF},
		"one that cannot be read":    {failing{}, 6, "", errors.ErrUnsupported},
		"one that cannot, no length": {failing{}, -1, "", errors.ErrUnsupported},
	} {
		b, err := clientio.ReadListing(t.Context(), &http.Response{ContentLength: c.length, Body: io.NopCloser(c.body)})
		if string(b) != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	var tooLarge *clientio.AnswerError
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: -1, Body: io.NopCloser(io.LimitReader(zeros{}, clientio.MaxListing+1))}
	if _, err := clientio.ReadListing(t.Context(), resp); !errors.As(err, &tooLarge) {
		t.Errorf("a byte more than the limit: %v", err)
	}
	resp.Body = io.NopCloser(io.LimitReader(zeros{}, clientio.MaxListing))
	if b, err := clientio.ReadListing(t.Context(), resp); err != nil || len(b) != clientio.MaxListing {
		t.Errorf("as much as the limit: %d bytes, %v", len(b), err)
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
