package litestream

import (
	"cmp"
	"errors"
	"slices"
)

const (
	// maxGap is the largest gap between two wanted frames of a file that is
	// read through. It costs about 1 ms; another request costs more, but runs
	// at the same time.
	maxGap = 64 << 10

	// maxSpan bounds a request for several pages, unless one alone is larger.
	maxSpan = 512 << 10

	// maxGapPages bounds how many pages of a gap are looked at.
	maxGapPages = 1024
)

// want is a page to be read, and where it lies.
type want struct {
	key pageKey
	loc frameLoc
	f   *flight
}

func (w want) end() int64 { return w.loc.offset + int64(w.loc.size) }

// span is a part of a file that one request reads, for pages of a view.
type span struct {
	view   *view
	stream *stream // that it is for; nil: nobody gives the pages up
	wants  []want  // in the order of their offsets, at least one
	class  requestClass
}

func (s span) file() *ltxFile { return s.wants[0].loc.file }
func (s span) offset() int64  { return s.wants[0].loc.offset }
func (s span) size() int64    { return s.wants[len(s.wants)-1].end() - s.offset() }

// spans groups wants of a view that lie near each other. The span of the page
// that is urgent, if any, begins with it, and is of the foreground.
func spans(v *view, s *stream, wants []want, urgent uint32) (all []span) {
	slices.SortFunc(wants, func(a, b want) int {
		if a.loc.file != b.loc.file {
			return cmp.Or(cmp.Compare(a.loc.file.level, b.loc.file.level),
				cmp.Compare(a.loc.file.minTXID, b.loc.file.minTXID),
				cmp.Compare(a.loc.file.maxTXID, b.loc.file.maxTXID))
		}
		return cmp.Compare(a.loc.offset, b.loc.offset)
	})
	first := 0
	for i := range wants {
		w := wants[i]
		if i > 0 {
			last := wants[i-1]
			near := w.loc.file == last.loc.file && w.loc.offset-last.end() <= maxGap && w.end()-wants[first].loc.offset <= maxSpan
			if !near || w.key.pgno == urgent {
				all = append(all, span{v, s, wants[first:i], speculative})
				first = i
			}
		}
	}
	if len(wants) > 0 {
		all = append(all, span{v, s, wants[first:], speculative})
	}
	for i := range all {
		if urgent != 0 && all[i].wants[0].key.pgno == urgent {
			all[i].class = foreground
		}
	}
	return all
}

// readAhead starts to read pages of a view, in as few requests as they need,
// unless they are known or being read already. It stops where the limit of
// pages read ahead is reached, and returns how many of the pages it went
// through. One of the pages may be urgent: somebody is going to wait for it.
// Without a stream, nobody gives the pages up, and they go straight to the
// cache.
func (db *database) readAhead(v *view, pgnos []uint32, urgent uint32, stream *stream) int {
	r := db.reader
	cache := r.cache.Load()
	if cache == nil || v.epoch != db.current.Load().epoch {
		return 0
	}
	most := int(db.opts.ReadAheadSize / int64(v.pageSize))
	wants := make([]want, 0, len(pgnos))
	n := 0
	for ; n < len(pgnos); n++ {
		pgno := pgnos[n]
		loc, ok := v.lookup(pgno)
		if !ok || loc.file.segment != nil || loc.file.gone.Load() || loc.file.wrong.Load() != nil {
			continue
		}
		key := pageKey{loc.version, pgno, v.epoch}
		page, cached := cache.peek(key)
		if cached && (stream == nil || pgno == urgent) || !cached && r.isLocal(key) {
			continue
		}
		// What is cached could be displaced by what is read before its turn comes.
		f := &flight{guess: !cached, ahead: stream != nil && pgno != urgent, asked: pgno == urgent, landed: cached, page: page}
		f.flood = f.ahead && stream.isFlood()
		added, full := r.register(key, f, most)
		if full {
			break
		}
		if added && !cached {
			wants = append(wants, want{key, loc, f})
		}
	}
	all := spans(v, stream, wants, urgent)
	// What is waited for goes first.
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Compare(a.class, b.class) })
	for _, s := range all {
		if !db.tasks.Begin() {
			r.fail(s.wants, ErrClosed)
			continue
		}
		t := r.store.limit.enqueue(s.class)
		if r.setTicket(s.wants, t) {
			r.store.limit.promote(t)
		}
		go func() {
			defer db.tasks.End()
			db.readSpan(s, t)
		}()
	}
	return n
}

