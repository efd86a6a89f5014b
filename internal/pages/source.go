// Package pages finds pages of views, and predicts which pages are read next. A
// page is named by its number and version, and a name stands for the same bytes
// for ever: so caches and tiers have nothing to invalidate.
package pages

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// Source finds pages of views. A read of a whole page asks in this order:
// ReadLocal copies the page from the local tier into the memory of the caller.
// Known looks in the memory cache, among the pages that were prefetched, and in
// the local tier. Page waits for a fetch in flight, or fetches the page from
// object storage. Source is safe for concurrent use, and the pages that it
// returns are read-only.
type Source struct {
	store   *remote.Store
	locator Locator
	opts    Options

	cache    atomic.Pointer[pageCache] // replaced where the page size changes, or pages are wrong
	flights  *flights
	bodies   *bodies
	arrivals arrivals
	local    Tier        // set before the first read
	Buffers  *BufferPool // for compressed frames
	pages    BufferPool  // for pages that go from a request to one reader and nowhere else
	trees    trees       // what the pages that were read tell of b-trees

	Counters
}

// Options are the options of reading pages.
type Options struct {
	CacheSize    int64 // bytes of the memory cache
	PrefetchSize int64 // limit of the pages that are prefetched and not used yet, bytes; at most 0: no prefetch
}

// Locator finds where page versions lie on the replica, which moves them when
// it compacts files. It is safe for concurrent use.
type Locator interface {
	// Epoch returns the epoch of the current view. Pages of a view of another
	// epoch must not be read from storage any more.
	Epoch() uint32

	// Known returns a place of page pgno of v, which has it in this version. It
	// makes no request. It reports false if no place is known that is neither
	// deleted nor wrong.
	Known(v *view.View, pgno uint32, version ltx.TXID) (view.Loc, bool)

	// Find looks on the replica for another place of page pgno of v than lost,
	// whose file was deleted or replaced. An error that wraps
	// errs.ErrStateGone means that there is none.
	Find(ctx context.Context, v *view.View, pgno uint32, lost view.Loc) (view.Loc, error)

	// IsStillListed lists the files of the replica anew. It reports whether f, a
	// file of an epoch, is among them with the same content, or may be. The error
	// is what went wrong on the way. There may be an error beside either answer.
	IsStillListed(ctx context.Context, epoch uint32, f *view.File) (bool, error)
}

// NewSource returns a source of pages of pageSize bytes, without a local tier.
func NewSource(s *remote.Store, l Locator, opts Options, pageSize uint32) *Source {
	p := &Source{store: s, locator: l, opts: opts, local: noTier{}, Buffers: new(BufferPool)}
	p.flights = newFlights(&p.cache, &p.Counters)
	p.bodies = newBodies(opts.PrefetchSize/4*3, &p.Counters) // a scan on another connection has the rest
	p.Reset(pageSize)
	return p
}

// SetLocal makes t the local tier. It is called before the first read.
func (s *Source) SetLocal(t Tier) { s.local = t }

// Reset replaces the cache by an empty one for pages of a size, and forgets the pages
// that were prefetched.
func (s *Source) Reset(pageSize uint32) {
	s.bodies.clear()
	s.flights.reset(newCache(s.opts.CacheSize, pageSize))
}

// CacheRoom returns the number of pages that the cache has room for.
func (s *Source) CacheRoom() int { return s.cache.Load().size() }

// TakesOffers reports whether there is a local tier, which takes offers.
func (s *Source) TakesOffers() bool { return s.local != noTier{} }

// DropLocal drops the pages of the local tier.
func (s *Source) DropLocal() { s.local.Drop() }

// Notify tells the local tier that a view was published, or that pages of it
// have moved.
func (s *Source) Notify() { s.local.Notify() }

// Found is a page that Known has found.
type Found struct {
	Page   []byte  // nil for a page that was never written
	Cached bool    // it was in the cache
	memory *[]byte // of the page, if nothing else refers to it
}

// Known returns page pgno of a view if that takes no request. The caller gives
// it to Release when it does not need the page any more.
func (s *Source) Known(v *view.View, pgno uint32) (_ Found, ok bool) {
	loc, ok := v.Lookup(pgno)
	if !ok {
		return Found{}, true
	}
	if loc.File.Segment != nil || loc.File.Wrong.Load() != nil {
		return Found{}, false
	}
	found := s.knownVersion(Key{loc.Version, pgno, v.Epoch})
	return found, found.Page != nil
}

// Release ends the use of a page. Another page may be put into its memory.
func (s *Source) Release(f Found) {
	if f.memory != nil {
		s.pages.Put(f.memory)
	}
}

// Page returns page pgno of a view, nil for one that was never written and so
// is all zeros.
func (s *Source) Page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error) {
	return s.PageAmid(ctx, v, pgno, nil)
}

