package clientio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/superfly/ltx"
)

// CheckRange returns fs.ErrInvalid for a range with a negative offset or size,
// or with an end beyond the largest offset.
func CheckRange(offset, size int64) error {
	if offset < 0 || size < 0 || offset+size < 0 {
		return fmt.Errorf("range at %d of %d bytes: %w", offset, size, fs.ErrInvalid)
	}
	return nil
}

// NewBody returns a body of exactly size bytes. If r ends earlier, the body
// fails with io.ErrUnexpectedEOF. If r fails because ctx is done, the error
// wraps the error of ctx.
func NewBody(ctx context.Context, r io.ReadCloser, size int64) io.ReadCloser {
	return &body{ctx: ctx, r: r, size: size}
}

// body is a body of known length. Close reads one byte beyond the length,
// because a connection is only free for the next request after its reader has
// seen the end.
type body struct {
	ctx  context.Context
	r    io.ReadCloser
	size int64
	n    int64 // bytes read so far
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.n == b.size {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.size-b.n)])
	b.n += int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && b.n == b.size:
		return n, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("body ends after %d of %d bytes: %w", b.n, b.size, io.ErrUnexpectedEOF)
	default:
		err = fmt.Errorf("body fails after %d of %d bytes: %w", b.n, b.size, err)
	}
	return n, WithCause(b.ctx, err)
}

func (b *body) Close() error {
	if b.n == b.size {
		var end [1]byte
		_, _ = b.r.Read(end[:]) // lets the transport see the end
	}
	return b.r.Close()
}

// WithCause returns err, unless ctx is done and err does not say so, because
// some libraries hide it. Then it returns an error that wraps both the error of
// ctx and err.
func WithCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// firstPart is the capacity in bytes that a part begins with.
const firstPart = 64 << 10

// ReadPart reads up to size bytes of r. The memory grows with what has been
// read. more says that r may have more bytes.
func ReadPart(r io.Reader, size int) (part []byte, more bool, err error) {
	return ReadPartInto(nil, r, size)
}

// ReadPartInto is ReadPart that uses the memory of part, whose content is lost.
func ReadPartInto(part []byte, r io.Reader, size int) (_ []byte, more bool, err error) {
	part = part[:0]
	for len(part) < size {
		if len(part) == cap(part) {
			part = slices.Grow(part, min(max(len(part), firstPart), size-len(part)))
		}
		n, err := r.Read(part[len(part):min(cap(part), size)])
		part = part[:len(part)+n]
		switch {
		case errors.Is(err, io.EOF):
			return part, false, nil
		case err != nil:
			return nil, false, fmt.Errorf("read body: %w", err)
		}
	}
	return part, true, nil
}

// CheckBegin returns a reader of r, which is the body of a whole LTX file or of
// its first bytes. If the body does not begin like an LTX file, the reader
// fails with the error that wrong makes of the first bytes.
func CheckBegin(r io.ReadCloser, wrong func(begin []byte) error) io.ReadCloser {
	return &begin{ReadCloser: r, wrong: wrong}
}

type begin struct {
	io.ReadCloser
	wrong   func([]byte) error
	checked bool
	peeked  []byte // bytes that were read and not returned yet
	err     error  // returned after peeked
}

func (b *begin) Read(p []byte) (int, error) {
	if !b.checked {
		b.err = b.check()
	}
	if len(b.peeked) > 0 {
		n := copy(p, b.peeked)
		b.peeked = b.peeked[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// check reads as much as it takes to tell a page or a message from an LTX file.
func (b *begin) check() error {
	b.checked = true
	peeked := make([]byte, 512)
	n, err := io.ReadAtLeast(b.ReadCloser, peeked, len(ltx.Magic))
	peeked = peeked[:n]
	if bytes.HasPrefix(peeked, []byte(ltx.Magic)) {
		b.peeked = peeked
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return b.wrong(peeked)
}
