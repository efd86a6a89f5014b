package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

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
		p.whole.skip()
		return nil // of another history
	}
	if p.whole.isSkipped() {
		if p.first == 0 {
			return nil
		}
		p.whole = nil
	}
	switch missing := missingOf(v, held.present, p); {
	case p.first == 0:
	case p.whole == nil && missing == 0:
		return nil // others have read it
	case p.whole != nil && missing < int(p.last-p.first+1)/2:
		p.whole.skip()
		return h.copyParts(ctx, v, missingParts(v, held.present, p))
	}
	buf := h.db.reader.buffer(int(p.size()))
	defer h.db.reader.frames.Put(buf)
	body := (*buf)[:p.size()]
	if err := h.read(ctx, p.file, v.epoch, body, p.offset); err != nil {
		return err
	}
	if v.epoch != h.db.current.Load().epoch {
		p.whole.skip()
		return nil // it may be of another history
	}
	defer signal(h.wake)
	run := h.runs.Get().(*[]byte)
	defer h.runs.Put(run)
	w := &runWriter{l: h.local(), epoch: v.epoch, pageSize: int(v.pageSize), data: (*run)[:0]}
	switch {
	case p.whole == nil:
		err = decodeWanted(v, held.present, p, body, w)
	case p.offset < p.file.framesEnd:
		err = decodeAll(v, p, body, w)
	default:
		err = p.whole.addTail(p, body)
	}
	if err == nil {
		err = w.flush()
	}
	if errors.Is(err, ErrCorrupt) {
		return &fileError{p.file, v.epoch, fmt.Errorf("hydrate from %s: %w", p.file, err)}
	}
	if err == nil {
		h.resumes()
	}
	return err
}

// missingOf returns how many pages that lie in a part are still missing.
func missingOf(v *view, present *bitmap, p part) (n int) {
	present.missingIn(p.first, p.last, func(pgno uint32) bool {
		if loc, ok := v.lookup(pgno); ok && loc.file == p.file {
			n++
		}
		return true
	})
	return n
}

// decodeWanted writes the pages of a part that are still missing.
func decodeWanted(v *view, present *bitmap, p part, body []byte, w *runWriter) (err error) {
	present.missingIn(p.first, p.last, func(pgno uint32) bool {
		loc, ok := v.lookup(pgno)
		if !ok || loc.file != p.file || loc.offset < p.offset || loc.offset+int64(loc.size) > p.end {
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

// decodeAll decodes every frame of a part, sums them up, and writes those that
// are of the view.
func decodeAll(v *view, p part, body []byte, w *runWriter) error {
	var sum ltxio.Sum
	rest, offset := body, p.offset
	if offset == 0 {
		sum.Add(body[:ltx.HeaderSize])
		rest, offset = body[ltx.HeaderSize:], ltx.HeaderSize
	}
	scratch := make([]byte, v.pageSize)
	for len(rest) > 0 {
		pgno, size, err := ltxio.FrameSize(rest)
		if err != nil {
			return err
		}
		page := scratch
		if loc, ok := v.lookup(pgno); ok && loc.file == p.file && loc.offset == offset && int(loc.size) == size {
			if page, err = w.next(pgno, loc.version); err != nil {
				return err
			}
		}
		if err := ltxio.DecodeFrame(page, rest[:size], pgno); err != nil {
			return err
		}
		sum.AddFrame(rest[:size], page)
		rest, offset = rest[size:], offset+int64(size)
	}
	p.whole.add(p.offset, sum)
	return nil
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
		case errors.Is(err, errShortBody), isPermanent(err) && !errors.Is(err, context.Canceled):
			// The file may be another history's, which has the name again.
			if h.db.refresh(ctx); isOver() {
				return nil
			}
			if isPermanent(err) {
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
		n, err := s.readOnce(ctx, hydrating, t, f.key(), buf, offset, func([]byte) {
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
	err := w.l.put(w.epoch, w.first, w.versions, w.data)
	w.versions, w.data = w.versions[:0], w.data[:0]
	return err
}

// wholeFile adds up the checksum of a file that is read whole, in parts.
type wholeFile struct {
	file *ltxFile

	mu      sync.Mutex   // duty: what follows
	sums    []sumAt      // guarded by mu
	trailer *ltx.Trailer // guarded by mu
	skipped bool         // guarded by mu; a part is not read
}

type sumAt struct {
	offset int64
	sum    ltxio.Sum
}

func (w *wholeFile) add(offset int64, sum ltxio.Sum) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums = append(w.sums, sumAt{offset, sum})
}

// addTail adds a part of what follows the frames.
func (w *wholeFile) addTail(p part, body []byte) error {
	var sum ltxio.Sum
	// The checksum of the file is not part of what it is over.
	sum.Add(body[:min(int64(len(body)), w.file.size-ltx.ChecksumSize-p.offset)])
	w.add(p.offset, sum)
	if p.end < w.file.size {
		return nil
	}
	trailer := new(ltx.Trailer)
	if err := trailer.UnmarshalBinary(body[len(body)-ltx.TrailerSize:]); err != nil {
		return fmt.Errorf("%w: trailer: %w", ErrCorrupt, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trailer = trailer
	return nil
}

func (w *wholeFile) isSkipped() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skipped
}

// skip gives up the checksum. A nil wholeFile has none.
func (w *wholeFile) skip() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped = true
}

// check compares the checksum, if every part was read.
func (w *wholeFile) check(epoch uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.skipped || w.trailer == nil {
		return nil
	}
	if w.trailer.FileChecksum != w.file.checksum {
		return fmt.Errorf("%s was written again: %w", w.file, fs.ErrNotExist)
	}
	slices.SortFunc(w.sums, func(a, b sumAt) int { return cmp.Compare(a.offset, b.offset) })
	var sum ltxio.Sum
	for _, s := range w.sums {
		sum = sum.Join(s.sum)
	}
	if err := sum.Check(*w.trailer); err != nil {
		return &fileError{w.file, epoch, fmt.Errorf("hydrate from %s: %w", w.file, err)}
	}
	return nil
}
