package decorate

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// Trace is a client that records the calls that are made to the inner client.
// All its methods are safe for concurrent use.
//
// Its String method prints the calls in waves. A wave holds the calls that
// started at the same time, so the waves are the round trips of an operation.
// To get the same waves in every run, run the operation in a testing/synctest
// bubble with a [LatencyClient] within the Trace:
//
//	trace := decorate.NewTrace(decorate.NewLatency(client, decorate.Latency{PerRequest: time.Millisecond}))
//
// In a bubble, time stands still while a goroutine can run. Calls that do not
// wait for one another start at the same instant, and a call that waits for the
// result of another one starts a latency later. Outside of a bubble the
// readings of the clock usually differ, and each call is a wave of its own.
type Trace struct {
	decorator

	mu struct {
		sync.Mutex          // guards the events, too
		events     []*Event // in order of start
		seq        int      // number of starts and ends so far
	}
}

var (
	_ replica.Client            = (*Trace)(nil)
	_ replica.Initializer       = (*Trace)(nil)
	_ replica.LTXFileCreator    = (*Trace)(nil)
	_ replica.AllLTXFilesLister = (*Trace)(nil)
	_ replica.Surveyor          = (*Trace)(nil)
)

// Event is a call and its result.
type Event struct {
	Call

	// Start is the time of the call. End is the time at which the method
	// returned or, if it returned a body or a listing, at which that was
	// closed. End is zero before that.
	Start, End time.Time

	// StartSeq and EndSeq are the positions of start and end in the order of
	// all starts and ends of the trace, from 1. EndSeq is 0 before the end.
	StartSeq, EndSeq int

	// Items is the number of files that the caller has read from a listing, or
	// of the names of a survey.
	Items int

	// Bytes is the number of bytes that the caller has read from a body, or
	// that the inner client has read from the body of a write or create.
	Bytes int64

	// Err is the first error of the call, of reading its body, or of closing
	// its body or listing. io.EOF does not count.
	Err error
}

// Open tells whether the call has not ended, because it has not returned, or
// because its body or listing has not been closed.
func (e Event) Open() bool { return e.EndSeq == 0 }

// Overlaps tells whether the two calls were in progress at the same time.
func (e Event) Overlaps(f Event) bool {
	return (f.Open() || e.StartSeq < f.EndSeq) && (e.Open() || f.StartSeq < e.EndSeq)
}

// Counts holds the totals of a trace. Failed calls count, too.
type Counts struct {
	Inits   int
	Lists   int // of one level and of all, and surveys
	Reads   int
	Writes  int // and creates
	Deletes int // calls, each for any number of files

	FilesListed  int
	FilesDeleted int // files in the arguments of deletions
	BytesRead    int64
	BytesWritten int64

	Errors int // calls with an error
	Open   int // calls that have not ended
}

// NewTrace returns a client that records the calls that it passes on to inner.
func NewTrace(inner replica.Client) *Trace {
	return &Trace{decorator: decorator{inner}}
}

// Events returns the calls since the last Reset, in order of start. It includes
// calls that have not ended.
func (t *Trace) Events() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	events := make([]Event, len(t.mu.events))
	for i, e := range t.mu.events {
		events[i] = *e
	}
	return events
}

// Reset discards all calls, including those that have not ended.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.events, t.mu.seq = nil, 0
}

// Counts sums up the calls since the last Reset.
func (t *Trace) Counts() Counts {
	var c Counts
	for _, e := range t.Events() {
		switch e.Op {
		case OpInit:
			c.Inits++
		case OpList, OpListAll:
			c.Lists++
			c.FilesListed += e.Items
		case OpSurvey:
			c.Lists++
		case OpRead:
			c.Reads++
			c.BytesRead += e.Bytes
		case OpWrite, OpCreate:
			c.Writes++
			c.BytesWritten += e.Bytes
		case OpDelete:
			c.Deletes++
			c.FilesDeleted += len(e.Files)
		}
		if e.Err != nil {
			c.Errors++
		}
		if e.Open() {
			c.Open++
		}
	}
	return c
}

// String prints the calls since the last Reset as [Format] does.
func (t *Trace) String() string { return Format(t.Events()) }

// Init implements replica.Initializer.
func (t *Trace) Init(ctx context.Context) error {
	if !t.supports(OpInit) {
		return nil
	}
	e := t.start(Call{Op: OpInit})
	err := t.init(ctx)
	t.end(e, result{err: err})
	return err
}

