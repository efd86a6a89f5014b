package litestream

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// These constants determine how much of a file is read to load it. A file of at
// most wholeSize bytes is read whole, which also verifies its checksum. Of a
// larger file, one read of the head returns the header and the first pages, and
// one read of the tail returns the page index. A third read is needed only if
// the page index is larger than estimated.
const (
	wholeSize   = 128 << 10
	headSize    = 64 << 10
	minTailRead = 32 << 10
	maxTailRead = 4 << 20
	tailDivisor = 64 // an index entry has about 8 bytes, most frames more than 500

	// A plan may have hundreds of files. loadFiles loads them in parallel and
	// holds each one until it is used. These constants limit the number and the
	// total size of the files held.
	loadConcurrency = 128
	loadMemory      = 64 << 20 // bytes

	// maxLoadedBytes limits the decoded pages that are kept of one file,
	// because a small compressed file can hold large pages.
	maxLoadedBytes = 512 << 10
)

// loadedFile holds the parts of a file that were read to load it.
type loadedFile struct {
	file  *view.File
	index ltxio.Index
	pages []loadedPage // pages that these parts contained, decoded
	bytes int          // total size of pages
}

// wants reports whether another page of pageSize bytes may be kept.
func (l *loadedFile) wants(pageSize int) bool { return l.bytes+pageSize <= maxLoadedBytes }

func (l *loadedFile) keep(pgno uint32, data []byte) {
	l.pages = append(l.pages, loadedPage{pgno, data})
	l.bytes += len(data)
}

type loadedPage struct {
	pgno uint32
	data []byte
}

// loadFile reads the header and the page index of a file, and keeps pages that
// these reads return, too.
func (s *store) loadFile(ctx context.Context, info *ltx.FileInfo) (l *loadedFile, err error) {
	if err := s.guard(func() error {
		l, err = s.loadParts(ctx, info)
		return err
	}); err != nil {
		return nil, fmt.Errorf("load %s: %w", view.KeyOf(info), err)
	}
	s.markWrong(l.file)
	return l, nil
}

