package pages

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// Prefetcher fetches pages that are going to be asked for, many with one
// request. It is safe for concurrent use.
type Prefetcher struct {
	pages    *Source
	tasks    *task.Group
	timeout  time.Duration // of a request; negative: none
	requests *requestQueue // of spans
}

// NewPrefetcher returns a prefetcher whose requests belong to a group.
func NewPrefetcher(pages *Source, tasks *task.Group, timeout time.Duration) *Prefetcher {
	q := &requestQueue{store: pages.store, most: pages.opts.PrefetchSize}
	return &Prefetcher{pages: pages, tasks: tasks, timeout: timeout, requests: q}
}

// isEnabled reports whether pages may be prefetched for scans.
func (p *Prefetcher) isEnabled() bool { return p.pages.opts.PrefetchSize > 0 }

// limit returns how many pages of a view may be prefetched and not asked for
// yet.
func (p *Prefetcher) limit(v *view.View) int {
	return int((p.pages.opts.PrefetchSize - p.pages.bodies.held.Load()) / int64(v.PageSize))
}

// Schema prefetches the pages of a new database that SQLite asks for first:
// those of the schema, and the roots of tables and indexes.
func (p *Prefetcher) Schema(v *view.View) {
	if p.isEnabled() {
		roots, schema := treeWalk{p.pages, v}.schema()
		p.Prefetch(v, append(schema, roots...), 0, nil)
	}
}

// Prefetch starts to fetch pages of a view in few requests. It leaves out the
// pages that are known or in flight. It stops where the limit of prefetched
// pages is reached, and returns how many of the pages it went through. The
// caller is about to wait for the urgent page, unless that is 0. Without a scan
// the pages are not given up, and go to the cache at once.
func (p *Prefetcher) Prefetch(v *view.View, pgnos []uint32, urgent uint32, s *scan) int {
	gap := int64(MaxGap)
	if s != nil {
		gap = s.gap()
	}
	return p.prefetch(v, pgnos, urgent, s, gap)
}

// PrefetchSparse is Prefetch for pages that may lie anywhere in a large database: it
// reads through small gaps only, unless there are many.
func (p *Prefetcher) PrefetchSparse(v *view.View, pgnos []uint32) int {
	return p.prefetch(v, pgnos, 0, nil, minGap)
}

// prefetch is Prefetch with the largest gap between two pages that one request reads
// through if there are few, in bytes.
func (p *Prefetcher) prefetch(v *view.View, pgnos []uint32, urgent uint32, s *scan, gap int64) int {
	if p.pages.cache.Load() == nil || v.Epoch != p.pages.locator.Epoch() {
		return 0
	}
	limit := p.limit(v)
	wants := make([]want, 0, len(pgnos))
	var unread []want
	var reads indexReads
	n := 0
	for ; n < len(pgnos); n++ {
		w := p.want(v, pgnos[n], urgent, s)
		if w.flight == nil {
			continue
		}
		whole := p.pages.store.BeginIndex(w.loc.File)
		if w.loc.IsUnread() && (pgnos[n] == urgent || s == nil && !whole && !reads.covers(pgnos[n])) {
			continue // a reader that waits for the page reads a part of the page index itself
		}
		added, full := p.pages.flights.register(w.key, w.flight, limit)
		if full {
			break
		}
		switch {
		case !added || w.flight.origin != byPrefetch:
		case w.loc.IsUnread():
			unread = append(unread, w)
		default:
			wants = append(wants, w)
		}
	}
	p.beginAll(v, wants, urgent, s, gap)
	p.beginUnread(v, unread, s, gap)
	return n
}

// beginAll makes the requests for some pages in the background.
func (p *Prefetcher) beginAll(v *view.View, wants []want, urgent uint32, s *scan, gap int64) {
	all := spans(v, s, wants, urgent, gap)
	// The span that a reader waits for goes first.
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Compare(a.class, b.class) })
	for _, s := range all {
		p.begin(s)
	}
}

