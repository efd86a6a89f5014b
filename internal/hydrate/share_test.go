package hydrate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/memory"
)

// sharedPath returns the path of a local file that processes can share.
func sharedPath(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "local.db")
	if err := canShare(path); err != nil {
		t.Skip(err)
	}
	return path
}

// lends makes a local file without pages at a path, which other processes may borrow.
func (b *bed) lends(path string) *localPages {
	b.t.Helper()
	k, l := b.kept(path, nil)
	table, err := k.newTable(l, b.view().PageSize)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = table.Close() })
	if err := l.lendWith(table); err != nil {
		b.t.Fatal(err)
	}
	return l
}

// A temporary file has nothing for a view with pages of another size.
func TestSparePages_Read(t *testing.T) {
	var none *sparePages
	l, v1, v2 := somePages(t) // page 5 of version 1
	s := &sparePages{pages: l}
	p := make([]byte, 4096)
	if none.read(v1, 5, p) || none.isComplete(v1) {
		t.Error("there is no such file")
	}
	if !s.read(v1, 5, p) || s.read(v1, 5, p[:512]) || s.read(v1, 4, p) || s.read(v2, 5, p) || s.isComplete(v1) {
		t.Error("page 5 of the first view")
	}
	for pgno := uint32(1); pgno <= 10; pgno++ {
		putPage(t, l, 0, pgno, 1)
	}
	if !s.isComplete(v1) || s.isComplete(v2) {
		t.Error("all pages of the first view")
	}
}

// A borrower waits for pages that its owner has not copied yet. It looks after the owner
// twice a second, and says meanwhile that it is restoring.
func TestShare_Looks(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		l := b.lends(path)
		h := b.start(Options{Path: path})
		synctest.Wait()
		before := b.uses.Load()
		for range 4 {
			l.share.Load().Beat() // as the owner does
			time.Sleep(5 * lookEvery)
		}
		if p := h.Progress(); p.Status != Restoring || p.Error != "" {
			t.Errorf("%+v", p)
		}
		if n := b.uses.Load() - before; n < 19 || n > 21 {
			t.Errorf("in ten seconds, it has looked %d times", n)
		}
		time.Sleep(lookEvery / 5)
		before = b.uses.Load()
		h.Tier.Notify()
		synctest.Wait()
		if n := b.uses.Load() - before; n != 1 {
			t.Errorf("when there may be a new view, it has looked %d times", n)
		}
	})
}

// A process that finds no table waits for a while, because the owner may have just
// begun. Then it goes on alone, with a temporary file. When the file is free, it uses
// that, with the pages that it has, and asks storage for nothing.
func TestShare_GoesAlone(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		b.close() // with a record of all pages

		if err := os.Remove(path + pageshare.Suffix); err != nil {
			t.Fatal(err)
		}
		locked, _, err := pagefile.OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := b.another()
		h := n.start(Options{Path: path})
		time.Sleep(patienceForTable)
		if p := h.Progress(); p.Status != Restoring || n.reads() != 0 || p.Error != "" {
			t.Errorf("%d requests while it waits, %+v\n%s", n.reads(), p, n.log)
		}
		time.Sleep(2 * lookEvery)
		n.want(h, Complete, 100, 100)
		reads, lists := n.reads(), n.access.Store.Lists.Load()
		if p := h.Progress(); reads == 0 || p.File == path {
			t.Errorf("%+v", p)
		}
		if err := locked.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(firstLookAgain + reviewEvery)
		synctest.Wait()
		n.want(h, Complete, 100, 100)
		if p := h.Progress(); p.File != path || n.reads() != reads || n.access.Store.Lists.Load() != lists || h.sharing.spare != nil {
			t.Errorf("%d more requests and %d listings, %+v\n%s", n.reads()-reads, n.access.Store.Lists.Load()-lists, p, n.log)
		}
	})
}

// A process that waits for the table of an owner that ends before there is one becomes
// the owner.
func TestShare_Owns(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		locked, _, err := pagefile.OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := b.start(Options{Path: path})
		time.Sleep(time.Second)
		if p := h.Progress(); p.Status != Restoring || b.reads() != 0 {
			t.Errorf("%+v", p)
		}
		if err := locked.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lookEvery)
		b.want(h, Complete, 100, 100)
		if p := h.Progress(); p.File != path || p.Owner != 0 {
			t.Errorf("%+v", p)
		}
	})
}

// A process whose owner has another history goes on alone.
func TestShare_OtherHistory(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		other := emptyBed(t, memory.NewReplicaClient())
		other.apply(1, 90, bedPageSize)
		h := other.start(Options{Path: path})
		time.Sleep(patienceForHistory)
		if p := h.Progress(); p.Status != Restoring || other.reads() != 0 {
			t.Errorf("%+v", p)
		}
		time.Sleep(2 * time.Second)
		other.want(h, Complete, 90, 90)
		if p := h.Progress(); p.File == path {
			t.Errorf("%+v", p)
		}
	})
}

