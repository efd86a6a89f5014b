// Package clientio holds the code that the clients of all stores share: how
// they check arguments, name files, connect once, judge answers and read and
// write bodies, as replica.Client asks for.
package clientio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/superfly/ltx"
)

// MaxLevel is the highest level, which holds snapshots.
const MaxLevel = 9

// CheckLevel returns fs.ErrInvalid for a level that does not exist.
func CheckLevel(level int) error {
	if level < 0 || level > MaxLevel {
		return fmt.Errorf("level %d: %w", level, fs.ErrInvalid)
	}
	return nil
}

// PeekHeader checks that r begins with the LTX header of the named file, and
// returns the header and a reader of all of r.
func PeekHeader(r io.Reader, minTXID, maxTXID ltx.TXID) (ltx.Header, io.Reader, error) {
	hdr, r, err := ltx.PeekHeader(r)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ltx.ErrInvalidFile):
		return hdr, r, fmt.Errorf("read ltx header: %w (%w)", err, fs.ErrInvalid)
	case err != nil:
		return hdr, r, fmt.Errorf("read ltx header: %w", err)
	}
	if err := hdr.Validate(); err != nil {
		return hdr, r, fmt.Errorf("validate ltx header: %w (%w)", err, fs.ErrInvalid)
	}
	if hdr.MinTXID != minTXID || hdr.MaxTXID != maxTXID {
		return hdr, r, fmt.Errorf("ltx header is of %s-%s: %w", hdr.MinTXID, hdr.MaxTXID, fs.ErrInvalid)
	}
	return hdr, r, nil
}

// NewReader returns a reader of r that fails once ctx is done.
func NewReader(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
