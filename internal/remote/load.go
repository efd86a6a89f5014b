package remote

import (
	"bytes"
	"context"
	"fmt"
	"runtime"

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

	// A plan may have hundreds of files. LoadFiles loads them in parallel and
	// holds each one until it is used. These constants limit the number and the
	// total size of the files held.
	loadConcurrency = 256
	loadMemory      = 64 << 20 // bytes

	// unreadFrom is the size of a page index from which on it is read as it is
	// needed, if the file has every page of its database.
	unreadFrom = 256 << 10 // bytes

	// maxLoadedBytes limits the decoded pages that are kept of one file,
	// because a small compressed file can hold large pages.
	maxLoadedBytes = 512 << 10
)

// Loaded holds the parts of a file that were read to load it.
type Loaded struct {
	File  *view.File
	Index ltxio.Index  // empty if File.Dense is the index
	Pages []LoadedPage // pages that these parts contained, decoded
	bytes int          // total size of pages
}

// wants reports whether another page of pageSize bytes may be kept.
func (l *Loaded) wants(pageSize int) bool { return l.bytes+pageSize <= maxLoadedBytes }

// keep adds a page.
func (l *Loaded) keep(pgno uint32, data []byte) {
	l.Pages = append(l.Pages, LoadedPage{pgno, data})
	l.bytes += len(data)
}

// LoadedPage is a page that was read along with the index of its file.
type LoadedPage struct {
	Pgno uint32
	Data []byte
}

// LoadFile reads the header and the page index of a file, and keeps pages that
// these reads return, too.
func (s *Store) LoadFile(ctx context.Context, info *ltx.FileInfo) (*Loaded, error) {
	return s.loadFile(ctx, info, s.enqueueLoad(info))
}

// tickets are those of the first attempts of the requests that load a file.
type tickets []*Ticket

// enqueueLoad enqueues the requests that load a file. The caller calls loadFile.
func (s *Store) enqueueLoad(info *ltx.FileInfo) tickets {
	if s.isLoadedWhole(info) {
		return tickets{s.Limit.Enqueue(Loading)}
	}
	return tickets{s.Limit.Enqueue(Loading), s.Limit.Enqueue(Loading)}
}

// take returns the next ticket.
func (q *tickets) take() *Ticket {
	t := (*q)[0]
	*q = (*q)[1:]
	return t
}

// loadFile is LoadFile for a file whose requests are enqueued.
func (s *Store) loadFile(ctx context.Context, info *ltx.FileInfo, q tickets) (l *Loaded, err error) {
	defer func() {
		for _, t := range q { // there were no such requests
			s.Limit.Done(t)
		}
	}()
	if err := s.Guard(func() error {
		l, err = s.loadParts(ctx, info, &q)
		return err
	}); err != nil {
		return nil, fmt.Errorf("load %s: %w", view.KeyOf(info), err)
	}
	s.MarkWrong(l.File)
	return l, nil
}

