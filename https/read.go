package https

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

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
	began := s.pins.begin()
	return clientio.WebRead{
		Send:    func(header http.Header) (*http.Response, error) { return s.send(ctx, http.MethodGet, u, header) },
		Refusal: refusal,
		Version: func(header http.Header, total int64) string { return s.pins.seen(file, began, total, tagOf(header)) },
	}.Open(ctx, offset, size)
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
