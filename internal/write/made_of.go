package write

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// isMadeOf reports whether a file that ends with the transaction of a segment was
// made of the segment's own file: an operator may merge files between an upload and
// the check after it. Such a file has the timestamp of its last part, and every page
// of the segment. The timestamp alone proves nothing, because another writer may have
// made the transaction in the same millisecond.
func (d *Deps) isMadeOf(ctx context.Context, s *segment, f *ltx.FileInfo) (bool, error) {
	if f.MaxTXID != s.txid() {
		return false, nil
	}
	b, err := d.Store.Header(ctx, f)
	if err != nil {
		return false, err
	}
	var hdr ltx.Header
	if err := hdr.UnmarshalBinary(b); err != nil {
		return false, fmt.Errorf("read header of %s: %w: %w", view.KeyOf(f), errs.ErrCorrupt, err)
	}
	if hdr.Timestamp != s.newest || hdr.Commit != s.commit || hdr.PageSize != s.log.PageSize {
		return false, nil
	}
	same, err := d.hasPages(ctx, s, f)
	if err != nil {
		return false, fmt.Errorf("compare %s with the commits of %s: %w", view.KeyOf(f), s.key(), err)
	}
	return same, nil
}

// hasPages reports whether a file has the pages of a segment. It reads the file
// once, page by page.
func (d *Deps) hasPages(ctx context.Context, s *segment, f *ltx.FileInfo) (bool, error) {
	parts := &partReader{ctx: remote.AsListed(ctx, f), store: d.Store, file: f}
	same, err := s.isPartOf(ltx.NewDecoder(ltxio.NewGuard(bufio.NewReaderSize(parts, partSize))))
	switch {
	case parts.err != nil:
		return false, parts.err
	case err != nil && !errors.Is(err, errOwnPage):
		err = fmt.Errorf("%w: %w", errs.ErrCorrupt, err)
	}
	return same, err
}

// errOwnPage means that a page of a segment cannot be read from the write buffer.
var errOwnPage = errors.New("read a page of the write buffer")

// isPartOf reports whether a file that dec reads has the pages of a segment.
func (s *segment) isPartOf(dec *ltx.Decoder) (bool, error) {
	dec.SetRetainPageIndex(false)
	if err := dec.DecodeHeader(); err != nil {
		return false, err
	}
	if dec.Header().PageSize != s.log.PageSize {
		return false, nil // it was replaced since its header was read
	}
	missing := 0
	for pgno := range s.pages {
		if pgno <= s.commit {
			missing++
		}
	}
	page, own := make([]byte, s.log.PageSize), make([]byte, s.log.PageSize)
	for {
		var hdr ltx.PageHeader
		if err := dec.DecodePage(&hdr, page); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return false, err
		}
		if _, ok := s.pages[hdr.Pgno]; !ok || hdr.Pgno > s.commit {
			continue
		}
		if err := s.read(hdr.Pgno, own); err != nil {
			return false, fmt.Errorf("%w: %w", errOwnPage, err)
		}
		if !bytes.Equal(page, own) {
			return false, nil
		}
		missing--
	}
	return missing == 0, dec.Close()
}

// partSize is the number of bytes of a file that are read with one request, so that a
// request which fails can be repeated.
const partSize = 1 << 20

// partReader reads a file from its beginning to its end.
type partReader struct {
	ctx    context.Context
	store  *remote.Store
	file   *ltx.FileInfo
	offset int64
	err    error // why the store could not be read; nil if it could
}

// Read implements io.Reader.
func (r *partReader) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.file.Size-r.offset)
	if n <= 0 {
		return 0, io.EOF
	}
	if r.err = r.store.Load(r.ctx, view.KeyOf(r.file), p[:n], r.offset); r.err != nil {
		return 0, r.err
	}
	r.offset += n
	return int(n), nil
}
