package hydrate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// never does not ask storage.
func never(uint64) bool { return false }

// lend returns the local pages of an owner of a file at a path, and the same file
// as a borrower sees it, who is at a view.
func lend(t *testing.T, path string, pageSize uint32, v *view.View) (owner *localPages, borrower *lentPages, r *Access) {
	t.Helper()
	f, _, err := pagefile.OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	owner = newLocalPages(f, pageSize, nil)
	share, err := pageshare.Create(path+pageshare.Suffix, tableID(f), pageSize, nil)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no sharing here")
	}
	if err != nil {
		t.Fatal(err)
	}
	owner.share.Store(share)
	t.Cleanup(func() { share.Close() })
	hold(t, owner, v)
	r = &Access{Views: new(view.Views)}
	r.Views.Current.Store(v)
	borrower, err = openLent(path, r.Views, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { borrower.close() })
	if _, ok := borrower.compare(r, never); !ok {
		t.Fatal("the table cannot be read")
	}
	return owner, borrower, r
}

// changing returns a view of an amount of pages, with the pages that a
// transaction changes in another version.
func changing(t *testing.T, v *view.View, first, txid ltx.TXID, commit uint32, changed ...uint32) *view.View {
	t.Helper()
	file, index := viewtest.File(t, first, txid, 4096, commit, func(yield func(uint32) bool) {
		for _, pgno := range changed {
			if !yield(pgno) {
				return
			}
		}
	})
	file.Checksum = ltx.Checksum(uint64(txid)<<32 | uint64(first))
	return viewtest.Advance(t, v, file, index)
}

// newView returns the first view of ten pages, of another history for each salt.
func newView(t *testing.T, txid ltx.TXID, salt uint64) *view.View {
	t.Helper()
	file, index := viewtest.File(t, 1, txid, 4096, 10, viewtest.AllPages(4096, 10))
	file.Checksum = ltx.Checksum(salt)
	return viewtest.Advance(t, new(view.View), file, index)
}

// A page is lent to views in which it has the same content, whatever files they
// are built from, and to no others.
func TestLent_Versions(t *testing.T) {
	v1 := newView(t, 5, 77)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	putPage(t, owner, 0, 3, 5)
	putPage(t, owner, 0, 4, 5)
	has := func(v *view.View, pgno uint32) bool {
		p := make([]byte, 4096)
		return borrower.read(v, pgno, p)
	}
	key := func(pgno uint32, version ltx.TXID) bool {
		k := pages.Key{Pgno: pgno, Version: version}
		if has := borrower.readKey(k) != nil; has != borrower.hasKey(k) {
			t.Errorf("page %d of %d is there: %v, and not", pgno, version, has)
		}
		return borrower.hasKey(k)
	}
	if !has(v1, 3) || has(v1, 5) || !key(3, 5) || key(3, 4) || key(3, 6) {
		t.Error("the view of the owner")
	}

	// The owner goes on first. The page that has changed is gone for all.
	v2 := changing(t, v1, 6, 6, 10, 3)
	hold(t, owner, v2)
	if has(v1, 3) || !has(v1, 4) {
		t.Error("the view before that of the owner")
	}
	putPage(t, owner, 0, 3, 6)
	if has(v1, 3) || has(v2, 3) {
		t.Error("a page of a history that was not compared")
	}
	r.Views.Current.Store(v2)
	borrower.compare(r, never)
	if !has(v2, 3) || has(v1, 3) || !has(v1, 4) || !has(v2, 4) || !key(3, 6) || key(3, 5) {
		t.Error("after the comparison")
	}

	// The borrower goes on first.
	v3 := changing(t, v2, 7, 7, 10, 4)
	r.Views.Current.Store(v3)
	borrower.compare(r, never)
	if has(v3, 4) || !has(v3, 3) || !has(v2, 4) {
		t.Error("the view after that of the owner")
	}

	// The owner opens with a compacted file, so its versions are others.
	compacted := changing(t, changing(t, v1, 6, 7, 10, 3, 4), 8, 8, 10, 9)
	owner.drop()
	hold(t, owner, compacted)
	putPage(t, owner, 0, 3, 7)
	putPage(t, owner, 0, 5, 5)
	if has(v3, 3) || has(v3, 5) {
		t.Error("pages of another generation")
	}
	borrower.compare(r, never)
	if has(v3, 3) || !has(v3, 5) {
		t.Error("only transaction 5 is known to be the same")
	}
	v4 := changing(t, v3, 8, 8, 10, 9)
	r.Views.Current.Store(v4)
	borrower.compare(r, never)
	if !has(v4, 3) || has(v2, 3) || !key(3, 6) || key(3, 5) {
		t.Error("page 3 has been the same since transaction 6, and the owner says so of 7")
	}
	if has(v3, 9) || has(v4, 9) {
		t.Error("a page that is not there")
	}
}

