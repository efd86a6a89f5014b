package litestream

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

// pageSource finds pages of views. It asks the tiers in order of cost: the
// write buffer, the memory cache, pages that were prefetched, the local tier,
// then object storage. It is safe for concurrent use; pages that it returns are
// read-only.
type pageSource struct {
	store   *remote.Store
	locator locator
	opts    pageOptions

	cache   atomic.Pointer[pageCache] // replaced where the page size changes, or pages are wrong
	flights *flights
	local   tier        // set before the first read
	buffers *bufferPool // for compressed frames
	trees   trees       // what pages that passed through tell of b-trees

	pageCounters
}

// pageOptions are the options of reading pages.
type pageOptions struct {
	cacheSize    int64 // bytes of the memory cache
	prefetchSize int64 // bytes of pages that may be prefetched and not asked for yet; at most 0: none
}

// locator finds where page versions lie on the replica, which moves them when
// it compacts files. It is safe for concurrent use.
type locator interface {
	// epoch returns the epoch of the current view. Pages of a view of another
	// epoch must not be read from storage any more.
	Epoch() uint32

	// known returns a place of page pgno of v, which has it in this version. It
	// makes no request. It reports false if no place is known that is neither
	// deleted nor wrong.
	known(v *view.View, pgno uint32, version ltx.TXID) (view.Loc, bool)

	// find looks on the replica for another place of page pgno of v than lost,
	// whose file was deleted or replaced. An error that wraps errStateGone means
	// that there is none.
	find(ctx context.Context, v *view.View, pgno uint32, lost view.Loc) (view.Loc, error)

	// isStillListed lists the files of the replica anew. It reports whether f, a
	// file of an epoch, is among them with the same content, or may be. The error
	// is what went wrong on the way. There may be an error beside either answer.
	isStillListed(ctx context.Context, epoch uint32, f *view.File) (bool, error)
}

// newPageSource returns a page source without a local tier. PageSize is that
// of the database.
func newPageSource(s *remote.Store, l locator, opts pageOptions, pageSize uint32) *pageSource {
	p := &pageSource{store: s, locator: l, opts: opts, local: noTier{}, buffers: new(bufferPool)}
	p.flights = newFlights(&p.cache, &p.pageCounters)
	p.reset(pageSize)
	return p
}

// setLocal makes t the local tier. It is called before the first read.
func (s *pageSource) setLocal(t tier) { s.local = t }

// reset replaces the cache by an empty one for pages of a size.
func (s *pageSource) reset(pageSize uint32) {
	s.cache.Store(newPageCache(s.opts.cacheSize, pageSize))
}

// dropLocal drops the pages of the local tier.
func (s *pageSource) dropLocal() { s.local.drop() }

// notify tells the local tier that a view was published, or that pages of it
// have moved.
func (s *pageSource) notify() { s.local.notify() }

// known returns page pgno of a view if that takes no request: nil for a page
// that was never written. Cached tells whether it was in the cache.
func (s *pageSource) known(v *view.View, pgno uint32) (page []byte, cached, ok bool) {
	loc, ok := v.Lookup(pgno)
	if !ok {
		return nil, false, true
	}
	if loc.File.Segment != nil || loc.File.Wrong.Load() != nil {
		return nil, false, false
	}
	page, cached = s.knownVersion(pageKey{loc.Version, pgno, v.Epoch})
	return page, cached, page != nil
}

// page returns page pgno of a view, nil for one that was never written and so
// is all zeros.
func (s *pageSource) page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error) {
	loc, ok := v.Lookup(pgno)
	if !ok {
		return nil, nil
	}
	if loc.File.Segment != nil {
		page := make([]byte, v.PageSize)
		return page, loc.ReadSegment(pgno, page)
	}
	if err := loc.CheckTrusted(pgno); err != nil {
		if loc, ok = s.locator.known(v, pgno, loc.Version); !ok {
			return nil, err
		}
	}
	if v.Base != nil {
		v = v.Base // the view of the replica knows where the page is by now
	}
	return s.version(ctx, pageKey{loc.Version, pgno, v.Epoch}, func() ([]byte, error) {
		s.local.want(pgno)
		return s.fetch(ctx, v, pgno, loc)
	})
}

// isAllLocal reports whether no read of the newest view needs storage.
func (s *pageSource) isAllLocal() bool { return s.local.isComplete() }

// readLocal fills p with a page of a view from the local tier, if it is there.
func (s *pageSource) readLocal(v *view.View, pgno uint32, p []byte) bool {
	if !s.local.readView(v, pgno, p) {
		return false
	}
	s.localHits.Add(1)
	return true
}

// knownVersion returns a page version if that takes no request, nil if it
// does. Cached tells whether it was in the cache.
func (s *pageSource) knownVersion(key pageKey) (page []byte, cached bool) {
	if page, ok := s.cache.Load().get(key); ok {
		s.hits.Add(1)
		return page, true
	}
	if page := s.flights.takeLanded(key); page != nil {
		return page, false
	}
	if page = s.local.read(key); page != nil {
		s.localHits.Add(1)
	}
	return page, false
}

