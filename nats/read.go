package nats

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// chunkID tells chunks apart. The stream of a bucket that was made anew, or restored
// from a backup, gives numbers once more, so the number of a message is not enough.
type chunkID struct {
	nuid     string // of the version of the object
	sequence uint64 // of the message
}

// chunk is a message with bytes of an object. It does not change.
type chunk struct {
	chunkID
	data []byte
}

// A body requests chunks before they are read: up to so many bytes, and so many
// chunks, as some writers make small ones.
const (
	readAheadBytes  = 2 << 20
	readAheadChunks = 256
)

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return s.ReadKey(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// ReadKey implements clientio.Surveyed. It reads a range of an object, to its end
// if size is 0. Before it returns, the first chunk has arrived.
func (s *session) ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	r, err := s.read(ctx, key, offset, size)
	if errors.Is(err, errGone) {
		// The version that was read last is gone. There may be another one.
		s.objects.forget(key)
		r, err = s.read(ctx, key, offset, size)
	}
	return r, err
}

// errGone means that a chunk is missing, or that another message has its number.
var errGone = errors.New("chunk of the object is gone: the object is being replaced or deleted, or a replica of the bucket lags")

func (s *session) read(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	p, err := s.locate(ctx, key)
	if err != nil {
		return nil, err
	}
	if offset >= p.size {
		return http.NoBody, nil
	}
	if size == 0 || size > p.size-offset {
		size = p.size - offset
	}
	b := &body{s: s, p: p, offset: offset, end: offset + size}
	b.ctx, b.cancel = context.WithCancel(ctx)
	b.next, b.begin = p.find(offset)
	b.last, _ = p.find(offset + size - 1)
	b.request()
	if err := b.receive(); err != nil {
		_ = b.Close() // it returns nil
		return nil, clientio.WithCause(ctx, err)
	}
	return clientio.NewBody(ctx, b, size), nil
}

// body reads a range of an object. It requests the next chunks before they are
// read.
type body struct {
	s      *session
	p      *placement
	ctx    context.Context
	cancel context.CancelFunc

	offset, end int64 // the bytes that are left
	next, last  int   // the first chunk that is not requested, and the last of the range
	begin       int64 // offset of the first chunk that has not arrived
	requested   []chan received
	ahead       int64  // bytes of the chunks in requested
	data        []byte // of the chunk that arrived last, from offset on
	err         error  // sticky
}

type received struct {
	data []byte
	err  error
}

// request requests chunks until enough are on their way.
func (b *body) request() {
	for b.next <= b.last && (len(b.requested) == 0 || len(b.requested) < readAheadChunks && b.ahead < readAheadBytes) {
		ch, index := make(chan received, 1), b.next
		go func() {
			data, err := b.s.chunk(b.ctx, b.p, index)
			ch <- received{data, err}
		}()
		b.requested = append(b.requested, ch)
		b.ahead += b.p.length(index)
		b.next++
	}
}

// receive waits for the next chunk.
func (b *body) receive() error {
	got := <-b.requested[0] // it comes soon after the context is done
	b.requested = b.requested[1:]
	if got.err != nil {
		return got.err
	}
	data := got.data
	b.ahead -= int64(len(data))
	after := b.begin + int64(len(data))
	b.data = data[b.offset-b.begin : min(b.end, after)-b.begin]
	b.begin = after
	return nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for len(b.data) == 0 && b.err == nil {
		if b.offset == b.end {
			b.err = io.EOF
			break
		}
		b.request()
		b.err = b.receive()
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.data)
	b.data, b.offset = b.data[n:], b.offset+int64(n)
	return n, nil
}

// Close implements io.Closer. When it returns, no request of the body is in flight.
func (b *body) Close() error {
	b.cancel()
	for _, ch := range b.requested {
		<-ch
	}
	b.requested, b.data, b.err = nil, nil, fs.ErrClosed
	return nil
}

// chunk reads a chunk of an object. The caller does not change its bytes.
func (s *session) chunk(ctx context.Context, p *placement, index int) ([]byte, error) {
	sequence, want := p.sequence(index), p.length(index)
	data, err := s.chunks.get(ctx, chunkID{p.nuid, sequence}, func(ctx context.Context) ([]byte, error) {
		if err := s.budget.Acquire(ctx, want); err != nil {
			return nil, err
		}
		defer s.budget.Release(want)
		var data []byte
		err := s.call(ctx, readSubject, func(ctx context.Context) error {
			msg, err := s.stream.GetMsg(ctx, sequence)
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
				return errGone
			case err != nil:
				return err
			case msg.Subject != s.chunkSubject(p.nuid) || msg.Sequence != sequence:
				return errGone
			}
			data = msg.Data
			return nil
		})
		return data, err
	})
	if err == nil && int64(len(data)) != want {
		return nil, fmt.Errorf("chunk %d of the object has %d bytes, not %d", index, len(data), want)
	}
	return data, err
}

// chunkCache has the chunks that were used last. Reads of one chunk at the same time
// share a request.
type chunkCache struct {
	limit int64 // bytes of data; negative: none is kept. It does not change

	mu struct {
		sync.Mutex // held for no I/O
		entries    map[chunkID]*cached
		order      *list.List // of *cached with data; the chunk that was used last is in front
		size       int64      // bytes of data in order
	}
}

// cached is a chunk that was read, or is being read.
type cached struct {
	id      chunkID
	flight  clientio.Flight[[]byte]
	users   int           // reads that wait for the chunk; guarded by mu of the cache
	data    []byte        // nil before it has arrived; guarded by mu of the cache
	element *list.Element // in order; nil before data has arrived; guarded by mu of the cache
}

// get returns a chunk. It calls fetch if the chunk is not there.
func (c *chunkCache) get(ctx context.Context, id chunkID, fetch func(context.Context) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	e := c.entry(id)
	if e.data != nil {
		c.mu.order.MoveToFront(e.element)
		defer c.mu.Unlock()
		return e.data, nil
	}
	e.users++
	c.mu.Unlock()

	data, err := e.flight.Do(ctx, fetch)

	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	if err == nil {
		c.keep(e, data)
	}
	if e.data == nil && e.users == 0 && c.mu.entries[id] == e {
		delete(c.mu.entries, id)
	}
	return data, err
}

// add keeps a chunk that was read otherwise.
func (c *chunkCache) add(read *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(c.entry(read.chunkID), read.data)
}

// entry returns the entry of a chunk, and makes it if there is none. The caller
// holds mu.
func (c *chunkCache) entry(id chunkID) *cached {
	if c.mu.entries == nil {
		c.mu.entries, c.mu.order = make(map[chunkID]*cached), list.New()
	}
	e := c.mu.entries[id]
	if e == nil {
		e = &cached{id: id}
		c.mu.entries[id] = e
	}
	return e
}

// keep keeps the data of an entry, and drops the chunks that were not used for
// longest. The caller holds mu.
func (c *chunkCache) keep(e *cached, data []byte) {
	if e.data != nil || c.mu.entries[e.id] != e {
		return
	}
	e.data, e.element = data, c.mu.order.PushFront(e)
	c.mu.size += int64(len(data))
	for c.mu.size > c.limit && c.mu.order.Len() > 0 {
		old := c.mu.order.Remove(c.mu.order.Back()).(*cached)
		c.mu.size -= int64(len(old.data))
		delete(c.mu.entries, old.id)
	}
}
