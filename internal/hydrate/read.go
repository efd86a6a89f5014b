package hydrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
)

// partReader makes the requests of hydration. It is safe for concurrent use.
type partReader struct {
	*Access
	state   *hydrationState
	timeout time.Duration
	rate    *rate.Limiter       // bytes; nil: no limit
	streams *semaphore.Weighted // bounds requests, maxBatch for each of the concurrency
}

func newPartReader(r *Access, opts Options, state *hydrationState) *partReader {
	p := &partReader{
		Access: r, state: state, timeout: opts.ReadTimeout,
		// Half of one more, so that small requests need not wait for large ones.
		streams: semaphore.NewWeighted(int64(opts.Concurrency)*maxBatch + maxBatch/2),
	}
	if n := opts.RateLimit; n > 0 {
		p.rate = rate.NewLimiter(rate.Limit(n), int(max(n/10, remote.ReadPart)))
	}
	return p
}

// read fills buf with bytes of a file of an epoch. It tries again while storage
// does not answer. It returns without an error, and without the bytes, if the
// epoch ends. If admitted is not nil, read calls it each time that a request may
// be sent.
func (r *partReader) read(ctx context.Context, f *view.File, epoch uint32, buf []byte, offset int64, admitted func()) error {
	for delay := firstHydrationDelay; ; delay = min(2*delay, lastHydrationDelay) {
		err := r.readOnce(ctx, f, buf, offset, admitted)
		isOver := func() bool { return !r.isCurrent(epoch) }
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case isOver():
			return nil
		case errs.IsMissing(err):
			f.Gone.Store(true)
			return err
		case errors.Is(err, remote.ErrShortBody), errs.IsPermanent(err) && !errors.Is(err, context.Canceled):
			// The file may be one of another history that has the same name.
			if r.Refresh(ctx); isOver() {
				return nil
			}
			if errs.IsPermanent(err) {
				delay = lastHydrationDelay // an operator may renew credentials, for example
			}
		}
		r.state.pause(err)
		if !sleep(ctx, delay) {
			return ctx.Err()
		}
	}
}

// errStalled means that no bytes arrived within the time limit of a read.
var errStalled = errors.New("no bytes came within the time limit of a read")

// readOnce makes one request. It gives way to queries as bytes arrive, and keeps
// to the rate limit. If admitted is not nil, readOnce calls it when no limit
// holds the request back any more.
func (r *partReader) readOnce(ctx context.Context, f *view.File, buf []byte, offset int64, admitted func()) (err error) {
	s := r.Store
	limit := r.timeout
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The time in which the request waits for its turn does not count.
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
	for n := len(buf); r.rate != nil && n > 0; n -= r.rate.Burst() {
		if err := r.rate.WaitN(ctx, min(n, r.rate.Burst())); err != nil {
			return err
		}
	}
	cost := min(max(1, int64(len(buf))*maxBatch/partSize), maxBatch)
	if err := r.streams.Acquire(ctx, cost); err != nil {
		return err
	}
	defer r.streams.Release(cost)
	t := s.Limit.Enqueue(remote.Hydrating)
	if err := s.Limit.Wait(ctx, t); err != nil {
		return err
	}
	if admitted != nil {
		admitted()
	}
	err = s.Guard(func() error {
		rearm()
		n, err := s.ReadOnce(f.Reading(ctx), remote.Hydrating, t, f.Key(), buf, offset, func([]byte) {
			timer.Stop()
			s.Limit.AwaitQuiet(ctx, patience)
			rearm()
		})
		r.state.read.Add(int64(n))
		return err
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		err = fmt.Errorf("read %s: %w", f, errStalled)
	}
	return err
}

// eachFrame reads the frames of a file from an offset to another, and calls fn
// for each with its page. It returns early if the epoch ends.
func (r *partReader) eachFrame(ctx context.Context, f *view.File, epoch uint32, offset, end int64, fn func(frame []byte, pgno uint32, page []byte)) error {
	buf := r.Buffers.Get(int(min(end-offset, partSize)))
	defer r.Buffers.Put(buf)
	page := make([]byte, f.PageSize)
	for offset < end {
		if f.Gone.Load() {
			return fmt.Errorf("read %s: %w", f, fs.ErrNotExist)
		}
		body := (*buf)[:min(end-offset, partSize)]
		if err := r.read(ctx, f, epoch, body, offset, nil); err != nil {
			return err
		}
		if !r.isCurrent(epoch) {
			return nil
		}
		whole := offset+int64(len(body)) == end
		for rest := body; len(rest) > 0; {
			pgno, size, err := ltxio.FrameSize(rest)
			if err != nil && !whole && len(rest) < len(body) {
				break // the rest of the frame comes with the next body
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

// sumTail reads the part of a file after its frames, and adds it to a sum.
func (r *partReader) sumTail(ctx context.Context, epoch uint32, f *view.File, sum *ltxio.Sum) (trailer ltx.Trailer, err error) {
	last := make([]byte, ltx.TrailerSize)
	body := make([]byte, min(f.Size-f.FramesEnd, partSize))
	for offset, end := f.FramesEnd, f.Size-ltx.TrailerSize; offset < end; offset += int64(len(body)) {
		body = body[:min(end-offset, int64(len(body)))]
		if err := r.read(ctx, f, epoch, body, offset, nil); err != nil {
			return trailer, err
		}
		sum.Add(body)
	}
	if err := r.read(ctx, f, epoch, last, f.Size-ltx.TrailerSize, nil); err != nil {
		return trailer, err
	}
	sum.Add(last[:ltx.TrailerSize-ltx.ChecksumSize])
	err = trailer.UnmarshalBinary(last)
	return trailer, err
}
