package pages

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/remote"
)

// bodies holds stretches of files that were fetched because rows near them were
// looked up. A frame is decoded when a reader asks for its page, so a page that no
// reader asks for takes neither processor time nor room in the cache. It is safe
// for concurrent use.
type bodies struct {
	most   int64 // bytes that all bodies may take
	counts *Counters
	clock  atomic.Int64 // lookups so far, on all connections
	held   atomic.Int64 // bytes that all bodies take; changed under mu

	mu struct {
		sync.Mutex               // keeps the table and the list together
		of         map[Key]frame // by page
		all        []*body       // the oldest first
		users      int           // number of connections that have joined
	}
}

// frame is the place of a page in a body.
type frame struct {
	body *body
	i    int // index of the page in body.wants
}

// body is a stretch of a file, and the pages in it.
type body struct {
	wants    []want // without flights, in the order of their offsets
	buf      []byte // written by the request only
	patience int64  // after how many lookups without a use it may be dropped

	// Guarded by bodies.mu.
	ticket  *remote.Ticket
	arrived int           // bytes of buf that have come
	more    chan struct{} // closed when more bytes come or the request ends
	ended   bool          // the request has ended
	used    int64         // bodies.clock when a reader asked for one of the pages last
	asked   []bool        // for which of wants a reader has asked
	reads   int           // how many of asked are set
}

// frameOverhead is the memory that a frame takes beside its bytes.
const frameOverhead = 128

func newBodies(most int64, counts *Counters) *bodies {
	s := &bodies{most: most, counts: counts}
	s.mu.of = make(map[Key]frame)
	return s
}

// newBody returns a body of wants, which are of one file and in the order of their
// offsets.
func newBody(wants []want, patience int64) *body {
	b := &body{wants: wants, patience: patience, more: make(chan struct{}), asked: make([]bool, len(wants))}
	b.buf = make([]byte, wants[len(wants)-1].end()-b.offset())
	return b
}

// offset returns where the body begins in its file.
func (b *body) offset() int64 { return b.wants[0].loc.Offset }

func (b *body) cost() int64 { return int64(len(b.buf)) + int64(len(b.wants))*frameOverhead }

// isStale reports whether no reader has asked for a page of the body for so long that
// it may be dropped. The caller holds mu.
func (s *bodies) isStale(b *body) bool { return b.ended && s.clock.Load()-b.used > b.patience }

// join adds a connection that is going to add bodies.
func (s *bodies) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.users++
}

// leave ends what join has begun. The bodies are dropped with the last connection.
func (s *bodies) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.users--; s.mu.users == 0 {
		s.removeAll()
	}
}

// clear drops every body.
func (s *bodies) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeAll()
}

// room returns how many bytes more may be held, if stale bodies make room.
func (s *bodies) room() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.most - s.held.Load()
	for _, b := range s.mu.all {
		if s.isStale(b) {
			room += b.cost()
		}
	}
	return room
}

// add adds a body that is about to be requested. Where there is no room, it drops
// stale bodies, the oldest first. It reports false if there is no room even then.
func (s *bodies) add(b *body) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.mu.all) && s.held.Load()+b.cost() > s.most; {
		if old := s.mu.all[i]; s.isStale(old) {
			s.remove(old)
		} else {
			i++
		}
	}
	if s.held.Load()+b.cost() > s.most || s.mu.users == 0 {
		return false
	}
	b.used = s.clock.Load()
	for i, w := range b.wants {
		s.mu.of[w.key] = frame{b, i}
	}
	s.mu.all = append(s.mu.all, b)
	s.held.Add(b.cost())
	return true
}

// remove drops a body. The caller holds mu.
func (s *bodies) remove(b *body) {
	i := slices.Index(s.mu.all, b)
	if i < 0 {
		return
	}
	s.mu.all = slices.Delete(s.mu.all, i, i+1)
	for _, w := range b.wants {
		if s.mu.of[w.key].body == b {
			delete(s.mu.of, w.key)
		}
	}
	s.held.Add(-b.cost())
	if b.ended {
		s.counts.unused.Add(int64(len(b.wants) - b.reads))
	}
}

// removeAll drops every body. The caller holds mu.
func (s *bodies) removeAll() {
	for len(s.mu.all) > 0 {
		s.remove(s.mu.all[len(s.mu.all)-1])
	}
}

// setTicket notes the ticket of the request of a body.
func (s *bodies) setTicket(b *body, t *remote.Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.ticket = t
}

// arrive notes that the first n bytes of a body have come.
func (s *bodies) arrive(b *body, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.arrived = n
	close(b.more)
	b.more = make(chan struct{})
}

// holds reports whether a body was not dropped.
func (s *bodies) holds(b *body) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.mu.all, b)
}

// end notes that the request of a body has ended. A body is dropped if that failed.
func (s *bodies) end(b *body, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.ended = true
	close(b.more)
	b.more = make(chan struct{})
	switch held := slices.Contains(s.mu.all, b); {
	case held && err == nil:
		s.counts.prefetched.Add(int64(len(b.wants)))
	case held:
		b.reads = len(b.wants) // none has come in vain
		s.remove(b)
	}
}

// drop drops a body whose pages are elsewhere by now.
func (s *bodies) drop(b *body) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(b)
}

// has reports whether a page is here or on its way.
func (s *bodies) has(key Key) bool {
	if s.held.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.of[key].body != nil
}

// frame returns the frame of a page and where it lies, nil if it has not come. Asked
// tells whether a reader asks for it.
func (s *bodies) frame(key Key, asked bool) ([]byte, frame) {
	if s.held.Load() == 0 {
		return nil, frame{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.mu.of[key]
	b := f.body
	if b == nil || !f.hasCome() {
		return nil, frame{}
	}
	if asked {
		b.used = s.clock.Load()
		if !b.asked[f.i] {
			b.asked[f.i] = true
			b.reads++
		}
	}
	return f.bytes(), f
}

// hasCome reports whether all bytes of the frame have come. The caller holds mu.
func (f frame) hasCome() bool {
	return f.body.wants[f.i].end()-f.body.offset() <= int64(f.body.arrived)
}

func (f frame) bytes() []byte {
	w := f.body.wants[f.i]
	start := w.loc.Offset - f.body.offset()
	return f.body.buf[start : start+int64(w.loc.Size)]
}

// page is frame, decoded.
func (s *bodies) page(key Key, asked bool) []byte {
	b, f := s.frame(key, asked)
	if b == nil {
		return nil
	}
	page, err := decodePage(f.body.wants[f.i].loc, b, key.Pgno)
	if err != nil {
		s.drop(f.body) // a request for the page itself tells what is wrong
		return nil
	}
	return page
}

// await waits for a page that is on its way, as long as ctx allows, and reports whether
// it is here then. It calls promote with the ticket of the request. It returns at once
// if the page is not on its way.
func (s *bodies) await(ctx context.Context, key Key, promote func(*remote.Ticket)) (came bool, err error) {
	for promoted := false; s.held.Load() > 0; promoted = true {
		s.mu.Lock()
		f := s.mu.of[key]
		if came = f.body != nil && f.hasCome(); came || f.body == nil || f.body.ended {
			s.mu.Unlock()
			return came, nil
		}
		more, ticket := f.body.more, f.body.ticket
		s.mu.Unlock()
		if !promoted {
			promote(ticket)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}
