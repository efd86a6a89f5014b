package hydrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/task"
)

// copyParts reads parts concurrently and writes their pages. It calls admitted
// each time that a request may be sent, from several goroutines.
func (c *copier) copyParts(ctx context.Context, v *view.View, parts []part, admitted func()) error {
	if len(parts) == 1 { // as most batches have
		return c.copyPart(ctx, v, parts[0], admitted)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxBatch)
	for _, p := range parts {
		g.Go(func() error { return c.copyPart(ctx, v, p, admitted) })
	}
	return g.Wait()
}

// copyPart reads a part and writes the pages that are still missing. It calls
// admitted each time that a request may be sent.
func (c *copier) copyPart(ctx context.Context, v *view.View, p part, admitted func()) (err error) {
	defer task.Guard(c.Log, "hydration", &err)
	if p.file.Gone.Load() {
		return fmt.Errorf("read %s: %w", p.file, fs.ErrNotExist)
	}
	held := c.tier.local.Load().held.Load()
	if held == nil || held.view.Epoch != v.Epoch {
		return nil // of another history
	}
	switch missing := missingOf(v, held.present, p); {
	case missing == 0:
		return nil // its pages have become local since
	case p.whole && missing < p.pages/2:
		at := c.reader.places(ctx)
		parts := missingParts(at, v, held.present, p)
		if at.err != nil {
			return at.err
		}
		return c.copyParts(ctx, v, parts, admitted)
	}
	buf := c.Buffers.Get(int(p.size()))
	defer c.Buffers.Put(buf)
	body := (*buf)[:p.size()]
	if err := c.reader.read(ctx, p.file, v.Epoch, body, p.offset, admitted); err != nil {
		return err
	}
	if !c.isCurrent(v.Epoch) {
		return nil // it may be of another history
	}
	defer task.Signal(c.tier.wake)
	run := c.runs.Get().(*[]byte)
	defer c.runs.Put(run)
	w := &runWriter{l: c.tier.local.Load(), epoch: v.Epoch, pageSize: int(v.PageSize), data: (*run)[:0]}
	var sum ltxio.Sum
	if p.whole {
		sum, err = decodeAll(v, p, body, w)
	} else {
		err = decodeWanted(c.reader.places(ctx), v, held.present, p, body, w)
	}
	if err == nil {
		err = w.flush()
	}
	if errors.Is(err, errs.ErrCorrupt) {
		return &fileError{file: p.file, epoch: v.Epoch, error: fmt.Errorf("hydrate from %s: %w", p.file, err)}
	}
	if err == nil && p.whole && w.already == 0 { // else the sum is not that of what is in the file
		w.l.sums.add(p.file, stretch{p.offset, p.end, sum})
	}
	if err == nil {
		c.state.resume()
	}
	return err
}

// missingOf returns how many pages in a part are still missing; all of them if
// present is nil.
func missingOf(v *view.View, present *view.Bitmap, p part) (n int) {
	v.Pages.EachMissing(present, p.first, p.last, func(_ uint32, loc view.Loc) bool {
		if loc.File == p.file {
			n++
		}
		return true
	})
	return n
}

// decodeWanted writes the pages of a part that are still missing.
func decodeWanted(at *places, v *view.View, present *view.Bitmap, p part, body []byte, w *runWriter) (err error) {
	at.eachMissing(v, present, p.first, p.last, func(pgno uint32, loc view.Loc) bool {
		if loc.File != p.file || loc.Offset < p.offset || loc.Offset+int64(loc.Size) > p.end {
			return true
		}
		var page []byte
		if page, err = w.next(pgno, loc.Version); err == nil {
			err = ltxio.DecodeFrame(page, body[loc.Offset-p.offset:][:loc.Size], pgno)
		}
		return err == nil
	})
	return cmp.Or(err, at.err)
}

// decodeAll sums up all frames of a part, and writes the pages of the view. For
// pages that are local already, it sums up the local bytes. It is an error if a
// page of the part is not among the frames: its frame says another number.
func decodeAll(v *view.View, p part, body []byte, w *runWriter) (sum ltxio.Sum, err error) {
	offset, found, last := p.offset, 0, uint32(0)
	scratch := make([]byte, v.PageSize)
	for rest := body; len(rest) > 0; {
		pgno, size, err := ltxio.FrameSize(rest)
		if err == nil && pgno <= last {
			err = fmt.Errorf("%w: page %d follows page %d", errs.ErrCorrupt, pgno, last)
		}
		if err != nil {
			return sum, err
		}
		last = pgno
		page, known := scratch, false
		if loc, ok := v.Lookup(pgno); ok && loc.File == p.file && (loc.IsUnread() || loc.Offset == offset && int(loc.Size) == size) {
			if p.first <= pgno && pgno <= p.last {
				found++
			}
			if known = w.l.read(v, pgno, scratch) == nil; !known {
				if page, err = w.next(pgno, loc.Version); err != nil {
					return sum, err
				}
			}
		}
		if !known {
			if err := ltxio.DecodeFrame(page, rest[:size], pgno); err != nil {
				return sum, err
			}
		}
		sum.AddFrame(rest[:size], page)
		rest, offset = rest[size:], offset+int64(size)
	}
	if missing := missingOf(v, nil, p) - found; missing > 0 {
		return sum, fmt.Errorf("%w: %d of the pages from %d to %d are not in their frames", errs.ErrCorrupt, missing, p.first, p.last)
	}
	return sum, nil
}

// runWriter writes pages that are decoded one after the other. Successive pages
// are written at once.
type runWriter struct {
	l        *localPages
	epoch    uint32
	pageSize int

	first    uint32
	versions []ltx.TXID
	data     []byte
	already  int // pages that were local before they could be written
}

// runSize is the most that is written at once, bytes.
const runSize = 256 << 10

// next returns the buffer to decode the next page into.
func (w *runWriter) next(pgno uint32, version ltx.TXID) ([]byte, error) {
	if n := uint32(len(w.versions)); n > 0 && (pgno != w.first+n || len(w.data)+w.pageSize > cap(w.data)) {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	if len(w.versions) == 0 {
		w.first = pgno
	}
	w.versions = append(w.versions, version)
	w.data = w.data[:len(w.data)+w.pageSize]
	return w.data[len(w.data)-w.pageSize:], nil
}

// flush writes the pages that were decoded.
func (w *runWriter) flush() error {
	already, err := w.l.write(w.epoch, w.first, w.versions, w.data)
	w.already += already
	w.versions, w.data = w.versions[:0], w.data[:0]
	return err
}
