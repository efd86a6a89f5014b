package litestream

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// How much of a file is read to know it. A file up to wholeSize is read
// whole, which also verifies its checksum. Otherwise one read of the head
// brings the header and the first pages, and one of the tail the page index;
// only if that is larger than guessed it takes one more.
const (
	wholeSize   = 128 << 10
	headSize    = 64 << 10
	minTailRead = 32 << 10
	maxTailRead = 4 << 20
	tailDivisor = 64 // an index entry is some 8 bytes, a frame mostly more than 500

	// A plan may have hundreds of files. As many are loaded at a time, and
	// held until their turn comes, as are within both limits.
	loadConcurrency = 128
	loadMemory      = 64 << 20 // bytes

	// maxLoadedBytes bounds the decoded pages kept of a file: what is small
	// compressed can be large.
	maxLoadedBytes = 512 << 10
)

// loadedFile is what was read of a file to know it.
type loadedFile struct {
	file  *ltxFile
	index ltxio.Index
	pages []loadedPage // decoded on the way
	bytes int          // in pages
}

// wants reports whether another page of that size may be kept.
func (l *loadedFile) wants(pageSize int) bool { return l.bytes+pageSize <= maxLoadedBytes }

func (l *loadedFile) keep(pgno uint32, data []byte) {
	l.pages = append(l.pages, loadedPage{pgno, data})
	l.bytes += len(data)
}

type loadedPage struct {
	pgno uint32
	data []byte
}

// loadFile reads the header, the page index and, as they come with
// these, pages of a file.
func (s *store) loadFile(ctx context.Context, info *ltx.FileInfo) (l *loadedFile, err error) {
	if err := s.guard(func() error {
		l, err = s.loadParts(ctx, info)
		return err
	}); err != nil {
		return nil, fmt.Errorf("load %s: %w", keyOf(info), err)
	}
	s.markWrong(l.file)
	return l, nil
}

func (s *store) loadParts(ctx context.Context, info *ltx.FileInfo) (*loadedFile, error) {
	if info.Size < ltxio.MinFileSize || info.Size > ltxio.MaxFileSize {
		return nil, fmt.Errorf("%w: file has %d bytes", ErrCorrupt, info.Size)
	}
	ctx = asListed(ctx, info) // or its parts could be those of several files
	if info.Size <= wholeSize {
		return s.loadWhole(ctx, info)
	}
	head := make([]byte, headSize)
	tail := make([]byte, tailGuess(info))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.load(gctx, keyOf(info), head, 0) })
	g.Go(func() error { return s.load(gctx, keyOf(info), tail, info.Size-int64(len(tail))) })
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
		return nil, fmt.Errorf("%w: page index has %d bytes, at most %d for %d pages", ErrCorrupt, need, most, hdr.Commit)
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
	l := &loadedFile{file: newLTXFile(info, hdr, index, need), index: index}
	l.file.setChecksum(trailer.FileChecksum, head, tail[int64(len(tail))-need:])
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

// tailGuess returns how much of the end of a file is read at first.
func tailGuess(info *ltx.FileInfo) int64 {
	return min(max(info.Size/tailDivisor, minTailRead), maxTailRead, info.Size-headSize)
}

// loadSize returns about how much memory the loading of a file takes.
func loadSize(info *ltx.FileInfo) int64 {
	if info.Size <= wholeSize {
		return max(info.Size, 0) + maxLoadedBytes/4
	}
	return headSize + tailGuess(info) + maxLoadedBytes/4
}

// readRest returns the last need bytes of a file, of which tail is the end.
// It allocates as they arrive: that there are so many is only said so far.
func (s *store) readRest(ctx context.Context, info *ltx.FileInfo, tail []byte, need int64) ([]byte, error) {
	var b []byte
	more := need - int64(len(tail))
	for int64(len(b)) < more {
		n := int(min(more-int64(len(b)), maxTailRead))
		b = slices.Grow(b, n)
		part := b[len(b) : len(b)+n]
		if err := s.load(ctx, keyOf(info), part, info.Size-need+int64(len(b))); err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
	}
	return append(b, tail...), nil
}

func (s *store) loadWhole(ctx context.Context, info *ltx.FileInfo) (*loadedFile, error) {
	b := make([]byte, info.Size)
	if err := s.load(ctx, keyOf(info), b, 0); err != nil {
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
	l := &loadedFile{file: newLTXFile(info, f.Header, f.Index, need), index: f.Index.Clone()}
	l.file.setChecksum(f.Trailer.FileChecksum, b, b[info.Size-need:])
	l.file.isWhole = true
	if err := f.Verify(func(pgno uint32, page []byte) {
		if l.wants(len(page)) {
			l.keep(pgno, bytes.Clone(page))
		}
	}); err != nil {
		return nil, err
	}
	return l, nil
}

// header reads a file's header.
func (s *store) header(ctx context.Context, info *ltx.FileInfo) ([]byte, error) {
	if info.Size < ltxio.MinFileSize {
		return nil, fmt.Errorf("read header of %s: %w: file has %d bytes", keyOf(info), ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.HeaderSize)
	return buf, s.load(asListed(ctx, info), keyOf(info), buf, 0)
}

// timestamp reads the timestamp in a file's header, ms since the Unix epoch.
func (s *store) timestamp(ctx context.Context, info *ltx.FileInfo) (int64, error) {
	buf, err := s.header(ctx, info)
	if err != nil {
		return 0, err
	}
	hdr, err := ltxio.ParseHeader(buf, info.MinTXID, info.MaxTXID)
	if err != nil {
		return 0, fmt.Errorf("read header of %s: %w", keyOf(info), err)
	}
	return hdr.Timestamp, nil
}

// checksum reads the checksum in a file's trailer.
func (s *store) checksum(ctx context.Context, info *ltx.FileInfo) (ltx.Checksum, error) {
	if info.Size < ltxio.MinFileSize {
		return 0, fmt.Errorf("read trailer of %s: %w: file has %d bytes", keyOf(info), ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.TrailerSize)
	if err := s.load(asListed(ctx, info), keyOf(info), buf, info.Size-ltx.TrailerSize); err != nil {
		return 0, err
	}
	var trailer ltx.Trailer
	if err := trailer.UnmarshalBinary(buf); err != nil {
		return 0, fmt.Errorf("read trailer of %s: %w: %w", keyOf(info), ErrCorrupt, err)
	}
	return trailer.FileChecksum, nil
}

// loadFiles loads files in parallel and calls fn with each, in the order
// given. Some are held in memory at a time, not all.
func (s *store) loadFiles(ctx context.Context, infos []*ltx.FileInfo, fn func(*loadedFile) error) error {
	type result struct {
		l   *loadedFile
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	g := new(errgroup.Group)
	defer func() { cancel(); _ = g.Wait() }()
	// A slot is taken before a file is loaded and given back after it was
	// used, and so is memory. Both in the order of use, so that no file waits
	// for one that comes after it.
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
		r := <-results[i] // soon after ctx is done, and then with the reason
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
