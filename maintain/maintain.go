// Package maintain has what an operator does with a replica as a whole: look at
// it, verify and repair it, restore it to a file, begin one from a file, merge its
// files and delete those that are not needed. It needs no SQLite. Command ltxvfs is
// a thin layer over it.
//
//	client, err := replica.NewFromURL("s3://bucket/app.db")
//	report, err := maintain.Verify(ctx, client, maintain.VerifyOptions{})
//	for _, f := range report.Findings {
//		fmt.Println(f)
//	}
//
// Every function takes a context and options by value, whose zero values are
// useful. A function stops soon after its context is done, and then leaves
// nothing half done: a restore keeps what it has under another name and
// continues from there, and a file of a replica is either complete or absent.
//
// The functions read a replica while others write to it. What they return is a
// state that the replica has had during the call.
//
// Errors wrap those of package litestream: ErrNoDatabase if there are no LTX
// files, ErrCorrupt for a damaged file, ErrTxNotAvailable for a moment that
// cannot be had, *MissingError for a gap.
package maintain

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// DefaultConcurrency is the number of requests in flight unless
// Requests.Concurrency says another one. DefaultTimeout is the time limit of a
// request.
const (
	DefaultConcurrency = 8
	DefaultTimeout     = 30 * time.Second
)

// Requests says how an operation makes its requests, and tells how far it is.
type Requests struct {
	// Concurrency is the greatest number of reads in flight. Each of them takes
	// up to 4 MiB of memory. Zero or less means DefaultConcurrency, or twice as
	// many as long as they take no more memory together.
	Concurrency int

	// Timeout is how long a request may take, with its repetitions after errors
	// that may pass. Zero means DefaultTimeout, and a negative value no limit. An
	// upload may take a second more for each MiB, and Timeout more for each 4 MiB if
	// that is longer; the time in which its content is read does not count.
	Timeout time.Duration

	// Logger receives what is repeated. Nil means slog.Default().
	Logger *slog.Logger

	// Progress is called when the operation has come further, by one goroutine
	// at a time. It should return soon. Nil means no calls.
	Progress func(Progress)
}

// Progress says how far an operation has come.
type Progress struct {
	Files, AllFiles int   // LTX files
	Bytes, AllBytes int64 // bytes of these files
}

// session is one operation on a replica. It is safe for concurrent use.
type session struct {
	store       *remote.Store
	concurrency int
	timeout     time.Duration
	reads       *semaphore.Weighted // reads in flight
	memory      *semaphore.Weighted // bytes of parts in memory
	progress    *progress
}

func newSession(client replica.Client, r Requests) *session {
	reads := r.Concurrency
	if r.Concurrency <= 0 {
		r.Concurrency, reads = DefaultConcurrency, 2*DefaultConcurrency
	}
	if r.Timeout == 0 {
		r.Timeout = DefaultTimeout
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	s := &session{
		store:       &remote.Store{Client: client, Log: r.Logger},
		concurrency: r.Concurrency,
		timeout:     r.Timeout,
		reads:       semaphore.NewWeighted(int64(reads)),
		memory:      semaphore.NewWeighted(int64(r.Concurrency) * partSize),
		progress:    &progress{tell: r.Progress},
	}
	s.store.Retrying = func(err error) { r.Logger.Debug("request is repeated", "error", err) }
	return s
}

// within returns a context for one request with its repetitions.
func (s *session) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return task.WithTimeout(ctx, s.timeout)
}

// list prepares the client and lists all files of the replica.
func (s *session) list(ctx context.Context) ([]*ltx.FileInfo, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	if err := s.store.Init(ctx); err != nil {
		return nil, err
	}
	return s.store.ListAll(ctx, false)
}

// inTurn makes a read. It first waits until there are fewer in flight than there may
// be, which does not count for the time limit.
func (s *session) inTurn(ctx context.Context, do func(context.Context) error) error {
	if err := s.reads.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.reads.Release(1)
	ctx, cancel := s.within(ctx)
	defer cancel()
	return do(ctx)
}

// load reads len(buf) bytes of a listed file.
func (s *session) load(ctx context.Context, info *ltx.FileInfo, buf []byte, offset int64) error {
	return s.inTurn(ctx, func(ctx context.Context) error {
		return s.store.Load(remote.AsListed(ctx, info), view.KeyOf(info), buf, offset)
	})
}

// timestamp reads the timestamp of a file.
func (s *session) timestamp(ctx context.Context, info *ltx.FileInfo) (ms int64, err error) {
	err = s.inTurn(ctx, func(ctx context.Context) error {
		ms, err = s.store.Timestamp(ctx, info)
		return err
	})
	return ms, err
}

// isGone reports whether err says that a file that was listed is not there any
// more, although the operation itself goes on.
func isGone(err error) bool { return errs.IsMissing(err) }

// progress counts, and calls a function that wants to know. It is safe for
// concurrent use.
type progress struct {
	tell func(Progress)

	mu struct {
		sync.Mutex // held while tell is called, so that calls are in order
		now        Progress
	}
}

// add adds to the counters.
func (p *progress) add(more Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := &p.mu.now
	now.Files += more.Files
	now.AllFiles += more.AllFiles
	now.Bytes += more.Bytes
	now.AllBytes += more.AllBytes
	if p.tell != nil {
		p.tell(*now)
	}
}

// count adds to a number of bytes, and to the bytes of the operation.
func (p *progress) count(number *int64, n int64) {
	p.mu.Lock()
	*number += n
	p.mu.Unlock()
	p.add(Progress{Bytes: n})
}

// again says that the operation begins anew, and has n bytes to read from now on.
func (p *progress) again(n int64) {
	p.mu.Lock()
	more := p.mu.now.Bytes + n - p.mu.now.AllBytes
	p.mu.Unlock()
	p.add(Progress{AllBytes: more})
}

// expect adds files to what the operation reads.
func (p *progress) expect(files []*ltx.FileInfo) {
	var more Progress
	for _, f := range files {
		more.AllFiles++
		more.AllBytes += f.Size
	}
	p.add(more)
}

// inOrder calls read for each item, for several at the same time, and use with the
// results in the order of the items. An error of either ends it. Drop is called with
// the results that are not used then.
func inOrder[I, T any](ctx context.Context, ahead int, items []I, read func(context.Context, I) (T, error), use func(T) error, drop func(T)) error {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	g := new(errgroup.Group)
	results := make([]chan result, len(items))
	defer func() {
		cancel()
		_ = g.Wait()
		for _, c := range results {
			if c == nil {
				continue
			}
			if r := <-c; r.err == nil {
				drop(r.value)
			}
		}
	}()
	next := 0
	start := func() {
		if next == len(items) {
			return
		}
		item, c := items[next], make(chan result, 1)
		results[next] = c
		next++
		g.Go(func() error {
			value, err := read(ctx, item)
			c <- result{value, err}
			return nil
		})
	}
	for range ahead {
		start()
	}
	for i := range items {
		r := <-results[i]
		results[i] = nil
		if r.err != nil {
			return r.err
		}
		if err := use(r.value); err != nil {
			return err
		}
		start()
	}
	return nil
}
