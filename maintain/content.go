package maintain

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
)

// Sizes of reads, bytes. A part is a run of whole frames, which one request
// reads. It is so large that the latency of a request hardly matters.
const (
	partSize    = 4 << 20
	wholeSize   = 1 << 20 // a file up to this size is read with one request
	minTailRead = 32 << 10
	maxTailRead = 4 << 20
	tailDivisor = 64 // an index entry has about 8 bytes, most frames more than 500
)

// content is an LTX file of which everything but the frames was read and is well
// formed.
type content struct {
	info    *ltx.FileInfo
	header  ltx.Header
	trailer ltx.Trailer
	index   ltxio.Index
	head    []byte // the header as it is in the file
	tail    []byte // the rest, after the frames
	body    []byte // the whole file, if it is small; nil otherwise
}

// part is a run of frames of a file.
type part struct {
	number  int // from 0 in each file
	offset  int64
	entries []ltxio.Entry
}

func (p part) size() int64 {
	last := p.entries[len(p.entries)-1]
	return last.Offset + int64(last.Size) - p.offset
}

// open reads the header, the page index and the trailer of a file. If the file has
// no more than whole bytes, it reads the frames as well.
func (s *session) open(ctx context.Context, info *ltx.FileInfo, whole int64) (*content, error) {
	return s.openAs(ctx, info, info.MinTXID, info.MaxTXID, whole)
}

// openAs is open for a file whose name may have other transactions than its content.
func (s *session) openAs(ctx context.Context, info *ltx.FileInfo, minTXID, maxTXID ltx.TXID, whole int64) (*content, error) {
	if info.Size < ltxio.MinFileSize || info.Size > ltxio.MaxFileSize {
		return nil, fmt.Errorf("%w: file has %d bytes", errs.ErrCorrupt, info.Size)
	}
	if info.Size <= whole {
		return s.openWhole(ctx, info, minTXID, maxTXID)
	}
	c := &content{info: info, head: make([]byte, ltx.HeaderSize)}
	tail := make([]byte, min(max(info.Size/tailDivisor, minTailRead), maxTailRead, info.Size-ltx.HeaderSize))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.load(gctx, info, c.head, 0) })
	g.Go(func() error { return s.load(gctx, info, tail, info.Size-int64(len(tail))) })
	err := g.Wait()
	if err != nil {
		return nil, err
	}
	if c.header, err = ltxio.ParseHeader(c.head, minTXID, maxTXID); err != nil {
		return nil, err
	}
	need, err := ltxio.TailSizeOf(c.header, tail, info.Size)
	if err != nil {
		return nil, err
	}
	if need > int64(len(tail)) {
		read := func(buf []byte, offset int64) error { return s.load(ctx, info, buf, offset) }
		if tail, err = ltxio.ReadRest(tail, need, info.Size, read); err != nil {
			return nil, err
		}
	}
	c.tail = tail[int64(len(tail))-need:]
	c.index, c.trailer, err = ltxio.ParseTail(c.tail, c.header, info.Size)
	return c, err
}

// openWhole reads a file with one request.
func (s *session) openWhole(ctx context.Context, info *ltx.FileInfo, minTXID, maxTXID ltx.TXID) (*content, error) {
	b := make([]byte, info.Size)
	if err := s.load(ctx, info, b, 0); err != nil {
		return nil, err
	}
	f, err := ltxio.ParseFile(b, minTXID, maxTXID)
	if err != nil {
		return nil, err
	}
	need, err := ltxio.TailSize(b, info.Size)
	if err != nil {
		return nil, err
	}
	return &content{
		info: info, header: f.Header, trailer: f.Trailer, index: f.Index,
		head: b[:ltx.HeaderSize], tail: b[info.Size-need:], body: b,
	}, nil
}

// parts cuts the frames of a file into parts and calls fn with each, until fn
// returns false.
func (c *content) parts(fn func(part) bool) {
	p := part{offset: ltx.HeaderSize}
	proceed := true
	c.index.Each(func(e ltxio.Entry) bool {
		if len(p.entries) > 0 && e.Offset+int64(e.Size)-p.offset > partSize {
			proceed = fn(p)
			p = part{number: p.number + 1, offset: e.Offset}
		}
		p.entries = append(p.entries, e)
		return proceed
	})
	if proceed && len(p.entries) > 0 {
		fn(p)
	}
}

