package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/pkg/sftp"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// The sizes of the reads of one body. The next read is under way while the caller
// uses the bytes of the one before.
const (
	firstRead = 64 << 10
	mostRead  = 1 << 20
)

// OpenLTXFile implements replica.Client. It opens the file and reads the first
// bytes, which takes two round trips.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	b, err := s.openPath(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
	if err != nil {
		return nil, err
	}
	if clientio.UsesVersion(ctx) {
		// The first read is under way meanwhile.
		fi, err := on(ctx, b.link, b.file.Stat, func(fs.FileInfo) {})
		if err == nil {
			err = clientio.CheckVersion(ctx, version(fi))
		} else {
			err = unexpected("read attributes", err)
		}
		if err != nil {
			_ = b.Close() // of another version
			return nil, err
		}
	}
	return b, nil
}

// openPath opens a file and begins to read.
func (s *session) openPath(ctx context.Context, path string, offset, size int64) (*body, error) {
	type opened struct {
		link *link
		file *sftp.File
	}
	drop := func(l *link, o opened) {
		_ = o.file.Close() // the caller has gone
		l.release()
	}
	o, err := do(ctx, s, func(l *link) (opened, error) {
		f, err := l.client.Open(path)
		if err == nil {
			l.calls.Add(1) // until the body is closed
		}
		return opened{l, f}, err
	}, drop)
	if err != nil {
		return nil, explain(err)
	}
	b := &body{ctx: ctx, link: o.link, file: o.file, offset: offset, left: cmp.Or(size, math.MaxInt64), size: firstRead}
	b.begin()
	return b, nil
}

// version returns a text that differs between two files of one name, as far as
// size and modification time differ.
func version(fi fs.FileInfo) string {
	return fmt.Sprintf("%d-%d", fi.Size(), fi.ModTime().Unix())
}

// body is a part of a file. It has one read under way, and up to mostRead bytes
// that were read.
type body struct {
	ctx  context.Context
	link *link
	file *sftp.File

	offset int64 // of the next read
	left   int64 // bytes that were not asked for
	size   int   // of the next read
	next   chan piece
	ready  []byte
	err    error // returned after ready
}

// piece is the result of one read.
type piece struct {
	bytes []byte
	err   error
}

// begin begins the next read, if there is more to read.
func (b *body) begin() {
	n := int(min(int64(b.size), b.left))
	if n == 0 {
		b.next = nil
		return
	}
	next, offset, file := make(chan piece, 1), b.offset, b.file
	if !b.link.begin(func() {
		p := make([]byte, n)
		n, err := file.ReadAt(p, offset)
		next <- piece{p[:n], err}
	}) {
		next <- piece{err: errEnded}
	}
	b.next = next
	b.offset, b.left = b.offset+int64(n), b.left-int64(n)
	b.size = min(2*b.size, mostRead)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	for len(b.ready) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.fetch()
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// fetch takes the result of the read that is under way, and begins the next one.
func (b *body) fetch() {
	if b.next == nil {
		b.err = io.EOF
		return
	}
	var got piece
	select {
	case got = <-b.next:
	case <-b.ctx.Done():
		b.err = b.ctx.Err()
		return
	}
	b.next, b.ready = nil, got.bytes
	switch {
	case errors.Is(got.err, io.EOF):
		b.err = io.EOF // the file ends here
	case got.err != nil:
		b.err = clientio.WithCause(b.ctx, unexpected("read file", got.err))
	default:
		b.begin()
	}
}

// Close implements io.Closer. It does not wait for the server.
func (b *body) Close() error {
	if b.file == nil {
		return nil
	}
	file, l := b.file, b.link
	b.file, b.ready, b.err = nil, nil, fs.ErrClosed
	if !l.begin(func() {
		defer l.release()
		_ = file.Close() // it was only read
	}) {
		l.release()
	}
	return nil
}