// peek is knownVersion without counting as a use of the page.
func (s *pageSource) peek(key pageKey) []byte {
	if page, ok := s.cache.Load().peek(key); ok {
		return page
	}
	if page := s.flights.peek(key); page != nil {
		return page
	}
	return s.local.peek(key)
}

// version returns a page version. It calls fetch for the bytes unless they are
// known, or another goroutine fetches them already.
func (s *pageSource) version(ctx context.Context, key pageKey, fetch func() ([]byte, error)) ([]byte, error) {
	for {
		if page, _ := s.knownVersion(key); page != nil {
			return page, nil
		}
		f := s.flights.join(key)
		switch {
		case f.begun:
			return s.fly(key, f.flight, fetch)
		case f.done == nil:
			continue // it landed meanwhile
		}
		s.store.Limit.Promote(f.ticket)
		select {
		case <-f.done:
		case <-ctx.Done():
			s.flights.giveUp(key)
			return nil, ctx.Err()
		}
		if f.err == nil {
			s.flights.take(key, f.flight)
			return f.page, nil
		}
		// The fetch may have failed because its own deadline passed, or a file
		// is missing that the view of this caller does not read from.
		if f.origin != byPrefetch && !errors.Is(f.err, context.DeadlineExceeded) && !errors.Is(f.err, errs.ErrStateGone) {
			return nil, f.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// fly fetches the page of a flight that the caller has begun.
func (s *pageSource) fly(key pageKey, f *flight, fetch func() ([]byte, error)) ([]byte, error) {
	s.misses.Add(1)
	page, err := []byte(nil), errors.New("fetch panicked") // for other readers, if it does
	defer func() { s.land(landing{key: key, f: f, page: page, err: err}) }()
	page, err = fetch()
	return page, err
}

// land ends flights, after it has handed their pages to the local tier.
func (s *pageSource) land(all ...landing) {
	for i := range all {
		if l := &all[i]; l.err == nil {
			l.interior = s.learn(l.key.pgno, l.page)
			s.local.offer(l.key, l.page, false)
		}
	}
	s.flights.land(all)
}

// fetch reads a page from storage. If the file that the view knows was deleted
// or replaced, it reads the page from another one.
func (s *pageSource) fetch(ctx context.Context, v *view.View, pgno uint32, loc view.Loc) ([]byte, error) {
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
			case errors.Is(err, ErrCorrupt):
				// The file may have been replaced since its index was read.
				listed, problem := s.locator.isStillListed(ctx, v.Epoch, loc.File)
				if listed {
					return nil, errors.Join(err, problem)
				}
				loc.File.Gone.Store(true)
			default:
				return nil, err
			}
		}
		var err error
		if loc, err = s.locator.find(ctx, v, pgno, loc); err != nil {
			return nil, err
		}
	}
}

// maxFetchAttempts is how often a page is looked for in another file.
const maxFetchAttempts = 3

// frame reads and decodes the page that lies at a place.
func (s *pageSource) frame(ctx context.Context, loc view.Loc, pgno uint32) ([]byte, error) {
	buf := s.buffers.get(int(loc.Size))
	defer s.buffers.put(buf)
	frame := (*buf)[:loc.Size]
	if err := s.store.ReadHedged(loc.File.Reading(ctx), loc.File.Key(), frame, loc.Offset); err != nil {
		return nil, err
	}
	return decodePage(loc, frame, pgno)
}

func decodePage(loc view.Loc, frame []byte, pgno uint32) ([]byte, error) {
	page := make([]byte, loc.File.PageSize)
	if err := ltxio.DecodeFrame(page, frame, pgno); err != nil {
		return nil, fmt.Errorf("read page %d from %s: %w", pgno, loc.File, err)
	}
	if err := loc.CheckTrusted(pgno); err != nil {
		return nil, err
	}
	return page, nil
}

// admit gives the tiers a page that came along with others. Verified means
// that a compared checksum of a whole file covers it.
func (s *pageSource) admit(key pageKey, page []byte, verified bool) {
	s.local.offer(key, page, verified)
	s.keep(key, page)
}

// offerWait gives the local tier a page of a file whose checksum is right. It
// waits until the tier has room, as long as ctx allows.
func (s *pageSource) offerWait(ctx context.Context, key pageKey, page []byte) {
	s.local.offerWait(ctx, key, page, true)
}

// learn notes what a page tells of b-trees. It reports whether it is an
// interior page of one.
func (s *pageSource) learn(pgno uint32, page []byte) (interior bool) {
	return s.trees.learn(pgno, page)
}

// clear forgets the pages that were prefetched. It is called when no fetch is
// under way any more.
func (s *pageSource) clear() { s.flights.clear() }

// keep puts a page into the cache.
func (s *pageSource) keep(key pageKey, page []byte) {
	if s.learn(key.pgno, page) {
		s.cache.Load().keep(key, page)
	} else {
		s.cache.Load().add(key, page)
	}
}
