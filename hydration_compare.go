package litestream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// setChecksum notes the checksum of a file. Head is its begin with the first
// bytes of its first frame, and tail what follows the frames.
func (f *ltxFile) setChecksum(checksum ltx.Checksum, head, tail []byte) {
	var before, after ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.checksum, f.sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.framesCRC = ltxio.FramesCRC(checksum, before, f.framesSize(), after)
}

// framesSize returns the size of the frames with pages uncompressed, bytes.
func (f *ltxFile) framesSize() int64 {
	return int64(f.frames) * (ltxio.FrameHeaderSize(f.sized) + int64(f.pageSize))
}

// hasFrames tells whether a sum is that of all frames.
func (f *ltxFile) hasFrames(sum ltxio.Sum) bool {
	return sum.CheckFrames(f.framesCRC, f.framesSize(), f.size-f.framesEnd-ltx.ChecksumSize)
}

// stretch is the sum of frames of a file that follow each other.
type stretch struct {
	offset, end int64
	sum         ltxio.Sum
}

// fileSums are stretches of files. The pages of a stretch that a local file
// has were written to it from the bytes that were summed up, or read back from
// it. It is safe for concurrent use; the zero value is empty.
type fileSums struct {
	mu struct {
		sync.Mutex
		of map[*ltxFile][]stretch
	}
}

func (s *fileSums) add(f *ltxFile, part stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.of == nil {
		s.mu.of = make(map[*ltxFile][]stretch)
	}
	s.mu.of[f] = append(s.mu.of[f], part)
}

// of returns the stretches of a file, by their offsets.
func (s *fileSums) of(f *ltxFile) []stretch {
	s.mu.Lock()
	parts := slices.Clone(s.mu.of[f])
	s.mu.Unlock()
	slices.SortFunc(parts, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(b.end, a.end)) })
	return parts
}

// forget drops the stretches of all files but those in keep.
func (s *fileSums) forget(keep map[*ltxFile]*fileTally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.mu.of {
		if keep[f] == nil {
			delete(s.mu.of, f)
		}
	}
}

// fileTally counts the pages of a view in a file.
type fileTally struct {
	file    *ltxFile
	open    int // not settled
	all     int
	settled *bitmap // pages that need no look; nil: all do
}

// pagesOf returns how many pages of a view lie in each file.
func (v *view) pagesOf() map[*ltxFile]int {
	all := make(map[*ltxFile]int)
	v.pages.sources.each(func(s source, pages int) { all[s.file] += pages })
	return all
}

// isComparable tells whether so much of a file is needed that the rest of it is
// read for its checksum.
func isComparable(f *ltxFile, needed int) bool { return needed*100 >= f.frames*wholeShare }

// unsettled returns the files that have pages that are not settled. The largest
// number of these comes first: the fewer are left, the less there is to look
// through for the others.
func (s *heldPages) unsettled() []*fileTally {
	all := s.view.pagesOf()
	tallies := make(map[*ltxFile]*fileTally)
	s.view.pages.eachMissing(s.settled, 1, math.MaxUint32, func(_ uint32, loc frameLoc) bool {
		t := tallies[loc.file]
		if t == nil {
			t = &fileTally{file: loc.file, all: all[loc.file]}
			tallies[loc.file] = t
		}
		t.open++
		return true
	})
	files := make([]*fileTally, 0, len(tallies))
	for _, t := range tallies {
		if t.open == t.all {
			t.settled = s.settled
		}
		files = append(files, t)
	}
	slices.SortFunc(files, func(a, b *fileTally) int {
		return cmp.Or(cmp.Compare(b.open, a.open), cmp.Compare(a.file.maxTXID, b.file.maxTXID), cmp.Compare(a.file.level, b.file.level))
	})
	return files
}