// beginUnread is beginAll for pages whose places in their files are unread. It
// reads the parts of the page indexes that have them first.
func (p *Prefetcher) beginUnread(v *view.View, wants []want, s *scan, gap int64) {
	if len(wants) == 0 {
		return
	}
	if !p.tasks.Begin() {
		p.fail(wants, errs.ErrClosed)
		return
	}
	go func() {
		defer p.tasks.End()
		left, err := wants, errPrefetch
		defer task.Guard(p.pages.store.Log, "read ahead", &err)
		defer func() { p.fail(left, err) }()
		ctx, cancel := p.tasks.WithTimeout(p.timeout)
		defer cancel()
		var read []want
		read, left, err = p.locate(ctx, wants)
		p.beginAll(v, read, 0, s, gap)
	}()
}

// indexReads are reads of parts of a page index for pages that may never be asked
// for. There are few, so that an open of a large database does not read much of its
// index.
type indexReads struct {
	pages [4]uint32 // of which a part is read
	n     int
}

// nearPages is the distance of pages of which one part of a page index most likely
// has both.
const nearPages = 2048

// covers reports whether a part of the index that is read has a page, most likely.
func (r *indexReads) covers(pgno uint32) bool {
	for _, near := range r.pages[:r.n] {
		if max(pgno, near)-min(pgno, near) <= nearPages {
			return true
		}
	}
	if r.n == len(r.pages) {
		return false
	}
	r.pages[r.n] = pgno
	r.n++
	return true
}

// maxLocates is the number of parts of page indexes that are read at once for pages
// that are prefetched.
const maxLocates = 16

