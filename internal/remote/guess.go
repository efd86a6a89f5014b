package remote

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
)

// A guess is a read of bytes of a file that most likely have the frame of a page,
// made at the same time as the read of the part of the page index that tells where
// it is. So a page whose place is unread costs one round trip instead of two.
type guess struct {
	view.Estimate
	body   []byte
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done is closed
}

const (
	// maxGuess bounds a guess. It is twice the part of the page index that is read at
	// the same time.
	maxGuess = 2 * windowSize

	// guessShare is the part of the bytes that a round trip is worth which a guess may
	// have, as a divisor: the guess must not take longer than the index.
	guessShare = 4
)

// credit decides whether guesses are made, by how the last ones came out. It is safe
// for concurrent use; the zero value makes them.
type credit struct {
	wrong atomic.Int32 // wrong guesses, less the right ones
}

// maxWrong is how many guesses may be wrong, in addition to those that were right,
// before no more are made. What would have come of them still counts.
const maxWrong = 4

func (c *credit) isOpen() bool { return c.wrong.Load() < maxWrong }

// note notes the outcome of a guess that was made, or would have been.
func (c *credit) note(right bool) {
	for {
		old := c.wrong.Load()
		next := min(old+1, maxWrong)
		if right {
			next = max(old-1, 0)
		}
		if c.wrong.CompareAndSwap(old, next) {
			return
		}
	}
}

// Fetch locates a page and returns its frame. If the place is unread, it reads the
// part of the file's page index that has it and, in the same round trip, the bytes in
// which the frame most likely is. The frame is nil if they do not have it, or the
// place was read before. Then the caller reads it.
func (s *Store) Fetch(ctx context.Context, pgno uint32, loc view.Loc) (_ view.Loc, frame []byte, err error) {
	s.BeginIndex(loc.File)
	if !loc.IsUnread() {
		return loc, nil, nil
	}
	d := loc.File.Dense
	if loc.Offset, loc.Size = d.Find(pgno); !loc.IsUnread() {
		return loc, nil, nil
	}
	e, ok := d.Estimate(pgno, min(maxGuess, s.Speed.Free()/guessShare, 2*s.windowSize(d)))
	if !ok {
		loc, err = s.Locate(ctx, pgno, loc)
		return loc, nil, err
	}
	var g *guess
	if s.Tasks != nil && s.guesses.isOpen() {
		g = s.guess(ctx, loc.File, e)
		defer g.cancel()
	}
	if loc, err = s.Locate(ctx, pgno, loc); err != nil {
		return loc, nil, err
	}
	right := e.Holds(loc.Offset, loc.Size)
	s.guesses.note(right)
	if g == nil || !right {
		return loc, nil, nil
	}
	if ok, err := s.await(ctx, g); !ok {
		return loc, nil, err // the read of the frame itself tells what is wrong
	}
	return loc, g.body[loc.Offset-e.From:][:loc.Size], nil
}

// await waits for a guess, as long as it is not slower than reads that get a second
// request. It reports whether the bytes are here.
func (s *Store) await(ctx context.Context, g *guess) (ok bool, err error) {
	var slow <-chan time.Time
	if s.Hedge != nil {
		if delay, ok := s.Hedge.delay(); ok {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			slow = timer.C
		}
	}
	select {
	case <-g.done:
		return g.err == nil, nil
	case <-slow:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// guess begins to read bytes of a file.
func (s *Store) guess(ctx context.Context, f *view.File, e view.Estimate) *guess {
	g := &guess{Estimate: e, done: make(chan struct{}), err: context.Canceled}
	ctx, g.cancel = context.WithCancel(ctx)
	read := func() {
		defer close(g.done)
		g.body = make([]byte, e.To-e.From)
		g.err = s.Guard(func() error {
			_, err := s.ReadOnce(f.Reading(ctx), Foreground, s.Limit.Enqueue(Foreground), f.Key(), g.body, e.From, nil)
			return err
		})
	}
	if !s.Tasks.Go(read) {
		close(g.done)
	}
	return g
}