// compare compares the checksums of the files that pages of the view lie in
// that are not settled yet. All pages of the view are local, or were a moment
// ago.
func (h *hydrator) compare(ctx context.Context) error {
	l := h.local()
	held := l.held.Load()
	if held == nil {
		return nil
	}
	defer signal(h.wake)
	files := held.unsettled()
	keep := make(map[*ltxFile]*fileTally, len(files))
	for _, t := range files {
		keep[t.file] = t
	}
	l.sums.forget(keep)
	for _, t := range files {
		if held.view.epoch != h.db.current.Load().epoch {
			return nil
		}
		compared, err := h.compareFile(ctx, l, held.view, t)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if !compared && isComparable(t.file, t.all) && held.view != h.db.current.Load() {
			return nil // again, with what is the newest view by then
		}
		l.settle(ctx, held, t.file, compared || t.file.isWhole)
		delete(keep, t.file)
		l.sums.forget(keep)
	}
	return nil
}

// compareFile compares the checksum of a file, if not too much of it is to be
// read for that. It reports whether it did.
func (h *hydrator) compareFile(ctx context.Context, l *localPages, v *view, t *fileTally) (bool, error) {
	f, missing := t.file, int64(0)
	walkFile(v, t, l.sums.of(f), nil, func(offset, end int64) { missing += end - offset })
	if missing*100 > (f.framesEnd-ltx.HeaderSize)*(100-wholeShare) {
		return false, nil
	}
	gaps, err := l.sumBack(ctx, v, t)
	if err == nil && len(gaps) > 0 {
		err = h.sumGaps(ctx, l, v, f, gaps)
	}
	if err != nil || ctx.Err() != nil {
		return false, err
	}
	var sum ltxio.Sum
	end := int64(ltx.HeaderSize)
	for _, s := range l.sums.of(f) {
		if s.offset == end {
			sum, end = sum.Join(s.sum), s.end
		}
	}
	if end != f.framesEnd {
		return false, nil // the replica was replaced, or the local file was dropped
	}
	if !f.hasFrames(sum) {
		if err := h.reread(ctx, l, v, f); err != nil {
			return false, err
		}
	}
	return v.epoch == h.db.current.Load().epoch, nil
}

// gap is a part of a file whose frames are not summed up.
type gap struct{ offset, end int64 }

// walkFile walks through the frames of a file. It calls local for those of
// pages of a view, and gap for others; stretches are gone over. Without local,
// pages of the view are gone over, too.
func walkFile(v *view, t *fileTally, stretches []stretch, local func(pgno uint32, loc frameLoc) bool, gap func(offset, end int64)) {
	w := fileWalk{stretches: stretches, pos: ltx.HeaderSize, gap: gap}
	v.pages.eachMissing(t.settled, 1, math.MaxUint32, func(pgno uint32, loc frameLoc) bool {
		if loc.file != t.file || loc.offset < w.pos {
			return true
		}
		w.goTo(loc.offset)
		if w.pos != loc.offset || w.isAtStretch() {
			return true
		}
		w.pos += int64(loc.size)
		return local == nil || local(pgno, loc)
	})
	w.goTo(t.file.framesEnd)
}

type fileWalk struct {
	stretches []stretch // not gone over yet
	pos       int64
	gap       func(offset, end int64)
}

// isAtStretch tells whether a stretch begins here.
func (w *fileWalk) isAtStretch() bool {
	for len(w.stretches) > 0 && w.stretches[0].offset < w.pos {
		w.stretches = w.stretches[1:]
	}
	return len(w.stretches) > 0 && w.stretches[0].offset == w.pos
}

// goTo goes on to an offset, or the end of the stretch that it lies in.
func (w *fileWalk) goTo(offset int64) {
	for w.pos < offset {
		if w.isAtStretch() {
			w.pos = w.stretches[0].end
			continue
		}
		end := offset
		if len(w.stretches) > 0 {
			end = min(end, w.stretches[0].offset)
		}
		w.gap(w.pos, end)
		w.pos = end
	}
}