// Views of another history get no page, whichever side knows of it.
func TestLent_Histories(t *testing.T) {
	v1 := newView(t, 5, 77)
	other := newView(t, 5, 78)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	putPage(t, owner, 0, 3, 5)
	p := make([]byte, 4096)
	if !borrower.read(v1, 3, p) {
		t.Fatal("it is not there")
	}
	other.Epoch = 1
	r.Views.Current.Store(other)
	if borrower.read(other, 3, p) || borrower.hasKey(pages.Key{Epoch: 1, Pgno: 3, Version: 5}) {
		t.Error("the borrower has another history, and gets a page")
	}
	borrower.compare(r, never)
	if borrower.read(other, 3, p) || borrower.read(v1, 3, p) {
		t.Error("the histories have nothing in common")
	}
	hold(t, owner, other)
	putPage(t, owner, 1, 3, 5)
	if borrower.read(other, 3, p) {
		t.Error("a page of a generation that was not compared")
	}
	borrower.compare(r, never)
	if !borrower.read(other, 3, p) || borrower.read(v1, 3, p) {
		t.Error("both have the other history")
	}
}

// The owner is the first to know of another history. The borrower has been told
// what both had in common, which is not true any more.
func TestLent_HistoryOfOwner(t *testing.T) {
	v1 := newView(t, 5, 77)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	other := newView(t, 5, 78)
	other.Epoch = 1
	hold(t, owner, other)
	putPage(t, owner, 1, 3, 5)
	borrower.compare(r, never)
	if borrower.read(v1, 3, make([]byte, 4096)) {
		t.Error("a page of another history")
	}
}

// A file that was cut off and has grown again has no pages.
func TestLent_CutOffAndGrown(t *testing.T) {
	for name, cut := range map[string]int64{"all": 0, "a page": 3 * 4096, "a part of a page": 2*4096 + 100, "the mark": 10 * 4096} {
		path := filepath.Join(t.TempDir(), "pages")
		v := newView(t, 5, 77)
		owner, borrower, _ := lend(t, path, 4096, v)
		for pgno := uint32(1); pgno <= 10; pgno++ {
			putPage(t, owner, 0, pgno, 5)
		}
		p := make([]byte, 4096)
		if !borrower.read(v, 3, p) {
			t.Fatal("it is not there")
		}
		for _, grow := range []bool{false, true} {
			if err := os.Truncate(path, cut); err != nil {
				t.Fatal(err)
			}
			if grow {
				if err := os.Truncate(path, 10*4096+int64(pagefile.MarkSize)); err != nil {
					t.Fatal(err)
				}
			}
			for pgno := uint32(1); pgno <= 10; pgno++ {
				if borrower.read(v, pgno, p) {
					t.Errorf("%s is cut off, grown %v: the borrower reads page %d", name, grow, pgno)
				}
				if owner.read(v, pgno, p) == nil {
					t.Errorf("%s is cut off, grown %v: the owner reads page %d", name, grow, pgno)
				}
			}
		}
	}
}

