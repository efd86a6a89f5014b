package pages

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// bodyOf returns a body of n pages from pgno on, with frames of 100 bytes.
func bodyOf(pgno uint32, n int, patience int64) *body {
	file := &view.File{PageSize: bedPageSize}
	var wants []want
	for i := range n {
		loc := view.Loc{Source: view.Source{File: file, Version: 1}, Offset: int64(1000 + 100*i), Size: 100}
		wants = append(wants, want{key: Key{Version: 1, Pgno: pgno + uint32(i)}, loc: loc})
	}
	return newBody(wants, patience)
}

// bodySize is what a body of 10 pages takes.
const bodySize = 10 * (100 + frameOverhead)

// The memory that bodies take includes what they take beside the bytes of frames.
func TestBodies_Bound(t *testing.T) {
	s := newBodies(3*bodySize-1, new(Counters))
	if s.add(bodyOf(1, 10, 0)) {
		t.Error("a body is held for no connection")
	}
	s.join()
	for i, want := range []bool{true, true, false} {
		if got := s.add(bodyOf(uint32(1+100*i), 10, 0)); got != want {
			t.Errorf("body %d is held: %v, want %v", i, got, want)
		}
	}
	if n := s.held.Load(); n != 2*bodySize {
		t.Errorf("%d bytes are held, want %d", n, 2*bodySize)
	}
	s.leave()
	if n := s.held.Load(); n != 0 || s.has(Key{Version: 1, Pgno: 5}) {
		t.Errorf("%d bytes are held after the last connection", n)
	}
}

// A body makes room for another one if it is needed, once no page of it was asked for
// in as many lookups as its patience, and once its request has ended.
func TestBodies_Stale(t *testing.T) {
	for _, tc := range []struct {
		name    string
		most    int64
		lookups int64 // after the last use
		ended   bool
		drops   bool
	}{
		{"used lately", 2 * bodySize, 50, true, false},
		{"not used for long", 2 * bodySize, 51, true, true},
		{"under way", 2 * bodySize, 51, false, false},
		{"not in the way", 3 * bodySize, 51, true, false},
	} {
		s := newBodies(tc.most, new(Counters))
		s.join()
		s.clock.Store(1000)
		old, kept := bodyOf(1, 10, 50), bodyOf(101, 10, 1<<40)
		if !s.add(old) || !s.add(kept) {
			t.Fatalf("%s: there is no room", tc.name)
		}
		room := tc.most - 2*bodySize
		for _, b := range []*body{old, kept} {
			s.arrive(b, len(b.buf))
			if tc.ended {
				s.end(b, nil)
			}
		}
		s.clock.Add(70)
		if b, _ := s.frame(old.wants[3].key, true); b == nil {
			t.Errorf("%s: the page is not here", tc.name)
		}
		s.clock.Add(tc.lookups)
		if tc.ended && tc.lookups > 50 {
			room += bodySize
		}
		if got := s.room(); got != room {
			t.Errorf("%s: there is room for %d bytes, want %d", tc.name, got, room)
		}
		next := bodyOf(201, 10, 0)
		if got := s.add(next); got != (tc.drops || tc.most > 2*bodySize) {
			t.Errorf("%s: the next body is held: %v", tc.name, got)
		}
		if s.holds(old) == tc.drops || !s.holds(kept) {
			t.Errorf("%s: the old body is held: %v, that with patience: %v", tc.name, s.holds(old), s.holds(kept))
		}
		if s.has(old.wants[3].key) == tc.drops {
			t.Errorf("%s: a page of the old body is here: %v", tc.name, !tc.drops)
		}
	}
}

// Pages count as prefetched when all of their body has come, and as unused when it is
// dropped and no reader has asked for them.
func TestBodies_Counts(t *testing.T) {
	for _, tc := range []struct {
		name               string
		err                error
		prefetched, unused int64
	}{
		{"comes", nil, 10, 8},
		{"fails", errors.New("no answer"), 0, 0},
	} {
		s := newBodies(bodySize, new(Counters))
		s.join()
		b := bodyOf(1, 10, 0)
		s.add(b)
		s.arrive(b, 500)
		for _, i := range []int{2, 4, 4} {
			s.frame(b.wants[i].key, true)
		}
		s.frame(b.wants[0].key, false) // a look, and no use
		s.end(b, tc.err)
		s.clear()
		if c := s.counts.Counts(); c.Prefetched != tc.prefetched || c.Unused != tc.unused {
			t.Errorf("%s: %d pages prefetched, %d of them unused, want %d and %d", tc.name, c.Prefetched, c.Unused, tc.prefetched, tc.unused)
		}
	}
}

// A reader that waits for a page of a body promotes its request once, and goes on when
// the page has come or the request has ended without it.
func TestBodies_Await(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, comes := range []bool{true, false} {
			s := newBodies(bodySize, new(Counters))
			s.join()
			b, ticket := bodyOf(1, 10, 0), new(remote.Ticket)
			s.add(b)
			s.setTicket(b, ticket)
			var promoted []*remote.Ticket
			got := make(chan bool)
			go func() {
				came, err := s.await(t.Context(), b.wants[4].key, func(t *remote.Ticket) { promoted = append(promoted, t) })
				if err != nil {
					t.Error(err)
				}
				got <- came
			}()
			for _, n := range []int{100, 300, 499} {
				time.Sleep(time.Second)
				s.arrive(b, n)
			}
			synctest.Wait()
			select {
			case <-got:
				t.Error("the reader does not wait")
			default:
			}
			if comes {
				s.arrive(b, 500)
			} else {
				s.end(b, errors.New("no answer"))
			}
			if came := <-got; came != comes {
				t.Errorf("the page has come: %v, want %v", came, comes)
			}
			if len(promoted) != 1 || promoted[0] != ticket {
				t.Errorf("%d requests are promoted, want that of the body", len(promoted))
			}
			s.clear()
			if came, err := s.await(t.Context(), b.wants[4].key, nil); came || err != nil {
				t.Errorf("a page that is not on its way: %v, %v", came, err)
			}
		}
	})
}

// A scan on another connection has a quarter of what may be prefetched.
func TestBodies_LeaveRoomForScans(t *testing.T) {
	s := NewSource(&remote.Store{}, nil, Options{PrefetchSize: 4000}, bedPageSize)
	if n := s.bodies.room(); n != 3000 {
		t.Errorf("bodies may take %d bytes of 4000, want 3000", n)
	}
}