// sumBack reads the pages of a file back that no stretch has, and makes
// stretches of them. It returns what is not local.
func (l *localPages) sumBack(ctx context.Context, v *view, t *fileTally) (gaps []gap, err error) {
	f := t.file
	page := make([]byte, l.size)
	var run stretch
	flush := func() {
		if run.end > run.offset {
			l.sums.add(f, run)
		}
	}
	missing := func(offset, end int64) {
		if n := len(gaps); n > 0 && gaps[n-1].end == offset {
			gaps[n-1].end = end
			return
		}
		gaps = append(gaps, gap{offset, end})
	}
	walkFile(v, t, l.sums.of(f), func(pgno uint32, loc frameLoc) bool {
		end := loc.offset + int64(loc.size)
		switch err = l.read(v, pgno, page); {
		case err == errNotHere: // it has changed since, or another history begins
			err = nil
			missing(loc.offset, end)
			return true
		case err != nil:
			return false
		}
		if run.end != loc.offset || run.end-run.offset >= partSize {
			flush()
			run = stretch{offset: loc.offset}
		}
		run.sum.AddPage(pgno, loc.size, f.sized, page)
		run.end = end
		return ctx.Err() == nil
	}, missing)
	flush()
	return gaps, err
}

// settle notes whether a compared checksum covers the pages of a file that are
// not settled yet.
func (l *localPages) settle(ctx context.Context, of *heldPages, f *ltxFile, compared bool) {
	const batch = 1024
	pgnos := make([]uint32, 0, batch)
	note := func() {
		l.mu.RLock()
		defer l.mu.RUnlock()
		held := l.held.Load()
		for _, pgno := range pgnos {
			if held.has(of.view, pgno) {
				l.settlePage(held, pgno, compared)
			}
		}
		pgnos = pgnos[:0]
	}
	of.view.pages.eachMissing(of.settled, 1, math.MaxUint32, func(pgno uint32, loc frameLoc) bool {
		if loc.file == f {
			pgnos = append(pgnos, pgno)
		}
		if len(pgnos) == batch {
			note()
		}
		return ctx.Err() == nil
	})
	note()
}

// settleKey is settle for a page that a compared checksum covers.
func (l *localPages) settleKey(key pageKey) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if held := l.held.Load(); held.hasKey(key) {
		l.settlePage(held, key.pgno, true)
	}
}

// settlePage is settle for a page that is present. Called under mu.
func (l *localPages) settlePage(held *heldPages, pgno uint32, compared bool) {
	if !held.settled.set(pgno) {
		return
	}
	l.settled.Add(1)
	if compared && held.compared.set(pgno) {
		l.compared.Add(1)
	}
}

// sumGaps reads gaps of a file, and makes stretches of them.
func (h *hydrator) sumGaps(ctx context.Context, l *localPages, v *view, f *ltxFile, gaps []gap) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxBatch * h.db.opts.HydrationConcurrency)
	for _, gap := range gaps {
		g.Go(func() (err error) {
			defer guard(h.db.log, "hydration", &err)
			part := stretch{offset: gap.offset, end: gap.offset}
			err = h.eachFrame(ctx, f, v.epoch, gap.offset, gap.end, func(frame []byte, _ uint32, page []byte) {
				part.sum.AddFrame(frame, page)
				part.end += int64(len(frame))
			})
			if err == nil && part.end == gap.end {
				l.sums.add(f, part)
			}
			return err
		})
	}
	return g.Wait()
}