// buffers are reused for the bodies of parts.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// loadPart reads the frames of a part. The caller calls release when it needs them
// no more.
func (s *session) loadPart(ctx context.Context, c *content, p part) (body []byte, release func(), err error) {
	if c.body != nil {
		return c.body[p.offset:][:p.size()], func() {}, nil
	}
	cost := min(p.size(), partSize)
	if err := s.memory.Acquire(ctx, cost); err != nil {
		return nil, nil, err
	}
	buf := buffers.Get().(*[]byte)
	release = func() {
		buffers.Put(buf)
		s.memory.Release(cost)
	}
	*buf = slices.Grow((*buf)[:0], int(p.size()))
	body = (*buf)[:p.size()]
	if err := s.load(ctx, c.info, body, p.offset); err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// decodePart decodes the frames of a part, and calls fn with each of its pages in
// order. A page is valid until fn returns. The result is the sum of the frames.
func (c *content) decodePart(p part, body []byte, fn func(pgno uint32, page []byte) error) (sum ltxio.Sum, err error) {
	page := make([]byte, c.header.PageSize)
	for _, e := range p.entries {
		frame := body[e.Offset-p.offset:][:e.Size]
		err := ltxio.DecodeFrame(page, frame, e.Pgno)
		if err == nil {
			err = ltxio.CheckDescriptor(frame, e.Pgno)
		}
		if err != nil {
			return sum, err
		}
		sum.AddFrame(frame, page)
		if err := fn(e.Pgno, page); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// readPart reads a part, and calls fn as decodePart does.
func (s *session) readPart(ctx context.Context, c *content, p part, fn func(pgno uint32, page []byte) error) (sum ltxio.Sum, err error) {
	body, release, err := s.loadPart(ctx, c, p)
	if err != nil {
		return sum, err
	}
	defer release()
	if sum, err = c.decodePart(p, body, fn); err == nil {
		s.progress.add(Progress{Bytes: p.size()})
	}
	return sum, err
}

// check compares the sums of the parts of a file, in order, with its checksum.
func (c *content) check(sums []ltxio.Sum) error {
	var sum ltxio.Sum
	sum.Add(c.head)
	for _, s := range sums {
		sum = sum.Join(s)
	}
	sum.Add(c.tail[:len(c.tail)-ltx.ChecksumSize])
	return sum.Check(c.trailer)
}

// verify reads all frames of a file and compares its checksums. It calls fn with
// each page, from several goroutines if the file is large.
func (s *session) verify(ctx context.Context, c *content, fn func(pgno uint32, page []byte) error) error {
	var mu sync.Mutex
	var sums []ltxio.Sum // guarded by mu
	var rolling atomic.Uint64
	rolls := !c.header.NoChecksum() && c.header.IsSnapshot()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.concurrency)
	c.parts(func(p part) bool {
		mu.Lock()
		sums = append(sums, ltxio.Sum{})
		mu.Unlock()
		g.Go(func() error {
			sum, err := s.readPart(gctx, c, p, func(pgno uint32, page []byte) error {
				if rolls {
					xor(&rolling, uint64(ltx.ChecksumPage(pgno, page)))
				}
				return fn(pgno, page)
			})
			mu.Lock()
			defer mu.Unlock()
			sums[p.number] = sum
			return err
		})
		return gctx.Err() == nil
	})
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = c.check(sums)
	}
	if got := ltx.ChecksumFlag | ltx.Checksum(rolling.Load()); err == nil && rolls && got != c.trailer.PostApplyChecksum {
		err = fmt.Errorf("%w: the pages have the rolling checksum %s, the trailer says %s", errs.ErrCorrupt, got, c.trailer.PostApplyChecksum)
	}
	return err
}

// xor changes a number that several goroutines change.
func xor(number *atomic.Uint64, change uint64) {
	for {
		old := number.Load()
		if number.CompareAndSwap(old, old^change) {
			return
		}
	}
}
