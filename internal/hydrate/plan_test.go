package hydrate

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestCopyPlan_PartSize has more or less of a file be local. Parts keep their
// size.
func TestCopyPlan_PartSize(t *testing.T) {
	const commit = 200_000
	file, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), file, index)
	set := func(from, to uint32) func(*view.Bitmap) {
		return func(b *view.Bitmap) {
			for pgno := from; pgno < to; pgno++ {
				b.Set(pgno)
			}
		}
	}
	none := func(*view.Bitmap) {}
	for name, local := range map[string]struct{ before, meanwhile func(*view.Bitmap) }{
		"nothing":          {none, none},
		"the begin":        {set(1, 4000), none},
		"the end":          {set(commit-4000, commit+1), none},
		"the middle":       {set(50_000, 54_000), none},
		"half":             {set(1, commit/2), none},
		"a scan was ahead": {none, set(300, 199_000)},
	} {
		present := view.NewBitmap(commit)
		local.before(present)
		plan := newCopyPlan(new(places), v, present, 8)
		local.meanwhile(present)
		missing := make(map[uint32]bool)
		for pgno := uint32(1); pgno <= commit; pgno++ {
			if !present.Has(pgno) {
				missing[pgno] = true
			}
		}
		for _, batch := range plan.batches() {
			for _, p := range batch {
				if p.size() > 2*partSize || p.size() <= 0 {
					t.Errorf("%s: a part of %d bytes", name, p.size())
				}
				for pgno := p.first; pgno != 0 && pgno <= p.last; pgno++ {
					delete(missing, pgno)
				}
			}
		}
		if len(missing) > 0 {
			t.Errorf("%s: %d pages are in no part", name, len(missing))
		}
	}
}
