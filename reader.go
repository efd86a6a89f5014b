package litestream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// reader fetches pages through the tiers: memory cache, then object storage.
// It is safe for concurrent use; pages it returns are read-only.
type reader struct {
	store *store
	cache atomic.Pointer[pageCache]

	mu      sync.Mutex          // duty: at most one fetch of a page under way
	flights map[pageKey]*flight // guarded by mu

	hits   atomic.Int64
	misses atomic.Int64

	frames sync.Pool // *[]byte, for compressed frames
}

// flight is a fetch under way that others may wait for.
type flight struct {
	done chan struct{}
	page []byte // valid after done
	err  error
}

func newReader(s *store, cache *pageCache) *reader {
	r := &reader{
		store:   s,
		flights: make(map[pageKey]*flight),
		frames:  sync.Pool{New: func() any { return new([]byte) }},
	}
	r.cache.Store(cache)
	return r
}

// page returns a page of which fetch gives the bytes, unless they are known or
// somebody is fetching them.
func (r *reader) page(ctx context.Context, key pageKey, fetch func() ([]byte, error)) ([]byte, error) {
	for {
		if page, ok := r.cache.Load().get(key); ok {
			r.hits.Add(1)
			return page, nil
		}
		r.mu.Lock()
		f, waiting := r.flights[key]
		if !waiting {
			f = &flight{done: make(chan struct{})}
			r.flights[key] = f
		}
		r.mu.Unlock()
		if !waiting {
			return r.fly(key, f, fetch)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err == nil {
			r.hits.Add(1)
			return f.page, nil
		}
		// The fetch may have failed by its own deadline, or for lack of a
		// file that this caller's view need not read from.
		if !errors.Is(f.err, context.DeadlineExceeded) && !errors.Is(f.err, errStateGone) {
			return nil, f.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (r *reader) fly(key pageKey, f *flight, fetch func() ([]byte, error)) ([]byte, error) {
	r.misses.Add(1)
	f.err = errors.New("fetch panicked") // for waiters, if it does
	defer func() {
		r.mu.Lock()
		delete(r.flights, key)
		r.mu.Unlock()
		close(f.done)
	}()
	f.page, f.err = fetch()
	if f.err == nil {
		r.cache.Load().add(key, f.page)
	}
	return f.page, f.err
}

// frame reads and decodes one page where it lies.
func (r *reader) frame(ctx context.Context, loc frameLoc, pgno uint32) ([]byte, error) {
	buf := r.frames.Get().(*[]byte)
	defer r.frames.Put(buf)
	if cap(*buf) < int(loc.size) {
		*buf = make([]byte, loc.size)
	}
	frame := (*buf)[:loc.size]
	if err := r.store.read(ctx, loc.file.key(), frame, loc.offset); err != nil {
		return nil, err
	}
	page := make([]byte, loc.file.pageSize)
	if err := ltxio.DecodeFrame(page, frame, pgno); err != nil {
		return nil, fmt.Errorf("read page %d from %s: %w", pgno, loc.file, err)
	}
	return page, nil
}