func (s *Store) loadParts(ctx context.Context, info *ltx.FileInfo, q *tickets) (*Loaded, error) {
	if info.Size < ltxio.MinFileSize || info.Size > ltxio.MaxFileSize {
		return nil, fmt.Errorf("%w: file has %d bytes", errs.ErrCorrupt, info.Size)
	}
	ctx = AsListed(ctx, info) // all parts must come from the same version of the file
	headSize, tailSize := int64(headSize), s.tailGuess(info)
	if s.isLoadedWhole(info) {
		return s.loadWhole(ctx, info, q.take())
	}
	if s.NeverWhole && info.MinTXID == 1 {
		headSize, tailSize = min(headSize, max(ltx.HeaderSize+ltx.PageHeaderSize, info.Size/8)), min(tailSize, 64)
	}
	head := make([]byte, headSize)
	tail := make([]byte, tailSize)
	g, gctx := errgroup.WithContext(ctx)
	first, second := q.take(), q.take()
	g.Go(func() error { return s.readAll(gctx, Loading, Loading, first, view.KeyOf(info), head, 0) })
	g.Go(func() error {
		return s.readAll(gctx, Loading, Loading, second, view.KeyOf(info), tail, info.Size-int64(len(tail)))
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	hdr, err := ltxio.ParseHeader(head, info.MinTXID, info.MaxTXID)
	if err != nil {
		return nil, err
	}
	need, err := ltxio.TailSizeOf(hdr, tail, info.Size)
	if err != nil {
		return nil, err
	}
	if info.MinTXID == 1 && (need > s.unreadFrom() || s.NeverWhole) {
		return s.loadDense(info, hdr, head, tail)
	}
	if need > int64(len(tail)) {
		read := func(buf []byte, offset int64) error { return s.Load(ctx, view.KeyOf(info), buf, offset) }
		if tail, err = ltxio.ReadRest(tail, need, info.Size, read); err != nil {
			return nil, err
		}
	}
	index, trailer, err := ltxio.ParseTail(tail, hdr, info.Size)
	if err != nil {
		return nil, err
	}
	l := &Loaded{File: view.NewFile(info, hdr, index, need), Index: index}
	l.File.SetChecksum(trailer.FileChecksum, head, tail[int64(len(tail))-need:])
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

// isLoadedWhole reports whether a file is read whole to load it.
func (s *Store) isLoadedWhole(info *ltx.FileInfo) bool {
	return info.Size <= wholeSize && !(s.NeverWhole && info.MinTXID == 1)
}

// tailGuess returns how many bytes at the end of a file the first read covers.
func (s *Store) tailGuess(info *ltx.FileInfo) int64 {
	most := int64(maxTailRead)
	if info.MinTXID == 1 {
		most = s.unreadFrom()
	}
	return min(max(info.Size/tailDivisor, minTailRead), most, max(info.Size-headSize, ltxio.MinFileSize/2))
}

// unreadFrom returns the size of a page index from which on it is read as it is
// needed.
func (s *Store) unreadFrom() int64 {
	if limit := s.Indexes.Limit(); limit > 0 {
		return max(min(unreadFrom, limit/4), minTailRead)
	}
	return unreadFrom
}

// loadSize estimates the memory that loading a file takes, in bytes.
func (s *Store) loadSize(info *ltx.FileInfo) int64 {
	if info.Size <= wholeSize {
		return max(info.Size, 0) + maxLoadedBytes/4
	}
	return headSize + s.tailGuess(info) + maxLoadedBytes/4
}

func (s *Store) loadWhole(ctx context.Context, info *ltx.FileInfo, t *Ticket) (*Loaded, error) {
	b := make([]byte, info.Size)
	if err := s.readAll(ctx, Loading, Loading, t, view.KeyOf(info), b, 0); err != nil {
		return nil, err
	}
	// Many files arrive at once. The requests for the next ones begin before these are
	// verified, which takes longer.
	runtime.Gosched()
	return parseWhole(info, b)
}

// parseWhole loads a file from all of its bytes.
func parseWhole(info *ltx.FileInfo, b []byte) (*Loaded, error) {
	f, err := ltxio.ParseFile(b, info.MinTXID, info.MaxTXID)
	if err != nil {
		return nil, err
	}
	need, err := ltxio.TailSize(b, info.Size)
	if err != nil {
		return nil, err
	}
	l := &Loaded{File: view.NewFile(info, f.Header, f.Index, need), Index: f.Index.Clone()}
	l.File.SetChecksum(f.Trailer.FileChecksum, b, b[info.Size-need:])
	l.File.IsWhole = true
	if err := f.Verify(func(pgno uint32, page []byte) {
		if l.wants(len(page)) {
			l.keep(pgno, bytes.Clone(page))
		}
	}); err != nil {
		return nil, err
	}
	return l, nil
}

// Header reads the header of a file.
func (s *Store) Header(ctx context.Context, info *ltx.FileInfo) ([]byte, error) {
	if info.Size < ltxio.MinFileSize {
		return nil, fmt.Errorf("read header of %s: %w: file has %d bytes", view.KeyOf(info), errs.ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.HeaderSize)
	return buf, s.Load(AsListed(ctx, info), view.KeyOf(info), buf, 0)
}

// Timestamp reads the timestamp in the header of a file, in milliseconds since
// the Unix epoch.
func (s *Store) Timestamp(ctx context.Context, info *ltx.FileInfo) (int64, error) {
	buf, err := s.Header(ctx, info)
	if err != nil {
		return 0, err
	}
	hdr, err := ltxio.ParseHeader(buf, info.MinTXID, info.MaxTXID)
	if err != nil {
		return 0, fmt.Errorf("read header of %s: %w", view.KeyOf(info), err)
	}
	return hdr.Timestamp, nil
}

// Checksum reads the checksum in the trailer of a file.
func (s *Store) Checksum(ctx context.Context, info *ltx.FileInfo) (ltx.Checksum, error) {
	if info.Size < ltxio.MinFileSize {
		return 0, fmt.Errorf("read trailer of %s: %w: file has %d bytes", view.KeyOf(info), errs.ErrCorrupt, info.Size)
	}
	buf := make([]byte, ltx.TrailerSize)
	if err := s.Load(AsListed(ctx, info), view.KeyOf(info), buf, info.Size-ltx.TrailerSize); err != nil {
		return 0, err
	}
	var trailer ltx.Trailer
	if err := trailer.UnmarshalBinary(buf); err != nil {
		return 0, fmt.Errorf("read trailer of %s: %w: %w", view.KeyOf(info), errs.ErrCorrupt, err)
	}
	return trailer.FileChecksum, nil
}

// LoadFiles loads files in parallel and calls fn with each of them in the given
// order. It holds only a part of the files in memory at a time.
func (s *Store) LoadFiles(ctx context.Context, infos []*ltx.FileInfo, fn func(*Loaded) error) error {
	type result struct {
		l   *Loaded
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	g := new(errgroup.Group)
	defer func() { cancel(); _ = g.Wait() }()
	// The loader takes a slot and memory before it loads a file, and the loop
	// below returns both after the file is used. Slots, memory and the places of
	// requests are taken in the order of use, so that no file waits for a later one.
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
			if err := memory.Acquire(ctx, s.loadSize(info)); err != nil {
				results[i] <- result{err: err}
				continue
			}
			q := s.enqueueLoad(info)
			g.Go(func() error {
				l, err := s.loadFile(ctx, info, q)
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
		memory.Release(s.loadSize(info))
		if err := fn(r.l); err != nil {
			return err
		}
	}
	return nil
}
