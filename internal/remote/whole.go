package remote

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// maxWhole is the default of Store.MaxWhole. That is some 800,000 pages.
	maxWhole = 8 << 20

	// wholeTrips is in how many round trips such an index has to arrive, if all of its
	// parts come as fast as one stream.
	wholeTrips = 4

	// wholePart is the size of the requests for it.
	wholePart = 512 << 10

	// wholePatience is how long pages wait for their places, from the beginning of the
	// read, before they read parts of the index by themselves: one of the requests may
	// be stuck. After wholeLimit the read is given up.
	wholePatience = time.Second
	wholeLimit    = 10 * time.Second
)

// wholeFlights are the reads of all of a page index that queries wait for. It is
// safe for concurrent use; the zero value is ready.
type wholeFlights struct {
	mu struct {
		sync.Mutex
		all map[*view.Dense]wholeFlight // that are under way
	}
}

// wholeFlight is a read of all of a page index.
type wholeFlight struct {
	begun  time.Time
	landed chan struct{} // closed when the next part is here; nil: no read is under way
}

// of returns the read of an index, the zero wholeFlight if there is none.
func (t *wholeFlights) of(d *view.Dense) wholeFlight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.all[d]
}

// begin notes that an index is read as a whole. It returns false if it is already.
func (t *wholeFlights) begin(d *view.Dense) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.mu.all[d]; ok {
		return false
	}
	if t.mu.all == nil {
		t.mu.all = make(map[*view.Dense]wholeFlight)
	}
	t.mu.all[d] = wholeFlight{time.Now(), make(chan struct{})}
	return true
}

// land wakes those that wait for a part of an index.
func (t *wholeFlights) land(d *view.Dense, isLast bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.mu.all[d]
	close(f.landed)
	if delete(t.mu.all, d); !isLast {
		t.mu.all[d] = wholeFlight{f.begun, make(chan struct{})}
	}
}

// BeginIndex begins to read all of the page index of a file of which a page is read,
// if the index is small. The pages that are read next most likely need it. It reports
// whether all of the index is here or on its way.
func (s *Store) BeginIndex(f *view.File) bool {
	d := f.Dense
	switch {
	case d == nil || d.IsComplete():
		return true
	case d.IsOdd() || !s.isSmall(d):
		return false
	case !s.whole.begin(d):
		return true
	case !s.Tasks.Go(func() { s.readWhole(f) }):
		s.whole.land(d, true)
		return false
	}
	return true
}

// IsIndexComing reports whether all of the page index of a file is on its way.
func (s *Store) IsIndexComing(f *view.File) bool {
	return f.Dense != nil && s.whole.of(f.Dense).landed != nil
}

// awaitWhole waits for the place of a page if all of the page index is being read. If
// it returns without an error, the place may be unread all the same. Then a part of
// the index has to be read for it.
func (s *Store) awaitWhole(ctx context.Context, pgno uint32, f *view.File) error {
	d := f.Dense
	flight := s.whole.of(d)
	if flight.landed == nil {
		return nil
	}
	patience := time.NewTimer(wholePatience - time.Since(flight.begun))
	defer patience.Stop()
	for ; flight.landed != nil; flight = s.whole.of(d) {
		if _, size := d.Find(pgno); size > 0 {
			return nil
		}
		select {
		case <-flight.landed:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// isSmall reports whether it costs queries little to read all of an index.
func (s *Store) isSmall(d *view.Dense) bool {
	size := d.End - d.Start
	return s.Tasks != nil && !s.NeverWhole && !d.IsBounded() && size <= cmp.Or(s.MaxWhole, maxWhole) && size <= wholeTrips*s.Speed.Free()
}

// readWhole reads all of a page index that queries need.
func (s *Store) readWhole(f *view.File) {
	d := f.Dense
	defer s.whole.land(d, true)
	ctx, cancel := s.Tasks.WithTimeout(wholeLimit)
	defer cancel()
	err := s.completeIndex(ctx, f, wholePart, func(ctx context.Context, f *view.File, buf []byte, offset int64) error {
		return s.Load(f.Reading(ctx), f.Key(), buf, offset)
	}, func() { s.whole.land(d, false) })
	if err != nil {
		d.MarkOdd() // what is intact can be read in parts
		s.Log.Debug("the page index of a file cannot be read as a whole", "file", f, "error", err)
	}
}