// PageAmid is Page for a reader that wants to know of other pages that arrive while it
// waits: then it calls news, if that is not nil.
func (s *Source) PageAmid(ctx context.Context, v *view.View, pgno uint32, news func()) ([]byte, error) {
	loc, ok := v.Lookup(pgno)
	if !ok {
		return nil, nil
	}
	if loc.File.Segment != nil {
		page := make([]byte, v.PageSize)
		return page, loc.ReadSegment(pgno, page)
	}
	if err := loc.CheckTrusted(pgno); err != nil {
		if loc, ok = s.locator.Known(v, pgno, loc.Version); !ok {
			return nil, err
		}
	}
	if v.Base != nil {
		v = v.Base // the view of the replica knows where the page is by now
	}
	return s.version(ctx, Key{loc.Version, pgno, v.Epoch}, news, func() ([]byte, error) {
		s.local.Want(pgno)
		return s.fetch(ctx, v, pgno, loc)
	})
}

// IsAllLocal reports whether no read of the newest view needs storage.
func (s *Source) IsAllLocal() bool { return s.local.IsComplete() }

// ReadLocal fills p with a page of a view from the local tier, if it is there.
func (s *Source) ReadLocal(v *view.View, pgno uint32, p []byte) bool {
	if !s.local.ReadView(v, pgno, p) {
		return false
	}
	s.localHits.Add(1)
	return true
}

// widens reports whether the neighbours of pages may be fetched for lookups: not
// where the local tier copies everything anyway.
func (s *Source) widens() bool {
	return s.opts.PrefetchSize > 0 && (!s.TakesOffers() || s.local.Needs() == NeedsPages)
}

// isKnown reports whether a page version is here or on its way.
func (s *Source) isKnown(key Key) bool {
	if _, ok := s.cache.Load().peek(key); ok {
		return true
	}
	return s.flights.has(key) || s.local.Has(key) || s.bodies.has(key)
}

// knownVersion returns a page version if that takes no request, none if it does.
func (s *Source) knownVersion(key Key) Found {
	// A page of a scan is rarely in the cache, so the flights come first.
	if page, memory := s.flights.takeLanded(key, byPrefetch); page != nil {
		return Found{Page: page, memory: memory}
	}
	if page, ok := s.cache.Load().get(key); ok {
		s.hits.Add(1)
		return Found{Page: page, Cached: true}
	}
	if page, _ := s.flights.takeLanded(key, fromCache); page != nil { // it was evicted
		return Found{Page: page}
	}
	page := s.local.Read(key)
	if page != nil {
		s.localHits.Add(1)
		return Found{Page: page}
	}
	if page = s.bodies.page(key, true); page != nil {
		s.prefetchHits.Add(1)
		s.admit(key, page, false)
	}
	return Found{Page: page}
}

// peek is knownVersion without counting as a use of the page.
func (s *Source) peek(key Key) []byte {
	if page, ok := s.cache.Load().peek(key); ok {
		return page
	}
	if page := s.flights.peek(key); page != nil {
		return page
	}
	if page := s.local.Peek(key); page != nil {
		return page
	}
	return s.bodies.page(key, false)
}

