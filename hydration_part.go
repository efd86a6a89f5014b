package litestream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
)

// copyParts reads parts at the same time and writes their pages.
func (h *hydrator) copyParts(ctx context.Context, v *view, parts []part) error {
	if len(parts) == 1 { // mostly
		return h.copyPart(ctx, v, parts[0])
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxBatch)
	for _, p := range parts {
		g.Go(func() error { return h.copyPart(ctx, v, p) })
	}
	return g.Wait()
}

func (h *hydrator) copyPart(ctx context.Context, v *view, p part) (err error) {
	defer guard(h.db.log, "hydration", &err)
	if p.file.gone.Load() {
		return fmt.Errorf("read %s: %w", p.file, fs.ErrNotExist)
	}
	held := h.local().held.Load()
	if held == nil || held.view.epoch != v.epoch {
		return nil // of another history
	}
	switch missing := missingOf(v, held.present, p); {
	case missing == 0:
		return nil // others have read it
	case p.whole && missing < p.pages/2:
		return h.copyParts(ctx, v, missingParts(v, held.present, p))
	}
	buf := h.db.reader.buffer(int(p.size()))
	defer h.db.reader.frames.Put(buf)
	body := (*buf)[:p.size()]
	if err := h.read(ctx, p.file, v.epoch, body, p.offset); err != nil {
		return err
	}
	if v.epoch != h.db.current.Load().epoch {
		return nil // it may be of another history
	}
	defer signal(h.wake)
	run := h.runs.Get().(*[]byte)
	defer h.runs.Put(run)
	w := &runWriter{l: h.local(), epoch: v.epoch, pageSize: int(v.pageSize), data: (*run)[:0]}
	var sum ltxio.Sum
	if p.whole {
		sum, err = decodeAll(v, p, body, w)
	} else {
		err = decodeWanted(v, held.present, p, body, w)
	}
	if err == nil {
		err = w.flush()
	}
	if errors.Is(err, ErrCorrupt) {
		return &fileError{file: p.file, epoch: v.epoch, error: fmt.Errorf("hydrate from %s: %w", p.file, err)}
	}
	if err == nil && p.whole && w.already == 0 { // else it is not what was written
		w.l.sums.add(p.file, stretch{p.offset, p.end, sum})
	}
	if err == nil {
		h.resumes()
	}
	return err
}

// missingOf returns how many pages that lie in a part are still missing.
func missingOf(v *view, present *bitmap, p part) (n int) {
	v.pages.eachMissing(present, p.first, p.last, func(_ uint32, loc frameLoc) bool {
		if loc.file == p.file {
			n++
		}
		return true
	})
	return n
}

// decodeWanted writes the pages of a part that are still missing.
func decodeWanted(v *view, present *bitmap, p part, body []byte, w *runWriter) (err error) {
	v.pages.eachMissing(present, p.first, p.last, func(pgno uint32, loc frameLoc) bool {
		if loc.file != p.file || loc.offset < p.offset || loc.offset+int64(loc.size) > p.end {
			return true
		}
		var page []byte
		if page, err = w.next(pgno, loc.version); err == nil {
			err = ltxio.DecodeFrame(page, body[loc.offset-p.offset:][:loc.size], pgno)
		}
		return err == nil
	})
	return err
}

// decodeAll sums up every frame of a part, and writes the pages that are of the
// view. Of pages that are local already, what is local counts.
func decodeAll(v *view, p part, body []byte, w *runWriter) (sum ltxio.Sum, err error) {
	offset := p.offset
	scratch := make([]byte, v.pageSize)
	for rest := body; len(rest) > 0; {
		pgno, size, err := ltxio.FrameSize(rest)
		if err != nil {
			return sum, err
		}
		page, known := scratch, false
		if loc, ok := v.lookup(pgno); ok && loc.file == p.file && loc.offset == offset && int(loc.size) == size {
			if known = w.l.read(v, pgno, scratch) == nil; !known {
				if page, err = w.next(pgno, loc.version); err != nil {
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
	return sum, nil
}

// read reads a part of a file of an epoch, again and again while storage does not answer.
// It gives up without an error if the epoch ends.
func (h *hydrator) read(ctx context.Context, f *ltxFile, epoch uint32, buf []byte, offset int64) error {
	for delay := firstHydrationDelay; ; delay = min(2*delay, lastHydrationDelay) {
		err := h.readOnce(ctx, f, buf, offset)
		isOver := func() bool { return epoch != h.db.current.Load().epoch }
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case isOver():
			return nil
		case isMissing(err):
			f.gone.Store(true)
			return err
		case errors.Is(err, errShortBody), errs.IsPermanent(err) && !errors.Is(err, context.Canceled):
			// The file may be another history's, which has the name again.
			if h.db.refresh(ctx); isOver() {
				return nil
			}
			if errs.IsPermanent(err) {
				delay = lastHydrationDelay // credentials, say, that somebody may put right
			}
		}
		h.pauses(false, err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// errStalled means that no bytes came for as long as a read may take.
var errStalled = errors.New("no bytes came within the time limit of a read")

// readOnce makes one request, gives way to queries as its bytes come, and
// keeps to the rate limit.
func (h *hydrator) readOnce(ctx context.Context, f *ltxFile, buf []byte, offset int64) (err error) {
	s := h.db.store
	limit := h.db.opts.ReadTimeout
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The time that it waits itself does not count.
	timer := time.AfterFunc(time.Hour, func() { cancel(errStalled) })
	defer timer.Stop()
	rearm := func() {
		if limit >= 0 {
			timer.Reset(limit)
		} else {
			timer.Stop()
		}
	}
	timer.Stop()
	for n := len(buf); h.rate != nil && n > 0; n -= h.rate.Burst() {
		if err := h.rate.WaitN(ctx, min(n, h.rate.Burst())); err != nil {
			return err
		}
	}
	cost := min(max(1, int64(len(buf))*maxBatch/partSize), maxBatch)
	if err := h.streams.Acquire(ctx, cost); err != nil {
		return err
	}
	defer h.streams.Release(cost)
	t := s.limit.enqueue(hydrating)
	if err := s.limit.wait(ctx, t); err != nil {
		return err
	}
	err = s.guard(func() error {
		rearm()
		n, err := s.readOnce(f.reading(ctx), hydrating, t, f.key(), buf, offset, func([]byte) {
			timer.Stop()
			s.limit.awaitQuiet(ctx, patience)
			rearm()
		})
		h.bytes.Add(int64(n))
		return err
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		err = fmt.Errorf("read %s: %w", f, errStalled)
	}
	return err
}

// runWriter writes pages that are decoded one after the other, those side by
// side at once.
type runWriter struct {
	l        *localPages
	epoch    uint32
	pageSize int

	first    uint32
	versions []ltx.TXID
	data     []byte
	already  int // pages that were local when they were to be written
}

// runSize is how much is written at once, bytes.
const runSize = 256 << 10

// next returns where to decode a page to.
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

// flush writes what was decoded.
func (w *runWriter) flush() error {
	already, err := w.l.write(w.epoch, w.first, w.versions, w.data)
	w.already += already
	w.versions, w.data = w.versions[:0], w.data[:0]
	return err
}