// TestLent_Concurrent reads by many views as a borrower, while the owner
// overwrites pages, drops them and makes others of the same versions.
func TestLent_Concurrent(t *testing.T) {
	const commit = 300
	rounds := testscale.Repeats(200)
	page := func(pgno uint32, version ltx.TXID, epoch uint32) []byte {
		p := make([]byte, 4096)
		for i := 0; i < len(p); i += 8 {
			binary.BigEndian.PutUint64(p[i:], uint64(pgno)<<48|uint64(epoch)<<32|uint64(version))
		}
		return p
	}
	first := func(epoch uint32) *view.View {
		file, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
		file.Checksum = ltx.Checksum(1000 + epoch)
		v := viewtest.Advance(t, new(view.View), file, index)
		v.Epoch = epoch
		return v
	}
	v := first(0)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v)
	var views atomic.Pointer[[]*view.View]
	views.Store(&[]*view.View{v})
	var stop atomic.Bool
	var found atomic.Int64
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			p := make([]byte, 4096)
			for !stop.Load() {
				all := *views.Load()
				v, pgno := all[len(all)-1-rng.IntN(min(3, len(all)))], 1+rng.Uint32N(commit)
				if !borrower.read(v, pgno, p) {
					continue
				}
				found.Add(1)
				if loc, _ := v.Lookup(pgno); !bytes.Equal(p, page(pgno, loc.Version, v.Epoch)) {
					t.Errorf("page %d of view %s is wrong", pgno, v.TXID)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			borrower.compare(r, never)
		}
	})
	rng := rand.New(rand.NewPCG(1, 1))
	all := []*view.View{v}
	for i := range rounds {
		switch {
		case i%40 == 39: // another history, with transactions of the same numbers
			v = first(v.Epoch + 1)
		case i%15 == 14:
			owner.drop()
		default:
			var changed []uint32
			for pgno := uint32(1); pgno <= commit; pgno++ {
				if rng.IntN(10) == 0 {
					changed = append(changed, pgno)
				}
			}
			v = changing(t, v, v.TXID+1, v.TXID+1, commit, changed...)
		}
		if rng.IntN(2) == 0 { // the borrower is the first to know
			r.Views.Current.Store(v)
		}
		hold(t, owner, v)
		all = append(all, v)
		known := slices.Clone(all)
		views.Store(&known)
		r.Views.Current.Store(v)
		for pgno := uint32(1); pgno <= commit; pgno++ {
			loc, _ := v.Lookup(pgno)
			if _, err := owner.write(v.Epoch, pgno, []ltx.TXID{loc.Version}, page(pgno, loc.Version, v.Epoch)); err != nil {
				t.Error(err)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	if found.Load() == 0 {
		t.Error("nothing was found")
	}
	t.Logf("%d pages", found.Load())
}

func BenchmarkLent(b *testing.B) {
	t := new(testing.T)
	v := newView(t, 5, 77)
	path := filepath.Join(b.TempDir(), "pages")
	owner, borrower, _ := lend(t, path, 4096, v)
	putPage(t, owner, 0, 3, 5)
	p := make([]byte, 4096)
	b.Run("owner", func(b *testing.B) {
		for b.Loop() {
			if owner.read(v, 3, p) != nil {
				b.Fatal("not there")
			}
		}
	})
	b.Run("borrower", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !borrower.read(v, 3, p) {
				b.Fatal("not there")
			}
		}
	})
}

// A borrower whose newest view has bridged transactions that the replica may hold
// otherwise still has readers of the view before. They get no page of these
// transactions from an owner that has read them from the replica.
func TestLent_Doubtful(t *testing.T) {
	v8 := newView(t, 8, 77)
	lost := changing(t, changing(t, v8, 9, 9, 10, 3), 10, 10, 10, 4)
	file, index := viewtest.File(t, 9, 12, 4096, 10, func(yield func(uint32) bool) { _ = yield(3) && yield(4) })
	next, err := view.Bridge(lost, viewtest.Advance(t, lost, file, index), file, index, 8)
	if err != nil {
		t.Fatal(err)
	}
	next = changing(t, next, 13, 13, 10, 6)
	real := changing(t, changing(t, changing(t, v8, 9, 9, 10, 3), 10, 12, 10, 4), 13, 13, 10, 6)

	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, real)
	putPage(t, owner, 0, 3, 9)
	putPage(t, owner, 0, 5, 8)
	r.Views.Current.Store(next)
	borrower.compare(r, never)
	if h := borrower.common.Load(); h == nil || h.upTo != 13 {
		t.Fatalf("%+v", h)
	}
	p := make([]byte, 4096)
	if borrower.read(lost, 3, p) || borrower.hasKey(pages.Key{Pgno: 3, Version: 9}) {
		t.Error("page 3 of another transaction 9")
	}
	if !borrower.read(next, 3, p) || !borrower.read(next, 5, p) || !borrower.read(lost, 5, p) || !borrower.hasKey(pages.Key{Pgno: 3, Version: 12}) {
		t.Error("pages that are the same in both histories")
	}
}

// A file that was complete is not complete any more in the moment in which the
// owner or the borrower has another view.
func TestLent_Complete(t *testing.T) {
	v1 := newView(t, 5, 77)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	complete := func(v *view.View) {
		t.Helper()
		for pgno := uint32(1); pgno <= 10; pgno++ {
			loc, _ := v.Lookup(pgno)
			putPage(t, owner, 0, pgno, loc.Version)
		}
		owner.settleAll()
		owner.note()
		borrower.compare(r, never)
		if !borrower.isComplete() {
			t.Fatal("it is not complete")
		}
	}
	complete(v1)
	v2 := changing(t, v1, 6, 6, 10, 3)
	r.Views.Current.Store(v2)
	if borrower.isComplete() {
		t.Error("the borrower has another view")
	}
	hold(t, owner, v2)
	borrower.compare(r, never)
	if borrower.isComplete() {
		t.Error("the owner has another view")
	}
	complete(v2)
	other := newView(t, 6, 78)
	other.Epoch = 1
	r.Views.Current.Store(other)
	if borrower.isComplete() {
		t.Error("the borrower has another history")
	}
}

