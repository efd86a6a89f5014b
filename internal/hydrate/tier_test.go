package hydrate

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/pages"
)

// A tier has what the local file has, and nothing before there is one. Only a tier of
// pages on demand needs them from queries.
func TestTier_Local(t *testing.T) {
	tier := newLocalTier(func() bool { return false }, All)
	l, v1, v2 := somePages(t) // page 5 of version 1
	want := func(what string, want bool) {
		t.Helper()
		key, p := pages.Key{Pgno: 5, Version: 1}, make([]byte, 4096)
		if tier.Has(key) != want || tier.ReadView(v1, 5, p) != want || (tier.Read(key) != nil) != want || (tier.Peek(key) != nil) != want {
			t.Errorf("%s: has %v", what, tier.Has(key))
		}
		if want && !bytes.Equal(p, bytes.Repeat([]byte{1}, 4096)) {
			t.Errorf("%s: other bytes", what)
		}
		if tier.Has(pages.Key{Pgno: 4, Version: 1}) || tier.Has(pages.Key{Pgno: 5, Version: 2}) || tier.ReadView(v2, 5, p) || tier.ReadView(v1, 5, p[:512]) {
			t.Errorf("%s: a page that is not there, of another version or size", what)
		}
	}
	want("no file", false)
	tier.local.Store(l)
	want("a file", true)
	tier.Drop()
	want("a file that was emptied", false)
	if tier.Needs() != pages.NeedsNothing || newLocalTier(nil, Pages).Needs() != pages.NeedsPages {
		t.Error("what the modes need")
	}
}

// The error of a file that could not be read waits until hydration looks, and no page
// is read from the file meanwhile.
func TestTier_Broken(t *testing.T) {
	tier := newLocalTier(func() bool { return false }, All)
	l, v1, _ := somePages(t)
	tier.local.Store(l)
	bad := errors.New("bad disk")
	l.readAt = func([]byte, int64) error { return bad }
	if tier.Peek(pages.Key{Pgno: 5, Version: 1}) != nil || l.view() == nil {
		t.Error("a page that no query asked for has ended the use of the file")
	}
	if tier.ReadView(v1, 5, make([]byte, 4096)) || l.view() != nil {
		t.Error("the file is still in use")
	}
	select {
	case err := <-tier.broken:
		if err != bad {
			t.Error(err)
		}
	default:
		t.Error("hydration does not hear of it")
	}
}

// A tier serves pages of a file that another process owns.
func TestTier_Lent(t *testing.T) {
	v := newView(t, 5, 77)
	owner, borrower, _ := lend(t, filepath.Join(t.TempDir(), "pages"), 4096, v)
	putPage(t, owner, 0, 3, 5)
	tier := newLocalTier(func() bool { return false }, All)
	tier.lent.Store(borrower)
	for pgno, want := range map[uint32]bool{3: true, 4: false} {
		key := pages.Key{Pgno: pgno, Version: 5}
		if tier.Has(key) != want || tier.ReadView(v, pgno, make([]byte, 4096)) != want || (tier.Read(key) != nil) != want || (tier.Peek(key) != nil) != want {
			t.Errorf("page %d is there: %v", pgno, tier.Has(key))
		}
	}
	if tier.IsComplete() {
		t.Error("it is complete with one page")
	}
	tier.Drop()
	if tier.Has(pages.Key{Pgno: 3, Version: 5}) {
		t.Error("it is there after a drop")
	}
}

// The pages that queries waited for last come first. The oldest ones are left out.
func TestHotPages(t *testing.T) {
	var h hotPages
	if _, ok := h.take(); ok {
		t.Error("there is one at first")
	}
	for pgno := uint32(1); pgno <= 3*maxHot/2; pgno++ {
		h.add(pgno)
	}
	for want := uint32(3 * maxHot / 2); want > maxHot/2; want-- {
		if pgno, ok := h.take(); !ok || pgno != want {
			t.Fatalf("page %d, %v, want %d", pgno, ok, want)
		}
	}
	if pgno, ok := h.take(); ok {
		t.Errorf("page %d is one too many", pgno)
	}
}