// A file whose owner has been given up is replaced by another process, with the pages
// that are in it. The owner finds that, does not write there any more, and borrows.
func TestShare_Superseded(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		owner := b.start(Options{Path: path})
		synctest.Wait()
		n := b.another()
		h := n.start(Options{Path: path})
		synctest.Wait()
		n.want(h, Complete, 100, 0)
		time.Sleep(beatEvery / 4)
		old := owner.file
		owner.local().share.Load().Abandon()
		time.Sleep(beatEvery / 2) // the other one looks before the owner beats
		synctest.Wait()
		n.want(h, Complete, 100, 100)
		if p := h.Progress(); p.File != path || p.Owner != 0 || n.reads() != 0 || old.IsThere() || !h.file.IsThere() {
			t.Errorf("%d requests, the old file is there: %v, %+v\n%s", n.reads(), old.IsThere(), p, n.log)
		}
		time.Sleep(2 * beatEvery)
		synctest.Wait()
		b.want(owner, Complete, 100, 0)
		if p := owner.Progress(); p.Owner == 0 || owner.local() != nil || !strings.Contains(b.log.String(), "another process has taken over") {
			t.Errorf("the owner of before: %+v\n%s", p, b.log)
		}
		if pgnos, _ := listed(t, path); len(pgnos) != 100 {
			t.Errorf("the record lists %d pages", len(pgnos))
		}
	})
}

// A process that puts another file in the place of one makes all leave the table of that.
// It does so for the file that it has seen only.
func TestSupersede(t *testing.T) {
	path := sharedPath(t)
	b := newBed(t)
	l := b.lends(path)
	h := b.new(Options{Path: path})
	lent, err := openLent(path, b.access.Views, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer lent.close()
	seen, ok := lent.table.Status()
	if !ok {
		t.Fatal("the table cannot be read")
	}
	other := seen
	if other.Beat--; h.supersede(lent, other) != nil || !lent.isThere() {
		t.Error("a file whose owner has run meanwhile is replaced")
	}
	k := h.supersede(lent, seen)
	if k == nil {
		t.Fatalf("the file is not replaced\n%s", b.log)
	}
	defer k.close()
	if s, ok := l.share.Load().Status(); !ok || s.State != pageshare.Abandoned {
		t.Errorf("the table of before is %s", s.State)
	}
	if lent.isThere() || !k.file.IsThere() {
		t.Error("the path does not name the new file")
	}
	if k := h.supersede(lent, seen); k != nil {
		t.Error("the new file is replaced, too")
		_ = k.close()
	}
}

// An owner is superseded if its table is given up, or its path names another file of a
// hydration. A path that names none was removed, which is another problem.
func TestIsSuperseded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(l *localPages, path string) error
		want   bool
	}{
		{"nothing", func(*localPages, string) error { return nil }, false},
		{"not shared", func(l *localPages, _ string) error { l.share.Store(nil); return nil }, false},
		{"given up", func(l *localPages, _ string) error { l.share.Load().Abandon(); return nil }, true},
		{"removed", func(_ *localPages, path string) error { return os.Remove(path) }, false},
		{"replaced", func(l *localPages, path string) error {
			f, err := pagefile.CreateMarked(path, l.file, func() error { return nil })
			if err != nil {
				return err
			}
			return errors.Join(f.Grow(bedPageSize), f.Close())
		}, true},
	} {
		path := sharedPath(t)
		b := newBed(t)
		l := b.lends(path)
		h := b.new(Options{Path: path})
		h.file = l.file
		if err := tt.change(l, path); err != nil {
			t.Fatal(err)
		}
		if got := h.isSuperseded(l); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A process that is alone borrows the file once another one shares it that has as many
// pages. It gives its own file up.
func TestShare_ComesBack(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		locked, _, err := pagefile.OpenMarked(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := b.another()
		h := n.start(Options{Path: path})
		time.Sleep(patienceForTable + time.Second)
		n.want(h, Complete, 100, 100)
		if err := locked.Close(); err != nil {
			t.Fatal(err)
		}
		owner := b.start(Options{Path: path})
		synctest.Wait()
		b.want(owner, Complete, 100, 100)
		time.Sleep(firstLookAgain + reviewEvery)
		synctest.Wait()
		n.want(h, Complete, 100, 0)
		if p := h.Progress(); p.Owner == 0 || h.sharing.spare != nil || h.local() != nil {
			t.Errorf("its own file is still there: %v, %+v\n%s", h.sharing.spare != nil, p, n.log)
		}
	})
}