// LTXFiles implements replica.Client.
func (t *Trace) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	e := t.start(Call{Op: OpList, Level: level, Seek: seek, UseMetadata: useMetadata})
	return t.listing(e)(t.inner.LTXFiles(ctx, level, seek, useMetadata))
}

// AllLTXFiles implements replica.AllLTXFilesLister.
func (t *Trace) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if !t.supports(OpListAll) {
		return nil, unsupported(OpListAll)
	}
	e := t.start(Call{Op: OpListAll, UseMetadata: useMetadata})
	return t.listing(e)(t.listAll(ctx, useMetadata))
}

// OpenLTXFile implements replica.Client.
func (t *Trace) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	e := t.start(readCall(level, minTXID, maxTXID, offset, size))
	body, err := t.inner.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		t.end(e, result{err: err})
		return nil, err
	}
	return &tracedBody{countingReader: countingReader{r: body}, body: body, trace: t, event: e}, nil
}

// WriteLTXFile implements replica.Client.
func (t *Trace) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return t.tracedPut(ctx, OpWrite, level, minTXID, maxTXID, r)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (t *Trace) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if !t.supports(OpCreate) {
		return nil, unsupported(OpCreate)
	}
	return t.tracedPut(ctx, OpCreate, level, minTXID, maxTXID, r)
}

func (t *Trace) tracedPut(ctx context.Context, op Op, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	e := t.start(writeCall(op, level, minTXID, maxTXID))
	counting := &countingReader{r: r}
	info, err := t.put(ctx, op, level, minTXID, maxTXID, counting)
	t.end(e, result{bytes: counting.n.Load(), err: err})
	return info, err
}

// DeleteLTXFiles implements replica.Client.
func (t *Trace) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	e := t.start(deleteCall(a))
	err := t.inner.DeleteLTXFiles(ctx, a)
	t.end(e, result{err: err})
	return err
}

// Survey implements replica.Surveyor.
func (t *Trace) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	if !t.supports(OpSurvey) {
		return replica.Survey{}, unsupported(OpSurvey)
	}
	e := t.start(Call{Op: OpSurvey, Dir: dir})
	survey, err := t.survey(ctx, dir)
	t.end(e, result{items: len(survey.Names), err: err})
	return survey, err
}

// result is the part of an event that is known at its end.
type result struct {
	items int
	bytes int64
	err   error
}

func (t *Trace) start(c Call) *Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.seq++
	e := &Event{Call: c, Start: time.Now(), StartSeq: t.mu.seq}
	t.mu.events = append(t.mu.events, e)
	return e
}

func (t *Trace) end(e *Event, r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !e.Open() {
		return // it was closed twice
	}
	t.mu.seq++
	e.End, e.EndSeq = time.Now(), t.mu.seq
	e.Items, e.Bytes, e.Err = r.items, r.bytes, r.err
}

// listing returns a function that takes the results of a list call.
func (t *Trace) listing(e *Event) func(ltx.FileIterator, error) (ltx.FileIterator, error) {
	return func(itr ltx.FileIterator, err error) (ltx.FileIterator, error) {
		if err != nil {
			t.end(e, result{err: err})
			return nil, err
		}
		return &tracedIterator{FileIterator: itr, trace: t, event: e}, nil
	}
}

type tracedIterator struct {
	ltx.FileIterator
	trace *Trace
	event *Event
	items int
}

func (itr *tracedIterator) Next() bool {
	ok := itr.FileIterator.Next()
	if ok {
		itr.items++
	}
	return ok
}

func (itr *tracedIterator) Close() error {
	iterErr := itr.Err()
	err := itr.FileIterator.Close()
	itr.trace.end(itr.event, result{items: itr.items, err: firstError(iterErr, err)})
	return err
}

type tracedBody struct {
	countingReader
	body  io.Closer
	trace *Trace
	event *Event
}

func (b *tracedBody) Close() error {
	err := b.body.Close()
	b.trace.end(b.event, result{bytes: b.n.Load(), err: firstError(b.err, err)})
	return err
}

// countingReader counts the bytes that were read, and keeps the first error
// that is not io.EOF. The count is atomic because an HTTP transport may
// continue to read the body of a request that has failed.
type countingReader struct {
	r   io.Reader
	n   atomic.Int64
	err error
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n.Add(int64(n))
	if !errors.Is(err, io.EOF) {
		r.err = firstError(r.err, err)
	}
	return n, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
