package litestream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"golang.org/x/sync/semaphore"
)

// reader fetches pages through the tiers: memory cache, pages read ahead,
// then object storage. It is safe for concurrent use; pages it returns are
// read-only.
type reader struct {
	store *store
	cache atomic.Pointer[pageCache]

	cacheSize int64 // bytes

	local  atomic.Pointer[localPages] // nil without hydration, and before it begins
	copies *hydrator                  // is offered what was fetched; nil without hydration
	tree   treeMap
	usable atomic.Int64 // bytes of a page that b-trees use; 0 until page 1 was read

	mu      sync.Mutex          // duty: at most one fetch of a page under way
	flights map[pageKey]*flight // guarded by mu
	ahead   int                 // guarded by mu; pages read ahead, landed or not

	hits     atomic.Int64 // pages found in the cache, or fetched by somebody else
	misses   atomic.Int64 // pages fetched because they were asked for
	early    atomic.Int64 // pages found read ahead
	landings atomic.Int64 // pages read ahead
	unused   atomic.Int64 // of these, given up
	locals   atomic.Int64 // pages found in the local file

	frames sync.Pool           // *[]byte, for compressed frames
	bodies *semaphore.Weighted // bounds the bytes of bodies that are read ahead; nil: no bound
}

// flight is a fetch of a page that others may wait for. One that nobody asked
// for yet stays, after it has landed, until somebody does or it is given up.
type flight struct {
	done   chan struct{} // guarded by reader.mu; made by the first who waits
	landed bool          // guarded by reader.mu
	ahead  bool          // guarded by reader.mu; nobody asked for it yet, counts in reader.ahead
	flood  bool          // part of a scan that would fill the cache, which it bypasses
	asked  bool          // guarded by reader.mu; somebody is going to wait for it, who has missed it
	guess  bool          // made by read-ahead, which does not try as hard as one can
	ticket *ticket       // guarded by reader.mu; of its request, if it queues

	// Valid after it landed.
	page     []byte
	err      error
	interior bool // page of a b-tree
}

func newReader(s *store, cacheSize int64, pageSize uint32) *reader {
	r := &reader{
		store: s, cacheSize: cacheSize,
		flights: make(map[pageKey]*flight),
		frames:  sync.Pool{New: func() any { return new([]byte) }},
	}
	r.reset(pageSize)
	return r
}

// known returns a page where that takes no request, nil if it would. Cached
// tells whether it was in the cache.
func (r *reader) known(key pageKey) (page []byte, cached bool) {
	if page, ok := r.cache.Load().get(key); ok {
		r.hits.Add(1)
		return page, true
	}
	if page := r.landed(key); page != nil {
		return page, false
	}
	return r.localPage(key), false
}

// landed takes a page that was read ahead, nil if it was not.
func (r *reader) landed(key pageKey) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[key]
	if f == nil || !f.landed {
		return nil
	}
	r.early.Add(1)
	r.settle(key, f)
	return f.page
}

// localPage reads a page from the local file, nil if it is not there.
func (r *reader) localPage(key pageKey) []byte {
	l := r.local.Load()
	if l == nil {
		return nil
	}
	page, err := l.readKey(key)
	if err != nil {
		r.copies.broke(l, err)
		return nil
	}
	r.locals.Add(1)
	return page
}

// readLocal fills p with a page of a view from the local file, if it is there.
func (r *reader) readLocal(v *view, pgno uint32, p []byte) bool {
	l := r.local.Load()
	if l == nil || int64(len(p)) != l.size {
		return false
	}
	if err := l.read(v, pgno, p); err != nil {
		r.copies.broke(l, err)
		return false
	}
	r.locals.Add(1)
	return true
}

// isLocal tells whether a page is in the local file.
func (r *reader) isLocal(key pageKey) bool {
	l := r.local.Load()
	return l != nil && l.hasKey(key)
}

// peek is known without counting as a use of the page. It returns nil for a
// page that is not known.
func (r *reader) peek(key pageKey) []byte {
	if page, ok := r.cache.Load().peek(key); ok {
		return page
	}
	r.mu.Lock()
	f := r.flights[key]
	if f != nil && f.landed && f.err == nil {
		defer r.mu.Unlock()
		return f.page
	}
	r.mu.Unlock()
	if l := r.local.Load(); l != nil {
		if page, err := l.readKey(key); err == nil {
			return page
		}
	}
	return nil
}