// errNotWanted ends read-ahead that was given up before it began.
var errNotWanted = errors.New("read-ahead was given up")

// errReadAhead ends flights of a span that panicked.
var errReadAhead = errors.New("read-ahead failed")

// readSpan makes the request of a span, and hands the pages out as they come.
func (db *database) readSpan(s span, t *ticket) {
	r := db.reader
	left := s.wants
	err := errReadAhead
	defer guard(db.log, "read ahead", &err)
	defer func() { r.fail(left, err) }()
	ctx, cancel := db.tasks.WithTimeout(db.opts.ReadTimeout)
	defer cancel()
	if s.class == speculative && r.bodies != nil {
		n := min(s.size(), db.opts.ReadAheadSize)
		if err = r.bodies.Acquire(ctx, n); err != nil {
			r.store.limit.done(t)
			return
		}
		defer r.bodies.Release(n)
	}
	if err = r.store.limit.wait(ctx, t); err != nil {
		return
	}
	if s.stream != nil && s.stream.ended.Load() && s.class != foreground && !r.isAwaited(left) {
		r.store.limit.done(t)
		err = errNotWanted
		return
	}
	buf := r.buffer(int(s.size()))
	defer r.frames.Put(buf)
	body := (*buf)[:s.size()]
	// No second attempt: who needs a page makes it, for as long as it may take.
	err = r.store.guard(func() error {
		_, err := r.store.readOnce(s.file().reading(ctx), s.class, t, s.file().key(), body, s.offset(), func(got []byte) {
			n := 0
			for n < len(left) && left[n].end()-s.offset() <= int64(len(got)) {
				n++
			}
			if n > 0 && s.view.epoch == db.current.Load().epoch { // else it may be of another history
				r.land(decodeWants(left[:n], got, s.offset())...)
				left = left[n:]
			}
		})
		return err
	})
	if err == nil && len(left) == 0 && !s.wants[len(s.wants)-1].f.flood && s.view.epoch == db.current.Load().epoch {
		db.keepGaps(s, body)
	}
}

// decodeWants decodes pages from a body that begins at an offset of their file.
func decodeWants(wants []want, body []byte, offset int64) []landing {
	all := make([]landing, len(wants))
	for i, w := range wants {
		page, err := decodePage(w.loc, body[w.loc.offset-offset:w.end()-offset], w.key.pgno)
		all[i] = landing{w.key, w.f, page, err}
	}
	return all
}

// keepGaps puts pages into the cache that lay between those of a span, if
// they are still the newest.
func (db *database) keepGaps(s span, body []byte) {
	for i, w := range s.wants[1:] {
		before := s.wants[i]
		if before.end() == w.loc.offset || w.key.pgno-before.key.pgno > maxGapPages {
			continue
		}
		for pgno := before.key.pgno + 1; pgno < w.key.pgno; pgno++ {
			loc, ok := s.view.lookup(pgno)
			if !ok || loc.file != s.file() || loc.offset < before.end() || loc.offset+int64(loc.size) > w.loc.offset {
				continue
			}
			key := pageKey{loc.version, pgno, s.view.epoch}
			if _, known := db.reader.cache.Load().peek(key); known {
				continue
			}
			start := loc.offset - s.offset()
			if page, err := decodePage(loc, body[start:start+int64(loc.size)], pgno); err == nil {
				db.reader.admit(key, page, false)
			}
		}
	}
}

// setTicket notes by which ticket pages are going to be read. It reports
// whether somebody waits for one already.
func (r *reader) setTicket(wants []want, t *ticket) (awaited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range wants {
		w.f.ticket = t
		awaited = awaited || w.f.done != nil
	}
	return awaited
}

// isAwaited reports whether somebody waits for one of the pages.
func (r *reader) isAwaited(wants []want) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(wants, func(w want) bool { return w.f.done != nil })
}

// fail ends the flights of pages that could not be read.
func (r *reader) fail(wants []want, err error) {
	if err == nil {
		err = errReadAhead
	}
	all := make([]landing, len(wants))
	for i, w := range wants {
		all[i] = landing{key: w.key, f: w.f, err: err}
	}
	r.land(all...)
}