// An owner that goes on without a table, and one whose table was cut off, leave the
// others alone after a while.
func TestShare_TableGone(t *testing.T) {
	for name, end := range map[string]func(l *localPages, path string) error{
		"withdrawn": func(l *localPages, _ string) error { l.share.Load().Withdraw(); return nil },
		"cut off":   func(_ *localPages, path string) error { return os.Truncate(path+pageshare.Suffix, 0) },
	} {
		path := sharedPath(t)
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			l := b.lends(path)
			h := b.start(Options{Path: path})
			synctest.Wait()
			if h.Tier.lent.Load() == nil {
				t.Fatal("it does not borrow")
			}
			if err := end(l, path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(patienceForTable + 2*time.Second)
			b.want(h, Complete, 100, 100)
			if p := h.Progress(); h.local() == nil || p.File == path {
				t.Errorf("%s: %+v", name, p)
			}
		})
	}
}

// An owner whose table was removed makes another one, and tries again if it cannot. A
// table that is there stays.
func TestShare_Again(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		h := b.start(Options{Path: path})
		synctest.Wait()
		table := path + pageshare.Suffix
		generation := func() uint64 {
			s, _ := h.local().share.Load().Status()
			return s.Generation
		}
		const again = "can share the hydration file again"
		first := generation()
		time.Sleep(3 * reviewEvery)
		if generation() != first || strings.Contains(b.log.String(), again) {
			t.Error("the table was made anew")
		}

		if err := os.Remove(table); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(table, 0o700); err != nil { // in the way of another one
			t.Fatal(err)
		}
		time.Sleep(3 * reviewEvery)
		if strings.Contains(b.log.String(), again) {
			t.Errorf("there is no table, and it says there is\n%s", b.log)
		}
		if err := os.Remove(table); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * reviewEvery)
		if n := strings.Count(b.log.String(), again); n != 1 {
			t.Errorf("it has said %d times that there is another table\n%s", n, b.log)
		}
		n := b.another()
		other := n.start(Options{Path: path})
		synctest.Wait()
		n.want(other, Complete, 100, 0)
	})
}

// A borrower that does not run while the owner makes another table goes on with the one
// of before, whose words the owner does not change any more. It believes none of them.
func TestShare_AgainNotBelieved(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		h := b.start(Options{Path: path})
		synctest.Wait()
		n := b.another()
		lent, err := openLent(path, n.access.Views, make(chan struct{}, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer lent.close()
		lent.compare(n.access, never)
		p := make([]byte, bedPageSize)
		if !lent.read(n.view(), 1, p) {
			t.Fatal("page 1 is not lent")
		}
		if err := os.Remove(path + pageshare.Suffix); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * reviewEvery)
		if !strings.Contains(b.log.String(), "can share the hydration file again") {
			t.Fatalf("there is no other table\n%s", b.log)
		}
		b.apply(2, 100, bedPageSize, 1)
		h.Tier.Notify()
		synctest.Wait()
		b.want(h, Complete, 100, 100)
		if lent.read(n.view(), 1, p) && !bytes.Equal(p, bedPage(1, 1, bedPageSize)) {
			t.Error("page 1 of transaction 2 is taken for that of transaction 1")
		}
	})
}

// A borrower knows from the owner that its view is the newest, as long as the owner
// polls and both have that view.
func TestShare_Polled(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		owner := b.start(Options{Path: path})
		synctest.Wait()
		n := b.another()
		h := n.start(Options{Path: path})
		synctest.Wait()
		v1 := n.view()
		newest := func() bool {
			at, ok := h.IsNewest(n.view(), time.Minute)
			return ok && time.Since(at) < time.Minute
		}
		if newest() {
			t.Error("before a poll")
		}
		owner.Polled(1, time.Now())
		if !newest() {
			t.Error("after a poll")
		}
		if _, ok := owner.IsNewest(v1, time.Minute); ok {
			t.Error("the owner itself asks")
		}
		if _, ok := h.IsNewest(v1, -1); ok {
			t.Error("a poll that is too old")
		}
		n.apply(2, 100, bedPageSize, 10)
		h.Tier.Notify()
		synctest.Wait()
		if newest() {
			t.Error("the owner has found another view")
		}
		other := *v1
		other.Epoch++
		n.access.Views.Current.Store(&other)
		if newest() {
			t.Error("it is the view of another history")
		}
		n.access.Views.Current.Store(v1)
		h.Tier.Notify()
		synctest.Wait()
		if !newest() {
			t.Error("with the view of before")
		}
		owner.local().share.Load().Abandon()
		if newest() {
			t.Error("the table is of no use any more")
		}
	})
}

// A recalled state is served from the file of an owner that has it, until Abort.
func TestShare_Recalled(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		r, err := Recall(path, "")
		if err != nil {
			t.Fatal(err)
		}
		n := b.another()
		n.access.Views.Current.Store(r.View)
		h := n.new(Options{Path: path})
		if err := h.OpenRecalled(r); err != nil {
			t.Fatal(err)
		}
		n.want(h, Idle, 100, 0)
		if err := h.Abort(); err != nil || h.Tier.Has(n.key(3)) || h.Tier.lent.Load() != nil {
			t.Errorf("it is still borrowed: %v", err)
		}
	})
}