// eachFrame reads the frames of a file from an offset to another, and calls fn
// with each and its page. If the epoch ends, it returns early.
func (h *hydrator) eachFrame(ctx context.Context, f *ltxFile, epoch uint32, offset, end int64, fn func(frame []byte, pgno uint32, page []byte)) error {
	buf := h.db.reader.buffer(int(min(end-offset, partSize)))
	defer h.db.reader.frames.Put(buf)
	page := make([]byte, f.pageSize)
	for offset < end {
		if f.gone.Load() {
			return fmt.Errorf("read %s: %w", f, fs.ErrNotExist)
		}
		body := (*buf)[:min(end-offset, partSize)]
		if err := h.read(ctx, f, epoch, body, offset); err != nil {
			return err
		}
		if epoch != h.db.current.Load().epoch {
			return nil
		}
		whole := offset+int64(len(body)) == end
		for rest := body; len(rest) > 0; {
			pgno, size, err := ltxio.FrameSize(rest)
			if err != nil && !whole && len(rest) < len(body) {
				break // the rest of it comes with what follows
			}
			if err == nil {
				err = ltxio.DecodeFrame(page, rest[:size], pgno)
			}
			if err != nil {
				return &fileError{file: f, epoch: epoch, error: fmt.Errorf("hydrate from %s: %w", f, err)}
			}
			fn(rest[:size], pgno, page)
			rest, offset = rest[size:], offset+int64(size)
		}
	}
	return nil
}

// errLocalWrong means that a page of the local file is not what the replica
// has, though the file that it came from is intact.
var errLocalWrong = errors.New("the local file is damaged")

// reread reads a file once more whose frames do not have its checksum, and
// returns what is wrong: the file, or a page of it that is local. Nothing is
// wrong where frames tell their size in another manner than it seemed.
func (h *hydrator) reread(ctx context.Context, l *localPages, v *view, f *ltxFile) error {
	var sum ltxio.Sum
	head := make([]byte, ltx.HeaderSize)
	if err := h.read(ctx, f, v.epoch, head, 0); err != nil {
		return err
	}
	sum.Add(head)
	local := make([]byte, l.size)
	differs := uint32(0)
	err := h.eachFrame(ctx, f, v.epoch, ltx.HeaderSize, f.framesEnd, func(frame []byte, pgno uint32, page []byte) {
		sum.AddFrame(frame, page)
		if loc, ok := v.lookup(pgno); ok && loc.file == f && l.read(v, pgno, local) == nil && !bytes.Equal(local, page) {
			differs = pgno
		}
	})
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	trailer, terr := h.sumTail(ctx, v.epoch, f, &sum)
	switch {
	case terr != nil:
		return terr
	case v.epoch != h.db.current.Load().epoch:
		return nil // it is another file's, or nothing was read
	case trailer.FileChecksum != f.checksum:
		return fmt.Errorf("%s was written again: %w", f, fs.ErrNotExist)
	}
	if err == nil {
		err = sum.Check(trailer)
	}
	if err != nil {
		return &fileError{file: f, epoch: v.epoch, wrong: true, error: fmt.Errorf("hydrate from %s: %w", f, err)}
	}
	if differs != 0 {
		return fmt.Errorf("%w: page %d is not as in %s", errLocalWrong, differs, f)
	}
	return nil
}

// sumTail reads what follows the frames of a file, and adds it to a sum.
func (h *hydrator) sumTail(ctx context.Context, epoch uint32, f *ltxFile, sum *ltxio.Sum) (trailer ltx.Trailer, err error) {
	last := make([]byte, ltx.TrailerSize)
	body := make([]byte, min(f.size-f.framesEnd, partSize))
	for offset, end := f.framesEnd, f.size-ltx.TrailerSize; offset < end; offset += int64(len(body)) {
		body = body[:min(end-offset, int64(len(body)))]
		if err := h.read(ctx, f, epoch, body, offset); err != nil {
			return trailer, err
		}
		sum.Add(body)
	}
	if err := h.read(ctx, f, epoch, last, f.size-ltx.TrailerSize); err != nil {
		return trailer, err
	}
	sum.Add(last[:ltx.TrailerSize-ltx.ChecksumSize])
	err = trailer.UnmarshalBinary(last)
	return trailer, err
}