func (s *store) loadParts(ctx context.Context, info *ltx.FileInfo) (*loadedFile, error) {
	if info.Size < ltxio.MinFileSize || info.Size > ltxio.MaxFileSize {
		return nil, fmt.Errorf("%w: file has %d bytes", errs.ErrCorrupt, info.Size)
	}
	ctx = asListed(ctx, info) // all parts must come from the same version of the file
	if info.Size <= wholeSize {
		return s.loadWhole(ctx, info)
	}
	head := make([]byte, headSize)
	tail := make([]byte, tailGuess(info))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.load(gctx, view.KeyOf(info), head, 0) })
	g.Go(func() error { return s.load(gctx, view.KeyOf(info), tail, info.Size-int64(len(tail))) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	hdr, err := ltxio.ParseHeader(head, info.MinTXID, info.MaxTXID)
	if err != nil {
		return nil, err
	}
	need, err := ltxio.TailSize(tail, info.Size)
	if err != nil {
		return nil, err
	}
	if most := ltxio.MaxTailSize(hdr); need > most {
		return nil, fmt.Errorf("%w: page index has %d bytes, at most %d for %d pages", errs.ErrCorrupt, need, most, hdr.Commit)
	}
	if need > int64(len(tail)) {
		if tail, err = s.readRest(ctx, info, tail, need); err != nil {
			return nil, err
		}
	}
	index, trailer, err := ltxio.ParseTail(tail, hdr, info.Size)
	if err != nil {
		return nil, err
	}
	l := &loadedFile{file: view.NewFile(info, hdr, index, need), index: index}
	l.file.SetChecksum(trailer.FileChecksum, head, tail[int64(len(tail))-need:])
	index.Each(func(e ltxio.Entry) bool {
		end := e.Offset + int64(e.Size)
		if end > int64(len(head)) || !l.wants(int(hdr.PageSize)) {
			return false
		}
		page := make([]byte, hdr.PageSize)
		if err = ltxio.DecodeFrame(page, head[e.Offset:end], e.Pgno); err != nil {
			return false
		}
		l.keep(e.Pgno, page)
		return true
	})
	return l, err
}

// tailGuess returns how many bytes at the end of a file the first read covers.
func tailGuess(info *ltx.FileInfo) int64 {
	return min(max(info.Size/tailDivisor, minTailRead), maxTailRead, info.Size-headSize)
}

// loadSize estimates the memory that loading a file takes, in bytes.
func loadSize(info *ltx.FileInfo) int64 {
	if info.Size <= wholeSize {
		return max(info.Size, 0) + maxLoadedBytes/4
	}
	return headSize + tailGuess(info) + maxLoadedBytes/4
}

// readRest returns the last need bytes of a file; tail holds the end of them.
// It grows the buffer as the bytes arrive, because need comes from the file and
// is not verified yet.
func (s *store) readRest(ctx context.Context, info *ltx.FileInfo, tail []byte, need int64) ([]byte, error) {
	var b []byte
	more := need - int64(len(tail))
	for int64(len(b)) < more {
		n := int(min(more-int64(len(b)), maxTailRead))
		b = slices.Grow(b, n)
		part := b[len(b) : len(b)+n]
		if err := s.load(ctx, view.KeyOf(info), part, info.Size-need+int64(len(b))); err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
	}
	return append(b, tail...), nil
}

func (s *store) loadWhole(ctx context.Context, info *ltx.FileInfo) (*loadedFile, error) {
	b := make([]byte, info.Size)
	if err := s.load(ctx, view.KeyOf(info), b, 0); err != nil {
		return nil, err
	}
	f, err := ltxio.ParseFile(b, info.MinTXID, info.MaxTXID)
	if err != nil {
		return nil, err
	}
	need, err := ltxio.TailSize(b, info.Size)
	if err != nil {
		return nil, err
	}
	l := &loadedFile{file: view.NewFile(info, f.Header, f.Index, need), index: f.Index.Clone()}
	l.file.SetChecksum(f.Trailer.FileChecksum, b, b[info.Size-need:])
	l.file.IsWhole = true
	if err := f.Verify(func(pgno uint32, page []byte) {
		if l.wants(len(page)) {
			l.keep(pgno, bytes.Clone(page))
		}
	}); err != nil {
		return nil, err
	}
	return l, nil
}

// header reads the header of a file.
func (s *store) header(ctx context.Context, info *ltx.FileInfo) ([]byte, error) {
	if info.Size < ltxio.MinFileSize {
		return nil, fmt.Errorf("read header of %s: %w: file has %d bytes", view.KeyOf(info), errs.ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.HeaderSize)
	return buf, s.load(asListed(ctx, info), view.KeyOf(info), buf, 0)
}

// timestamp reads the timestamp in the header of a file, in milliseconds since
// the Unix epoch.
func (s *store) timestamp(ctx context.Context, info *ltx.FileInfo) (int64, error) {
	buf, err := s.header(ctx, info)
	if err != nil {
		return 0, err
	}
	hdr, err := ltxio.ParseHeader(buf, info.MinTXID, info.MaxTXID)
	if err != nil {
		return 0, fmt.Errorf("read header of %s: %w", view.KeyOf(info), err)
	}
	return hdr.Timestamp, nil
}

// checksum reads the checksum in the trailer of a file.
func (s *store) checksum(ctx context.Context, info *ltx.FileInfo) (ltx.Checksum, error) {
	if info.Size < ltxio.MinFileSize {
		return 0, fmt.Errorf("read trailer of %s: %w: file has %d bytes", view.KeyOf(info), errs.ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.TrailerSize)
	if err := s.load(asListed(ctx, info), view.KeyOf(info), buf, info.Size-ltx.TrailerSize); err != nil {
		return 0, err
	}
	var trailer ltx.Trailer
	if err := trailer.UnmarshalBinary(buf); err != nil {
		return 0, fmt.Errorf("read trailer of %s: %w: %w", view.KeyOf(info), errs.ErrCorrupt, err)
	}
	return trailer.FileChecksum, nil
}

// loadFiles loads files in parallel and calls fn with each of them in the given
// order. It holds only a part of the files in memory at a time.
func (s *store) loadFiles(ctx context.Context, infos []*ltx.FileInfo, fn func(*loadedFile) error) error {
	type result struct {
		l   *loadedFile
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	g := new(errgroup.Group)
	defer func() { cancel(); _ = g.Wait() }()
	// The loader takes a slot and memory before it loads a file, and the loop
	// below returns both after the file is used. Slots and memory are taken in
	// the order of use, so that no file waits for a later one.
	slots := make(chan struct{}, loadConcurrency)
	memory := semaphore.NewWeighted(loadMemory)
	results := make([]chan result, len(infos))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	g.Go(func() error {
		for i, info := range infos {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				results[i] <- result{err: ctx.Err()}
				continue
			}
			if err := memory.Acquire(ctx, loadSize(info)); err != nil {
				results[i] <- result{err: err}
				continue
			}
			g.Go(func() error {
				l, err := s.loadFile(ctx, info)
				results[i] <- result{l, err}
				return nil
			})
		}
		return nil
	})
	for i, info := range infos {
		r := <-results[i] // once ctx is done, the result arrives soon and contains the reason
		if r.err != nil {
			return r.err
		}
		<-slots
		memory.Release(loadSize(info))
		if err := fn(r.l); err != nil {
			return err
		}
	}
	return nil
}
