package https

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	l, err := s.lister(ctx)
	if err != nil {
		return nil, err
	}
	u, err := l.find(ctx, file)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, file, u, offset, size)
}

// read reads a range of the file at an address.
func (s *session) read(ctx context.Context, file clientio.File, u *url.URL, offset, size int64) (io.ReadCloser, error) {
	header := http.Header{}
	if offset > 0 || size > 0 {
		header.Set("Range", clientio.RangeHeader(offset, size))
	}
	resp, err := s.send(ctx, http.MethodGet, u, header)
	if err != nil {
		return nil, err
	}
	total := resp.ContentLength
	answer := clientio.ObjectAnswer{Response: resp}
	switch {
	case resp.StatusCode/100 == 2 && clientio.IsPage(resp.Header):
		return nil, clientio.RefuseBody(resp, "answer is a page and no LTX file")
	case resp.Header.Get("Content-Encoding") != "" && resp.StatusCode/100 == 2:
		answer.Wrong = errors.New("answer is encoded, which was not asked for: turn compression of .ltx files off")
	case resp.StatusCode == http.StatusPartialContent && len(header) > 0:
		answer.Ranged = true
		answer.Length, answer.Wrong = clientio.RangeLength(resp.Header.Get("Content-Range"), resp.ContentLength, offset, size)
		_, after, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		total, err = strconv.ParseInt(after, 10, 64)
		if answer.Wrong == nil && err != nil {
			answer.Wrong = err
		}
	case resp.StatusCode == http.StatusOK && len(header) > 0 && (offset > 0 || total < 0 || total > size):
		_ = resp.Body.Close() // a file may be large
		return nil, clientio.Permanent(fmt.Errorf("server ignores ranges: asked for %d bytes at %d, it sends a whole file of %d", size, offset, total))
	case resp.StatusCode == http.StatusOK:
		if answer.Length = total; total < 0 {
			answer.Wrong = errors.New("answer has no Content-Length")
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		_ = resp.Body.Close() // it says nothing
		if header := resp.Header.Get("Content-Range"); !clientio.EndsBefore(header, offset) {
			return nil, fmt.Errorf("no range at %d, and the content range is %.80q: %w", offset, header, io.ErrUnexpectedEOF)
		}
		return clientio.NewBody(ctx, http.NoBody, 0), nil
	default:
		err := refusal(resp)
		if errors.Is(err, errAbsent) {
			return nil, fs.ErrNotExist
		}
		return nil, err
	}
	if answer.Wrong == nil {
		if err := clientio.CheckVersion(ctx, s.pins.seen(file, total, tagOf(resp.Header))); err != nil {
			_ = resp.Body.Close() // of another version
			return nil, err
		}
	}
	return answer.Body(ctx)
}

// errReadOnly is the error of everything that would change a replica.
var errReadOnly = fmt.Errorf("a replica behind a web server is read-only: %w", errors.ErrUnsupported)

// WriteLTXFile implements replica.Client. It returns errors.ErrUnsupported.
func (*ReplicaClient) WriteLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, _ io.Reader) (*ltx.FileInfo, error) {
	return nil, fmt.Errorf("write ltx file %s: %w", clientio.NewFile(level, minTXID, maxTXID), errReadOnly)
}

// DeleteLTXFiles implements replica.Client. It returns errors.ErrUnsupported, unless
// there is nothing to delete.
func (*ReplicaClient) DeleteLTXFiles(_ context.Context, a []*ltx.FileInfo) error {
	if len(a) == 0 {
		return nil
	}
	return fmt.Errorf("delete ltx files: %w", errReadOnly)
}
