package view_test

import (
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestWithLocal adds commits of this process to a state: one that changes pages, one that
// cuts the database off and lets it grow again, and one on top of that.
func TestWithLocal(t *testing.T) {
	f, index := viewtest.File(t, 1, 5, 4096, 10, viewtest.AllPages(4096, 10))
	v := viewtest.Advance(t, new(view.View), f, index)
	segment := &view.File{PageSize: 4096}
	local := func(v *view.View, least, commit uint32, version ltx.TXID, pgnos ...uint32) *view.View {
		return v.WithLocal(segment, least, commit, int64(version), func(yield func(view.LocalPage) bool) {
			for i, pgno := range pgnos {
				if !yield(view.LocalPage{Pgno: pgno, Offset: int64(i) * 5000, Version: version}) {
					return
				}
			}
		})
	}
	check := func(what string, v *view.View, base *view.View, commit uint32, versions map[uint32]ltx.TXID) {
		t.Helper()
		if v.Base != base || v.Commit != commit || v.Pages.Len() != int64(len(versions)) {
			t.Errorf("%s: %d pages of %d, on the state before: %v", what, v.Pages.Len(), v.Commit, v.Base == base)
		}
		for pgno := uint32(1); pgno <= 20; pgno++ {
			loc, ok := v.Lookup(pgno)
			want, known := versions[pgno]
			if ok != known || ok && (loc.Version != want || (loc.File == segment) != (want > 5)) {
				t.Errorf("%s: page %d is of version %d, %v, want %d", what, pgno, loc.Version, ok, want)
			}
		}
	}
	versions := make(map[uint32]ltx.TXID)
	for pgno := uint32(1); pgno <= 10; pgno++ {
		versions[pgno] = 5
	}
	check("the replica", v, nil, 10, versions)

	first := local(v, 10, 11, 6, 1, 7, 11)
	versions[1], versions[7], versions[11] = 6, 6, 6
	check("changed pages", first, v, 11, versions)

	second := local(first, 4, 12, 7, 1, 12)
	check("the one before stays", first, v, 11, versions)
	for pgno := uint32(5); pgno <= 11; pgno++ {
		delete(versions, pgno)
	}
	versions[1], versions[12] = 7, 7
	check("cut off and grown", second, v, 12, versions)

	third := local(second, 12, 12, 8, 2)
	versions[2] = 8
	check("a third one", third, v, 12, versions)
}

// TestView_CookieShift gives each epoch another schema cookie, except where the state is
// that of this process.
func TestView_CookieShift(t *testing.T) {
	seen := make(map[uint32]bool)
	for epoch := range uint32(100) {
		v := &view.View{Epoch: epoch}
		shift := v.CookieShift()
		if seen[shift] || (shift == 0) != (epoch == 0) {
			t.Errorf("epoch %d has shift %d, as another one", epoch, shift)
		}
		seen[shift] = true
		if v.Own = true; v.CookieShift() != 0 {
			t.Errorf("epoch %d of this process has shift %d", epoch, v.CookieShift())
		}
	}
}

// TestPast shares the views that connections have travelled to.
func TestPast(t *testing.T) {
	var p view.Past
	if p.Get(1) != nil || len(p.All()) != 0 {
		t.Error("there are views at first")
	}
	a, b := &view.View{TXID: 1}, &view.View{TXID: 2}
	if p.Add(a) != a || p.Add(b) != b || p.Get(1) != a || p.Get(2) != b || p.Get(3) != nil || len(p.All()) != 2 {
		t.Errorf("%v, %v of %d", p.Get(1), p.Get(2), len(p.All()))
	}
	if p.Add(&view.View{TXID: 1}) != a {
		t.Error("a second view of a transaction is not shared")
	}
	other := &view.View{TXID: 1, Epoch: 1}
	if p.Add(other) != other || p.Get(1) != other {
		t.Error("a view of another epoch does not replace one")
	}
}

// TestViews_Newest returns the state with the commits of this process, if there are some.
func TestViews_Newest(t *testing.T) {
	var s view.Views
	remote, local := &view.View{TXID: 1, Epoch: 3}, &view.View{TXID: 2}
	s.Current.Store(remote)
	if s.Newest() != remote || s.Epoch() != 3 {
		t.Error("without commits, the newest state is another one")
	}
	s.Local.Store(local)
	if s.Newest() != local {
		t.Error("with commits, the newest state is another one")
	}
}

// TestRecalled makes a state from a record: its last transaction is in the lowest file that
// ends with it, which a listing replaces.
func TestRecalled(t *testing.T) {
	runs := func(fn func(first, pages uint32, version ltx.TXID)) {
		fn(1, 300, 5)
		fn(301, 1, 0) // which is none
		fn(302, 2, 7)
	}
	file := func(level int, minTXID, maxTXID ltx.TXID) view.RecalledFile {
		return view.RecalledFile{Key: view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, Commit: 303}
	}
	for name, files := range map[string][]view.RecalledFile{
		"the lowest first": {file(0, 7, 7), file(1, 6, 7), file(9, 1, 5)},
		"the lowest last":  {file(9, 1, 5), file(1, 6, 7), file(0, 7, 7)},
	} {
		r := view.Recalled{TXID: 7, Commit: 303, PageSize: 4096, Files: files}
		v, err := r.NewView(runs)
		if err != nil {
			t.Fatal(err)
		}
		if v.Last == nil || v.Last.Level != 0 || v.Pages.Len() != 302 || v.Pages.End() != 303 {
			t.Errorf("%s: the last transaction is in %v, %d pages up to %d", name, v.Last, v.Pages.Len(), v.Pages.End())
		}
		for pgno, want := range map[uint32]ltx.TXID{1: 5, 256: 5, 257: 5, 300: 5, 301: 0, 302: 7, 303: 7, 304: 0} {
			if loc, ok := v.Lookup(pgno); ok != (want != 0) || ok && (loc.Version != want || loc.IsUsable()) {
				t.Errorf("%s: page %d is of version %d, %v", name, pgno, loc.Version, ok)
			}
		}
		last := v.Last
		other, index := viewtest.File(t, 6, 7, 4096, 303, slices.Values([]uint32{302}))
		other.Level = 1
		if next, n, err := v.Relocate(other, index); err != nil || n != 1 || next.Last != last {
			t.Errorf("%s: %d pages are moved, the last transaction is in %s, %v", name, n, next.Last, err)
		}
		same, index := viewtest.File(t, 7, 7, 4096, 303, slices.Values([]uint32{302, 303}))
		if next, n, err := v.Relocate(same, index); err != nil || n != 2 || next.Last != same {
			t.Errorf("%s: %d pages are moved, the last transaction is in %s, %v", name, n, next.Last, err)
		}
	}
	for name, files := range map[string][]view.RecalledFile{
		"no file of the last transaction": {file(9, 1, 6)},
		"no file of a version":            {file(0, 7, 7), file(1, 6, 6)},
	} {
		r := view.Recalled{TXID: 7, Commit: 303, PageSize: 4096, Files: files}
		if _, err := r.NewView(runs); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
