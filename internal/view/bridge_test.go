package view_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestBridge_Lacks bridges to files that cover the transactions after the tenth. They
// have to contain every page that these transactions can have changed or cut off.
func TestBridge_Lacks(t *testing.T) {
	lock := ltx.LockPgno(65536)
	const upTo, cur = 10, 12
	for name, c := range map[string]struct {
		sizes   [cur + 1]uint32 // of the database after transactions, from 10 on; 0: as before
		changed []uint32        // pages of transaction 11
		minTXID ltx.TXID        // of the file
		commit  uint32
		pgnos   []uint32 // in the file; nil: all, in a page index that is not read
		ok      bool
	}{
		"nothing was changed":             {[cur + 1]uint32{10: 100}, nil, 11, 100, []uint32{1}, true},
		"all that was changed":            {[cur + 1]uint32{10: 100}, []uint32{5, 7}, 11, 100, []uint32{5, 6, 7}, true},
		"a changed page is not there":     {[cur + 1]uint32{10: 100}, []uint32{5, 7}, 11, 100, []uint32{5, 6}, false},
		"it begins earlier":               {[cur + 1]uint32{10: 100}, []uint32{5}, 7, 100, []uint32{5}, true},
		"it begins one later":             {[cur + 1]uint32{10: 100}, nil, 12, 100, []uint32{1}, false},
		"a changed page is cut off":       {[cur + 1]uint32{10: 100}, []uint32{97}, 11, 90, []uint32{1}, true},
		"it grew":                         {[cur + 1]uint32{10: 100, 11: 103}, []uint32{101, 102, 103}, 11, 103, []uint32{101, 102, 103}, true},
		"it has grown by a page more":     {[cur + 1]uint32{10: 100, 11: 103}, []uint32{101, 102, 103}, 11, 104, []uint32{101, 102, 103, 104}, true},
		"a page that it grew by":          {[cur + 1]uint32{10: 100}, nil, 11, 103, []uint32{101, 103}, false},
		"cut off, and there again":        {[cur + 1]uint32{10: 100, 11: 95, 12: 98}, []uint32{}, 11, 98, []uint32{96, 97, 98}, true},
		"cut off, and only some again":    {[cur + 1]uint32{10: 100, 11: 95, 12: 98}, []uint32{}, 11, 98, []uint32{96, 98}, false},
		"cut off, and none again":         {[cur + 1]uint32{10: 100, 11: 95, 12: 98}, []uint32{}, 11, 98, []uint32{1}, false},
		"cut off, and smaller":            {[cur + 1]uint32{10: 100, 11: 95}, []uint32{}, 11, 94, []uint32{1}, true},
		"cut off, and as small":           {[cur + 1]uint32{10: 100, 11: 95}, []uint32{}, 11, 95, []uint32{1}, true},
		"a snapshot":                      {[cur + 1]uint32{10: 100, 11: 95, 12: 98}, []uint32{3}, 1, 101, nil, true},
		"around the lock page":            {[cur + 1]uint32{10: lock + 3, 11: lock - 2, 12: lock + 1}, []uint32{}, 11, lock + 1, []uint32{lock - 1, lock + 1}, true},
		"around the lock page, with less": {[cur + 1]uint32{10: lock + 3, 11: lock - 2, 12: lock + 1}, []uint32{}, 11, lock + 1, []uint32{lock + 1}, false},
		"a snapshot around the lock page": {[cur + 1]uint32{10: lock + 3, 11: lock - 2, 12: lock + 1}, []uint32{lock - 3}, 1, lock + 2, nil, true},
		"from the page before the lock":   {[cur + 1]uint32{10: lock + 3, 11: lock - 1}, []uint32{}, 11, lock + 1, []uint32{lock + 1}, true},
		"from the lock page on, less":     {[cur + 1]uint32{10: lock + 3, 11: lock - 1}, []uint32{}, 11, lock + 2, []uint32{lock + 2}, false},
	} {
		size := c.sizes[10]
		f, index := viewtest.File(t, 1, 10, 65536, size, viewtest.AllPages(65536, size))
		v := viewtest.Advance(t, new(view.View), f, index)
		for txid := ltx.TXID(11); txid <= cur; txid++ {
			if n := c.sizes[txid]; n != 0 {
				size = n
			}
			pgnos := []uint32{}
			if txid == 11 {
				pgnos = c.changed
			}
			f, index := viewtest.File(t, txid, txid, 65536, size, slices.Values(pgnos))
			v = viewtest.Advance(t, v, f, index)
		}
		const newest = 20
		var next *view.View
		if c.pgnos == nil {
			f, index = viewtest.EncodeDense(t, newest, 65536, c.commit).Unread(t, nil), ltxio.Index{}
		} else {
			f, index = viewtest.File(t, c.minTXID, newest, 65536, c.commit, slices.Values(c.pgnos))
		}
		next = viewtest.Advance(t, v, f, index)
		got, err := view.Bridge(v, next, f, index, upTo)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, view.ErrDisagrees) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		for txid := ltx.TXID(1); txid <= newest; txid++ {
			if want := txid > upTo && txid <= cur; got.IsDoubtful(txid) != want {
				t.Errorf("%s: transaction %d is doubtful: %v", name, txid, !want)
			}
		}
	}
}