// version returns a page version. It calls fetch for the bytes unless they are
// known, or another goroutine fetches them already.
func (s *Source) version(ctx context.Context, key Key, news func(), fetch func() ([]byte, error)) ([]byte, error) {
	for {
		if found := s.knownVersion(key); found.Page != nil {
			return found.Page, nil
		}
		if came, err := s.bodies.await(ctx, key, s.store.Limit.Promote); err != nil {
			return nil, err
		} else if came {
			continue
		}
		f := s.flights.join(key)
		switch {
		case f.begun:
			return s.fly(key, f.flight, fetch)
		case f.done == nil:
			continue // it landed meanwhile
		}
		f.request.promote()
		if err := s.arrivals.await(ctx, f.done, news); err != nil {
			s.flights.giveUp(key)
			return nil, err
		}
		if f.err == nil {
			s.flights.take(key, f.flight)
			return f.page, nil
		}
		if f.origin != byPrefetch && !isOfItsReader(f.err) {
			return nil, f.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// isOfItsReader reports whether a fetch has failed for a reason that does not
// concern other readers: its deadline has passed, SQLite has interrupted its
// statement, or it has read from a view whose files were deleted.
func isOfItsReader(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errs.ErrStateGone)
}

// fly fetches the page of a flight that the caller has begun.
func (s *Source) fly(key Key, f *flight, fetch func() ([]byte, error)) ([]byte, error) {
	s.misses.Add(1)
	page, err := []byte(nil), errors.New("fetch panicked") // for other readers, if it does
	defer func() { s.land(landing{key: key, f: f, page: page, err: err}) }()
	page, err = fetch()
	return page, err
}

// land ends flights, after it has handed their pages to the local tier.
func (s *Source) land(all ...landing) {
	for i := range all {
		if l := &all[i]; l.err == nil {
			l.interior = s.Learn(l.key.Pgno, l.page)
			s.local.Offer(l.key, l.page, false)
		}
	}
	s.flights.land(all)
	s.arrivals.Ring()
}

// landPrefetched is land for pages that were fetched ahead of use. A tier that has
// only what it is offered gets every page: after the flights have landed, this waits
// until the tier has room, as long as ctx allows.
func (s *Source) landPrefetched(ctx context.Context, all []landing) {
	if s.local.Needs() == NeedsNothing {
		s.land(all...)
		return
	}
	for i := range all {
		if l := &all[i]; l.err == nil {
			l.interior = s.Learn(l.key.Pgno, l.page)
		}
	}
	s.flights.land(all)
	s.arrivals.Ring()
	for _, l := range all {
		if l.err == nil {
			s.local.OfferWait(ctx, l.key, l.page, false)
		}
	}
}

// fetch reads a page from storage. If the file that the view knows was deleted
// or replaced, it reads the page from another one.
func (s *Source) fetch(ctx context.Context, v *view.View, pgno uint32, loc view.Loc) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		if v.Epoch != s.locator.Epoch() {
			return nil, fmt.Errorf("read page %d as of transaction %s: %w: the replica was replaced", pgno, v.TXID, errs.ErrStateGone)
		}
		if !loc.File.Gone.Load() {
			page, err := s.frame(ctx, loc, pgno)
			if err == nil && v.Epoch != s.locator.Epoch() {
				continue // it may be of another history
			}
			switch {
			case err == nil, attempt >= maxFetchAttempts:
				return page, err
			case errs.IsMissing(err):
				loc.File.Gone.Store(true)
			case errors.Is(err, errs.ErrCorrupt):
				// The file may have been replaced since its index was read.
				listed, problem := s.locator.IsStillListed(ctx, v.Epoch, loc.File)
				if listed {
					return nil, errors.Join(err, problem)
				}
				loc.File.Gone.Store(true)
			default:
				return nil, err
			}
		}
		var err error
		if loc, err = s.locator.Find(ctx, v, pgno, loc); err != nil {
			return nil, err
		}
	}
}

// maxFetchAttempts is how often a page is looked for in another file.
const maxFetchAttempts = 3

// frame reads and decodes the page that lies at a place.
func (s *Source) frame(ctx context.Context, loc view.Loc, pgno uint32) ([]byte, error) {
	var guessed []byte
	var err error
	if s.opts.PrefetchSize > 0 {
		loc, guessed, err = s.store.Fetch(ctx, pgno, loc)
	} else { // nothing is read that may not be needed
		loc, err = s.store.Locate(ctx, pgno, loc)
	}
	if err != nil {
		return nil, err
	}
	if guessed != nil {
		return decodePage(loc, guessed, pgno)
	}
	buf := s.Buffers.Get(int(loc.Size))
	defer s.Buffers.Put(buf)
	frame := (*buf)[:loc.Size]
	if err := s.store.ReadHedged(loc.File.Reading(ctx), loc.File.Key(), frame, loc.Offset); err != nil {
		return nil, err
	}
	return decodePage(loc, frame, pgno)
}

func decodePage(loc view.Loc, frame []byte, pgno uint32) ([]byte, error) {
	page := make([]byte, loc.File.PageSize)
	if err := decodeInto(page, loc, frame, pgno); err != nil {
		return nil, err
	}
	return page, nil
}

// decodeInto decodes the frame of a page. The content of page is undefined after an
// error.
func decodeInto(page []byte, loc view.Loc, frame []byte, pgno uint32) error {
	if err := ltxio.DecodeFrame(page, frame, pgno); err != nil {
		return fmt.Errorf("read page %d from %s: %w", pgno, loc.File, err)
	}
	return loc.CheckTrusted(pgno)
}

// admit gives the tiers a page that came along with others. Verified means
// that a compared checksum of a whole file covers it.
func (s *Source) admit(key Key, page []byte, verified bool) {
	s.local.Offer(key, page, verified)
	s.Keep(key, page)
}

// OfferWait gives the local tier a page of a file whose checksum is right. It
// waits until the tier has room, as long as ctx allows.
func (s *Source) OfferWait(ctx context.Context, key Key, page []byte) {
	s.local.OfferWait(ctx, key, page, true)
}

// Learn notes what a page tells of b-trees. It reports whether it is an
// interior page of one.
func (s *Source) Learn(pgno uint32, page []byte) (interior bool) {
	return s.trees.learn(pgno, page)
}

// Clear forgets the pages that were prefetched. It is called when no fetch is
// under way any more.
func (s *Source) Clear() {
	s.flights.clear()
	s.bodies.clear()
}

// Keep puts a page into the cache.
func (s *Source) Keep(key Key, page []byte) {
	if s.Learn(key.Pgno, page) {
		s.cache.Load().keep(key, page)
	} else {
		s.cache.Load().add(key, page)
	}
}
