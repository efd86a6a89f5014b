package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

const (
	// windowSize is how much of a page index is read for a page whose place in its
	// file is not known: thousands of pages, in about the time that a few take.
	windowSize = 128 << 10

	// minWindowSize is the least of that if the memory for page indexes is bounded.
	minWindowSize = 16 << 10

	// indexPart and indexStreams are for reading all of a page index: the size of a
	// request, and how many are made at a time.
	indexPart    = 2 << 20
	indexStreams = 12

	// overlap is how far a part of an index goes back into the one before it, so
	// that one of them has the entry that lies across their border whole.
	overlap = 64

	// indexPatience is how long reading all of an index gives way to queries.
	indexPatience = 100 * time.Millisecond

	// maxProbes bounds the search for an entry. Files that are not corrupt take one
	// or two.
	maxProbes = 64
)

// loadDense describes a file with every page of its database by its ends, of
// which head and tail are. Its page index is read as it is needed.
func (s *Store) loadDense(info *ltx.FileInfo, hdr ltx.Header, head, tail []byte) (*Loaded, error) {
	d, trailer, err := ltxio.ParseDenseTail(tail, hdr, info.Size)
	if err != nil {
		return nil, err
	}
	l := &Loaded{File: view.NewDenseFile(info, hdr, view.NewDense(d, s.Indexes))}
	index := l.File.Dense
	at := info.Size - int64(len(tail))
	l.File.SetDenseChecksum(trailer.FileChecksum, head, tail[d.End-at:])
	sizes, err := headFrames(l, head[:min(int64(len(head)), d.FramesEnd)])
	if err == nil {
		err = index.AddFrames(sizes)
	}
	if err != nil {
		return nil, err
	}
	if from := max(at, d.Start); d.End-from >= overlap {
		w, err := d.Window(tail[from-at:d.End-at], from)
		if err == nil {
			err = index.Add(w)
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// headFrames returns the sizes of the whole frames at the head of a file with
// every page of its database, and keeps their pages.
func headFrames(l *Loaded, head []byte) (sizes []uint32, err error) {
	d := l.File.Dense
	pgno := d.After(0)
	for rest := head[ltx.HeaderSize:]; pgno <= d.Commit; pgno = d.After(pgno) {
		got, size, err := ltxio.FrameSize(rest)
		if err != nil {
			break // the rest of the frame is not in the head, or a read of the page tells what is wrong
		}
		if got != pgno {
			return nil, fmt.Errorf("%w: frame of page %d says page %d", errs.ErrCorrupt, pgno, got)
		}
		if l.wants(int(l.File.PageSize)) {
			page := make([]byte, l.File.PageSize)
			if err := ltxio.DecodeFrame(page, rest[:size], pgno); err != nil {
				return nil, err
			}
			l.keep(pgno, page)
		}
		sizes = append(sizes, uint32(size))
		rest = rest[size:]
	}
	return sizes, nil
}

// Locate returns the location of a page with its place in the file. If the place
// is unread, it reads a part of the file's page index.
func (s *Store) Locate(ctx context.Context, pgno uint32, loc view.Loc) (view.Loc, error) {
	if loc.IsUnread() {
		if err := s.awaitWhole(ctx, pgno, loc.File); err != nil {
			return loc, fmt.Errorf("find page %d in %s: %w", pgno, loc.File, err)
		}
	}
	return s.locate(pgno, loc, func(from, to int64) (ltxio.Window, error) { return s.window(ctx, loc.File, from, to) })
}

// LocateBy is Locate with requests that the caller makes, and that no other caller
// waits for.
func (s *Store) LocateBy(pgno uint32, loc view.Loc, read func(buf []byte, offset int64) error) (view.Loc, error) {
	return s.locate(pgno, loc, func(from, to int64) (ltxio.Window, error) { return s.readWindow(loc.File, from, to, nil, read, nil) })
}

func (s *Store) locate(pgno uint32, loc view.Loc, window func(from, to int64) (ltxio.Window, error)) (view.Loc, error) {
	if !loc.IsUnread() {
		return loc, nil
	}
	f := loc.File
	if loc.Offset, loc.Size = f.Dense.Find(pgno); !loc.IsUnread() {
		return loc, nil
	}
	p := f.Dense.Probe(pgno)
	for range maxProbes {
		from, to := p.Range(s.windowSize(f.Dense))
		if from >= to {
			break
		}
		w, err := window(from, to)
		if err != nil {
			return loc, fmt.Errorf("find page %d in %s: %w", pgno, f, err)
		}
		if loc.Offset, loc.Size = p.Take(w); !loc.IsUnread() {
			return loc, nil
		}
	}
	return loc, fmt.Errorf("find page %d in %s: %w: page index does not lead to it", pgno, f, errs.ErrCorrupt)
}

// windowSize returns how much of a page index is read for one page.
func (s *Store) windowSize(d *view.Dense) int64 {
	switch limit := d.Limit(); {
	case s.NeverWhole:
		return 1 << 10
	case limit > 0:
		return min(windowSize, max(minWindowSize, limit/4))
	}
	return windowSize
}

// windowFlights are the reads of parts of page indexes that are under way.
type windowFlights struct {
	mu struct {
		sync.Mutex // makes sure that a part is read once
		all        []*windowFlight
	}
}

type windowFlight struct {
	index    *view.Dense
	from, to int64
	done     chan struct{}

	// Valid after done is closed.
	w   ltxio.Window
	err error
}

// join returns the flight of a part of an index. It reports whether the flight was
// begun by this call.
func (t *windowFlights) join(d *view.Dense, from, to int64) (f *windowFlight, begun bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.mu.all {
		if f.index == d && f.from == from && f.to == to {
			return f, false
		}
	}
	f = &windowFlight{index: d, from: from, to: to, done: make(chan struct{})}
	t.mu.all = append(t.mu.all, f)
	return f, true
}

// land ends a flight.
func (t *windowFlights) land(f *windowFlight, w ltxio.Window, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.w, f.err = w, err
	t.mu.all = slices.DeleteFunc(t.mu.all, func(g *windowFlight) bool { return g == f })
	close(f.done)
}

// window reads a part of the page index of a file, or waits for a read of it that
// is under way.
func (s *Store) window(ctx context.Context, f *view.File, from, to int64) (ltxio.Window, error) {
	for {
		flight, begun := s.windows.join(f.Dense, from, to)
		if begun {
			w, err := ltxio.Window{}, errors.New("read of the page index panicked") // for others, if it does
			defer func() { s.windows.land(flight, w, err) }()
			w, err = s.readWindow(f, from, to, nil, func(buf []byte, offset int64) error {
				return s.Load(f.Reading(ctx), f.Key(), buf, offset)
			}, nil)
			return w, err
		}
		select {
		case <-flight.done:
		case <-ctx.Done():
			return ltxio.Window{}, ctx.Err()
		}
		if flight.err == nil || !errors.Is(flight.err, context.Canceled) && !errors.Is(flight.err, context.DeadlineExceeded) || ctx.Err() != nil {
			return flight.w, flight.err
		}
	}
}

// readWindow reads a part of the page index of a file and adds it. It reads into room
// if that is large enough. If sum is not nil, it adds the bytes to it, and at the start
// of the index what is between the frames and the entries.
func (s *Store) readWindow(f *view.File, from, to int64, room []byte, read func(buf []byte, offset int64) error, sum *ltxio.Sum) (ltxio.Window, error) {
	d, start := f.Dense, from
	if from == d.Start {
		start = d.FramesEnd
	} else if sum != nil {
		start = max(d.Start, from-overlap)
	}
	if int64(len(room)) < to-start {
		room = make([]byte, to-start)
	}
	buf := room[:to-start]
	if err := read(buf, start); err != nil {
		return ltxio.Window{}, err
	}
	if from == d.Start {
		for _, c := range buf[:d.Start-d.FramesEnd] {
			if c != 0 {
				return ltxio.Window{}, fmt.Errorf("%w: page index does not follow the end of the frames", errs.ErrCorrupt)
			}
		}
	}
	w, err := d.Window(buf[max(0, d.Start-start):], max(start, d.Start))
	if err == nil {
		err = d.Add(w)
	}
	if err == nil && sum != nil {
		if from != d.Start {
			buf = buf[from-start:]
		}
		sum.Add(buf)
	}
	return w, err
}

// ReadIndexPart reads bytes of a page index from an offset on, behind the requests
// of queries.
func (s *Store) ReadIndexPart(ctx context.Context, f *view.File, buf []byte, offset int64) error {
	s.Limit.AwaitQuiet(ctx, indexPatience)
	return s.readAll(f.Reading(ctx), Loading, Hydrating, s.Limit.Enqueue(Hydrating), f.Key(), buf, offset)
}

// CompleteIndex reads all of a page index that is read as it is needed, in several
// parts at a time that it gets with read. Then the frames of the file can be
// compared with its checksum, and unless the memory for indexes is bounded, no
// place is unread.
func (s *Store) CompleteIndex(ctx context.Context, f *view.File, read func(ctx context.Context, f *view.File, buf []byte, offset int64) error) (err error) {
	return s.completeIndex(ctx, f, indexPart, read, func() {})
}

// completeIndex is CompleteIndex with requests for part bytes, indexPart at most. It
// calls landed after each of them.
func (s *Store) completeIndex(ctx context.Context, f *view.File, part int64, read func(ctx context.Context, f *view.File, buf []byte, offset int64) error, landed func()) (err error) {
	d := f.Dense
	end, err := d.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if d.IsComplete() || d.IsBounded() && f.KnowsFrames() {
		return nil
	}
	sums := make([]ltxio.Sum, (d.End-d.Start+part-1)/part)
	// Fresh memory for each part would cost as much as decoding it.
	rooms := sync.Pool{New: func() any { return new(make([]byte, part+overlap)) }}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(indexStreams)
	for i := range sums {
		g.Go(func() error {
			room := rooms.Get().(*[]byte)
			defer rooms.Put(room)
			from := d.Start + int64(i)*part
			_, err := s.readWindow(f, from, min(from+part, d.End), *room, func(buf []byte, offset int64) error {
				return s.Guard(func() error { return read(gctx, f, buf, offset) })
			}, &sums[i])
			landed()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("read page index of %s: %w", f, err)
	}
	var sum ltxio.Sum
	for _, part := range sums {
		sum = sum.Join(part)
	}
	f.SetIndexSum(sum)
	// Of two parts of a slot that do not touch, only one is kept.
	for pgno, before := d.Finish(), uint32(0); pgno != 0; pgno = d.Finish() {
		from, to := d.Probe(pgno).Range(indexPart)
		if from >= to || pgno == before {
			return fmt.Errorf("read page index of %s: %w: it does not lead to page %d", f, errs.ErrCorrupt, pgno)
		}
		if _, err := s.readWindow(f, from, to, nil, func(buf []byte, offset int64) error { return read(ctx, f, buf, offset) }, nil); err != nil {
			return fmt.Errorf("read page index of %s: %w", f, err)
		}
		before = pgno
	}
	return nil
}