// Old states have counters that no newer one gets.
func TestViews_NewOldState(t *testing.T) {
	var s view.Views
	s.OldCounter.Store(1 << 31)
	seen := make(map[uint32]bool)
	for range 10 {
		for _, v := range []*view.View{s.NewState(new(view.View)), s.NewOldState(new(view.View))} {
			n := v.State.Counter.Load()
			if seen[n] {
				t.Errorf("two states have counter %d", n)
			}
			seen[n] = true
		}
	}
}

// TestViews_Renew gives the view that new transactions read another state. Its pages
// stay, and other views are not touched.
func TestViews_Renew(t *testing.T) {
	var s view.Views
	cur := s.NewState(&view.View{TXID: 1})
	s.Current.Store(cur)
	s.RenewNewest()
	renewed := s.Current.Load()
	if renewed.TXID != 1 || renewed.State == cur.State || renewed.State.Counter.Load() == cur.State.Counter.Load() {
		t.Errorf("the current view is of transaction %s, its counter %d was %d", renewed.TXID, renewed.State.Counter.Load(), cur.State.Counter.Load())
	}
	local := s.NewState(&view.View{TXID: 2})
	s.Local.Store(local)
	s.RenewNewest()
	if got := s.Newest(); got.TXID != 2 || got.State == local.State || got.State.Counter.Load() == local.State.Counter.Load() {
		t.Errorf("the newest view is of transaction %s, its counter %d was %d", got.TXID, got.State.Counter.Load(), local.State.Counter.Load())
	}
	if s.Current.Load() != renewed {
		t.Error("the current view is replaced, which is not the newest")
	}
}

// TestViews_RenewPast gives a view of the past another state after pages that were
// read in its state turned out to be wrong, and only then.
func TestViews_RenewPast(t *testing.T) {
	var s view.Views
	s.Counter.Store(7)
	s.OldCounter.Store(1 << 31)
	cur, past, committed := s.NewState(&view.View{TXID: 2}), s.NewOldState(&view.View{TXID: 1}), &view.View{TXID: 3}
	s.CountCommit(cur, committed, 9, false)
	for n := range 3 {
		for _, v := range []*view.View{cur, past, committed} {
			before := v.State
			got := s.RenewPast(v)
			if got.TXID != v.TXID || v.State != before {
				t.Errorf("transaction %s became %s", v.TXID, got.TXID)
			}
			if n == 0 {
				if got != v {
					t.Errorf("transaction %s has another state, but nothing is wrong", v.TXID)
				}
				continue
			}
			if got.State == v.State || got.State.Counter.Load() == v.State.Counter.Load() {
				t.Errorf("transaction %s keeps its counter %d", v.TXID, v.State.Counter.Load())
			}
			if s.RenewPast(got) != got {
				t.Errorf("transaction %s has another state twice", v.TXID)
			}
		}
		s.Forgotten.Add(1)
	}
	if v := s.NewState(&view.View{TXID: 4}); s.RenewPast(v) != v {
		t.Error("a state that was made later is given up")
	}
}

// TestViews_CountCommit gives views after commits a counter. It is that of SQLite unless
// the connection has to read page 1 again, and no later view gets one of SQLite's.
func TestViews_CountCommit(t *testing.T) {
	for _, c := range []struct {
		name      string
		number    uint32 // that SQLite has written, beyond that of the view before
		readAgain bool
		kept      bool
	}{
		{"the next one", 1, false, true},
		{"the next one, read again", 1, true, false},
		{"a later one", 2, false, false},
		{"a later one, read again", 2, true, false},
		{"the same one", 0, false, false},
	} {
		var s view.Views
		s.Counter.Store(7)
		s.OldCounter.Store(1 << 31)
		before, after := s.NewState(new(view.View)), new(view.View)
		number := before.State.Counter.Load() + c.number
		s.CountCommit(before, after, number, c.readAgain)
		got := after.State.Counter.Load()
		if (got == number) != c.kept || got == before.State.Counter.Load() {
			t.Errorf("%s: the view has counter %d, SQLite wrote %d", c.name, got, number)
		}
		if later := s.NewState(new(view.View)).State.Counter.Load(); later == got || c.readAgain && later == number || later == before.State.Counter.Load() {
			t.Errorf("%s: a later view has counter %d, as one before", c.name, later)
		}
		if isOld := before.State.Counter.Load() >= 1<<30; isOld != (c.number == 0) {
			t.Errorf("%s: the view before has counter %d", c.name, before.State.Counter.Load())
		}
	}
}