// A borrower looks once for each transaction of an owner that it does not find. The
// owner may copy another replica with the same beginning.
func TestLent_News(t *testing.T) {
	v1 := newView(t, 5, 77)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v1)
	news := 0
	r.News = func() { news++ }
	h := &Hydrator{Access: r}
	v := v1
	for i := range 3 {
		h.tellNews(borrower)
		if news != i {
			t.Errorf("told of %d transactions, not %d", news, i)
		}
		v = changing(t, v, v.TXID+1, v.TXID+1, 10, 3)
		hold(t, owner, v)
		for range 3 {
			h.tellNews(borrower)
		}
	}
	if news != 3 {
		t.Errorf("told %d times of 3 transactions", news)
	}
}

// A database that is closed does not wait until all pages of a file that was
// replaced are copied.
func TestSalvage_Closed(t *testing.T) {
	v := newView(t, 5, 77)
	owner, borrower, _ := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v)
	for pgno := uint32(1); pgno <= 10; pgno++ {
		putPage(t, owner, 0, pgno, 5)
	}
	f, err := pagefile.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := newLocalPages(f, 4096, nil)
	hold(t, next, v)
	s := sharing{lent: borrower}
	if err := s.salvage(next, v, func() bool { return next.count.Load() == 4 }); err != nil || next.count.Load() != 4 {
		t.Errorf("%d pages were copied: %v", next.count.Load(), err)
	}
	if err := s.salvage(next, v, func() bool { return false }); err != nil || next.count.Load() != 10 {
		t.Errorf("%d pages were copied: %v", next.count.Load(), err)
	}
}

// A read that finds the table of another generation asks for a comparison. One that
// only does not find its page does not.
func TestLent_AsksForComparison(t *testing.T) {
	v := newView(t, 5, 77)
	owner, borrower, _ := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v)
	asked := func() bool {
		select {
		case <-borrower.recheck:
			return true
		default:
			return false
		}
	}
	p := make([]byte, 4096)
	if borrower.read(v, 3, p) || asked() {
		t.Error("for a page that is not there yet")
	}
	owner.drop()
	hold(t, owner, v)
	putPage(t, owner, 0, 3, 5)
	if borrower.read(v, 3, p) || !asked() {
		t.Error("not after the owner has begun anew")
	}
}

// The first transaction is enough to share a history.
func TestLent_FirstTransaction(t *testing.T) {
	v := newView(t, 1, 77)
	owner, borrower, _ := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v)
	putPage(t, owner, 0, 3, 1)
	if !borrower.read(v, 3, make([]byte, 4096)) {
		t.Error("it is not there")
	}
}

// A view of the same transaction, made of other files, is not compared again: storage
// would be asked for what is known.
func TestLent_SameTransaction(t *testing.T) {
	v1 := newView(t, 5, 77)
	v2 := changing(t, v1, 6, 6, 10, 3)
	owner, borrower, r := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v2)
	putPage(t, owner, 0, 4, 5)
	compacted := changing(t, new(view.View), 1, 6, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	r.Views.Current.Store(compacted)
	if _, ok := borrower.compare(r, func(uint64) bool { t.Error("storage is asked"); return false }); !ok {
		t.Error("the table cannot be read")
	}
	if h := borrower.common.Load(); h == nil || h.upTo != 6 {
		t.Errorf("what is shared is %+v", h)
	}
}

// A table that was cut off shares nothing.
func TestLent_TableCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pages")
	v := newView(t, 5, 77)
	owner, borrower, r := lend(t, path, 4096, v)
	putPage(t, owner, 0, 3, 5)
	if err := os.Truncate(path+pageshare.Suffix, 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := borrower.compare(r, never); ok || borrower.common.Load() != nil {
		t.Error("it is compared")
	}
	if borrower.read(v, 3, make([]byte, 4096)) || borrower.isComplete() {
		t.Error("a page is there")
	}
}

// A file that was replaced, or whose table was, is not there any more.
func TestLent_IsThere(t *testing.T) {
	for _, suffix := range []string{"", pageshare.Suffix} {
		path := filepath.Join(t.TempDir(), "pages")
		_, borrower, _ := lend(t, path, 4096, newView(t, 5, 77))
		if !borrower.isThere() {
			t.Error("it is not there")
		}
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
		if borrower.isThere() {
			t.Errorf("%s was removed", path+suffix)
		}
	}
}