// locate finds the places of pages, and returns those which it has not found as
// left. Pages that one part of a page index has are looked for one after the other.
func (p *Prefetcher) locate(ctx context.Context, wants []want) (read, left []want, err error) {
	slices.SortFunc(wants, func(a, b want) int { return cmp.Compare(a.key.Pgno, b.key.Pgno) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxLocates)
	for first := 0; first < len(wants); {
		n := 1
		for first+n < len(wants) && wants[first+n].key.Pgno-wants[first].key.Pgno <= nearPages {
			n++
		}
		near := wants[first : first+n]
		first += n
		g.Go(func() error {
			return p.pages.store.Guard(func() (err error) {
				for i := range near {
					if near[i].loc, err = p.pages.store.Locate(ctx, near[i].key.Pgno, near[i].loc); err != nil {
						break
					}
				}
				return err
			})
		})
	}
	err = g.Wait()
	for _, w := range wants {
		if w.loc.IsUnread() {
			left = append(left, w)
		} else {
			read = append(read, w)
		}
	}
	return read, left, err
}

// want returns what is to be fetched for a page, without a flight if nothing
// is.
func (p *Prefetcher) want(v *view.View, pgno, urgent uint32, s *scan) want {
	loc, ok := v.Lookup(pgno)
	if !ok || loc.File.Segment != nil || loc.File.Gone.Load() || loc.File.Wrong.Load() != nil {
		return want{}
	}
	forScan := s != nil && pgno != urgent
	key := Key{loc.Version, pgno, v.Epoch}
	page, cached := p.pages.cache.Load().peek(key)
	if cached && !forScan || !cached && (p.pages.local.Has(key) || p.pages.bodies.has(key)) {
		return want{}
	}
	f := &flight{origin: byPrefetch}
	if cached {
		// It could be evicted by what is fetched before its turn comes.
		f.origin, f.phase, f.page = fromCache, landed, page
	}
	switch {
	case forScan:
		f.claim = unclaimed
		if s.bypassesCache(s) {
			f.admission = admitNot
		}
	case pgno == urgent:
		f.claim = missed
	}
	return want{key, loc, f}
}

// begin makes the request of a span in the background.
func (p *Prefetcher) begin(s span) {
	if !p.tasks.Begin() {
		p.fail(s.wants, errs.ErrClosed)
		return
	}
	r := p.requests.add(s.class, s.size())
	if p.pages.flights.setRequest(s.wants, r) {
		r.promote()
	}
	go func() {
		defer p.tasks.End()
		p.read(s, r)
	}()
}

// errNotWanted ends the flights of a span that was given up before its request
// began.
var errNotWanted = errors.New("prefetch was given up")

// errPrefetch ends the flights of a span whose request panicked.
var errPrefetch = errors.New("prefetch failed")

// read makes the request of a span, and lands the pages as they arrive.
func (p *Prefetcher) read(s span, r *request) {
	limit := p.pages.store.Limit
	left := s.wants
	err := errPrefetch
	defer task.Guard(p.pages.store.Log, "read ahead", &err)
	defer func() { p.fail(left, err) }()
	ctx, cancel := p.tasks.WithTimeout(p.timeout)
	defer cancel()
	if err = r.await(ctx); err != nil {
		return
	}
	defer r.release()
	if err = limit.Wait(ctx, r.ticket); err != nil {
		return
	}
	if s.scan != nil && s.scan.ended.Load() && s.class != remote.Foreground && !p.pages.flights.isAwaited(left) {
		limit.Done(r.ticket)
		err = errNotWanted
		return
	}
	bypassed := s.wants[len(s.wants)-1].flight.admission == admitNot
	buf := p.pages.Buffers.Get(int(s.size()))
	defer p.pages.Buffers.Put(buf)
	body := (*buf)[:s.size()]
	// There is no second attempt: a reader that needs a page makes its own, for
	// as long as it may take.
	err = p.pages.store.Guard(func() error {
		_, err := p.pages.store.ReadOnce(s.file().Reading(ctx), s.class, r.ticket, s.file().Key(), body, s.offset(), func(got []byte) {
			left = p.landArrived(ctx, s, left, got)
		})
		return err
	})
	if err == nil && len(left) == 0 && !bypassed && s.view.Epoch == p.pages.locator.Epoch() {
		p.keepGaps(s, body)
	}
}

// landArrived lands the first of wants whose frames are in what has arrived of
// a span, and returns the others.
func (p *Prefetcher) landArrived(ctx context.Context, s span, wants []want, got []byte) (left []want) {
	n := 0
	for n < len(wants) && wants[n].end()-s.offset() <= int64(len(got)) {
		n++
	}
	if n == 0 || s.view.Epoch != p.pages.locator.Epoch() { // then it may be of another history
		return wants
	}
	p.pages.landPrefetched(ctx, p.pages.decodeWants(wants[:n], got, s.offset()))
	return wants[n:]
}

// keepGaps puts the pages that lie between those of a span into the cache,
// unless the view has newer versions of them. For a scan, it stops at half of the
// cache: decoding them takes time, and they would displace each other.
func (p *Prefetcher) keepGaps(s span, body []byte) {
	most := int64(p.pages.CacheRoom() / 2)
	for i, w := range s.wants[1:] {
		before := s.wants[i]
		if before.end() == w.loc.Offset || w.key.Pgno-before.key.Pgno > maxGapPages {
			continue
		}
		for pgno := before.key.Pgno + 1; pgno < w.key.Pgno; pgno++ {
			loc, ok := s.view.Lookup(pgno)
			if !ok || loc.File != s.file() || loc.Offset < before.end() || loc.Offset+int64(loc.Size) > w.loc.Offset {
				continue
			}
			key := Key{loc.Version, pgno, s.view.Epoch}
			if _, known := p.pages.cache.Load().peek(key); known {
				continue
			}
			if s.scan != nil && s.scan.gapPages.Add(1) > most {
				return
			}
			start := loc.Offset - s.offset()
			if page, err := decodePage(loc, body[start:start+int64(loc.Size)], pgno); err == nil {
				p.pages.admit(key, page, false)
			}
		}
	}
}

// fail ends the flights of pages that could not be fetched.
func (p *Prefetcher) fail(wants []want, err error) {
	if err == nil {
		err = errPrefetch
	}
	all := make([]landing, len(wants))
	for i, w := range wants {
		all[i] = landing{key: w.key, f: w.flight, err: err}
	}
	p.pages.land(all...)
}