// page returns a page of which fetch gives the bytes, unless they are known or
// somebody is fetching them.
func (r *reader) page(ctx context.Context, key pageKey, fetch func() ([]byte, error)) ([]byte, error) {
	for {
		if page, _ := r.known(key); page != nil {
			return page, nil
		}
		r.mu.Lock()
		f := r.flights[key]
		switch {
		case f == nil:
			f = new(flight)
			r.flights[key] = f
			r.mu.Unlock()
			return r.fly(key, f, fetch)
		case f.landed:
			r.mu.Unlock()
			continue
		case f.done == nil:
			f.done = make(chan struct{})
		}
		done, ticket := f.done, f.ticket
		r.mu.Unlock()
		r.store.limit.promote(ticket)
		select {
		case <-done:
		case <-ctx.Done():
			r.giveUp([]pageKey{key})
			return nil, ctx.Err()
		}
		if f.err == nil {
			r.take(key, f)
			return f.page, nil
		}
		// The fetch may have failed by its own deadline, or for lack of a
		// file that this caller's view need not read from.
		if !f.guess && !errors.Is(f.err, context.DeadlineExceeded) && !errors.Is(f.err, errStateGone) {
			return nil, f.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (r *reader) fly(key pageKey, f *flight, fetch func() ([]byte, error)) ([]byte, error) {
	r.misses.Add(1)
	page, err := []byte(nil), errors.New("fetch panicked") // for waiters, if it does
	defer func() { r.land(landing{key, f, page, err}) }()
	page, err = fetch()
	return page, err
}

// landing is the end of a flight.
type landing struct {
	key  pageKey
	f    *flight
	page []byte
	err  error
}

// land ends flights. It is called for many at a time, lest those who decode
// pages and those who use them fight for the lock.
func (r *reader) land(all ...landing) {
	interior := make([]bool, len(all))
	for i, l := range all {
		interior[i] = l.err == nil && r.learn(l.key, l.page)
		if l.err == nil {
			r.copies.offer(l.key, l.page, false)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range all {
		f := l.f
		f.page, f.err, f.interior, f.landed = l.page, l.err, interior[i], true
		if f.done != nil {
			close(f.done)
		}
		if f.guess && f.err == nil {
			r.landings.Add(1)
		}
		if !f.ahead || f.interior || f.err != nil {
			r.settle(l.key, f)
		}
	}
}

// register adds a flight, unless there is one of that page already, or it is
// read ahead and there are as many as may be.
func (r *reader) register(key pageKey, f *flight, most int) (added, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights[key] != nil {
		return false, false
	}
	if f.ahead {
		if r.ahead >= most {
			return false, true
		}
		r.ahead++
	}
	r.flights[key] = f
	return true, false
}

// isFlying reports whether a page is being fetched, or was read ahead.
func (r *reader) isFlying(key pageKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flights[key] != nil
}

// used is for a page that was read ahead, and may have been found in the
// cache as well.
func (r *reader) used(key pageKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch f := r.flights[key]; {
	case f == nil:
	case f.landed:
		r.settle(key, f)
	case f.ahead: // nobody will ask for it again
		f.ahead = false
		r.ahead--
	}
}

// room returns how many pages more may be read ahead, of most.
func (r *reader) room(most int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, most-r.ahead)
}

// take is for who has waited for a page.
func (r *reader) take(key pageKey, f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.asked:
		f.asked = false
		r.misses.Add(1)
	case f.ahead:
		r.early.Add(1)
		if r.flights[key] == f {
			r.settle(key, f)
		}
	default:
		r.hits.Add(1)
	}
}

// settle ends what a landed flight is more than a page in the cache. Called
// under mu.
func (r *reader) settle(key pageKey, f *flight) {
	delete(r.flights, key)
	if f.ahead {
		f.ahead = false
		r.ahead--
	}
	switch {
	case f.err != nil, f.flood && !f.interior:
	case f.interior:
		r.cache.Load().keep(key, f.page)
	default:
		r.cache.Load().addNew(key, f.page)
	}
}

// giveUp is for pages that were read ahead, and that nobody will ask for now.
// What has landed, or will, goes to the cache.
func (r *reader) giveUp(keys []pageKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		f := r.flights[key]
		if f == nil || !f.ahead {
			continue
		}
		if f.guess {
			r.unused.Add(1)
		}
		if f.landed {
			r.settle(key, f)
		} else {
			f.ahead = false
			r.ahead--
		}
	}
}

// clear gives up whatever was read ahead.
func (r *reader) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.flights)
	r.ahead = 0
}

// admit puts a page into the cache that came along with others, maybe in a
// whole file whose checksum was compared.
func (r *reader) admit(key pageKey, page []byte, compared bool) {
	r.copies.offer(key, page, compared)
	r.keep(key, page)
}

// keep puts a page into the cache.
func (r *reader) keep(key pageKey, page []byte) {
	if r.learn(key, page) {
		r.cache.Load().keep(key, page)
	} else {
		r.cache.Load().add(key, page)
	}
}

// learn notes what a page tells of others, and reports whether it is an
// interior page of a b-tree.
func (r *reader) learn(key pageKey, page []byte) bool {
	if key.pgno == 1 {
		if n, ok := btree.UsableSize(page); ok {
			r.usable.Store(int64(n))
		}
	}
	p, ok := r.parse(key.pgno, page)
	if !ok || !p.Kind().IsInterior() {
		return false
	}
	r.tree.learn(key.pgno, p)
	return true
}

// parse parses a page as one of a b-tree.
func (r *reader) parse(pgno uint32, page []byte) (btree.Page, bool) {
	usable := int(r.usable.Load())
	if usable == 0 || usable > len(page) {
		usable = len(page)
	}
	return btree.Parse(page, pgno, usable)
}

// frame reads and decodes one page where it lies.
func (r *reader) frame(ctx context.Context, loc frameLoc, pgno uint32) ([]byte, error) {
	buf := r.buffer(int(loc.size))
	defer r.frames.Put(buf)
	frame := (*buf)[:loc.size]
	if err := r.store.readHedged(loc.file.reading(ctx), loc.file.key(), frame, loc.offset); err != nil {
		return nil, err
	}
	return decodePage(loc, frame, pgno)
}

// buffer returns a buffer of n bytes or more, to be put back to frames.
func (r *reader) buffer(n int) *[]byte {
	buf := r.frames.Get().(*[]byte)
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:cap(*buf)]
	return buf
}

func decodePage(loc frameLoc, frame []byte, pgno uint32) ([]byte, error) {
	page := make([]byte, loc.file.pageSize)
	if err := ltxio.DecodeFrame(page, frame, pgno); err != nil {
		return nil, fmt.Errorf("read page %d from %s: %w", pgno, loc.file, err)
	}
	if err := loc.checkTrusted(pgno); err != nil {
		return nil, err
	}
	return page, nil
}
