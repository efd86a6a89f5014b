package pages

import (
	"errors"
	"testing"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/superfly/ltx"
)

// TestPromise8_KeptPages keeps pages of many files that come along: newest
// versions, and no more than fit.
func TestPromise8_KeptPages(t *testing.T) {
	const limit = 32 << 10
	kept := make(Kept)
	var last *view.File
	for txid := ltx.TXID(2); txid <= 51; txid++ {
		last, _ = viewtest.File(t, txid, txid, 4096, 100, viewtest.Scattered(2, 3, 100))
		l := &remote.Loaded{File: last}
		for pgno := range uint32(10) {
			l.Pages = append(l.Pages, remote.LoadedPage{Pgno: pgno + uint32(txid%5) + 1, Data: make([]byte, 4096)})
		}
		kept.Keep(l, limit)
	}
	if n := len(kept) * 4096; n == 0 || n > limit {
		t.Errorf("%d bytes are kept, want %d at most", n, limit)
	}
	if p, ok := kept[6]; !ok || p.file != last {
		t.Error("an old version of a page is kept")
	}
}

// Pages that came along with a file go to the cache, but not if its checksum has turned
// out to be wrong meanwhile.
func TestSource_CachePages(t *testing.T) {
	file, index := viewtest.File(t, 1, 1, 4096, 100, viewtest.AllPages(4096, 100))
	v := viewtest.Advance(t, new(view.View), file, index)
	kept := make(Kept)
	kept.Keep(&remote.Loaded{File: file, Pages: []remote.LoadedPage{{Pgno: 3, Data: make([]byte, 4096)}}}, 1<<20)
	s := NewSource(&remote.Store{}, nil, Options{CacheSize: 1 << 20}, 4096)
	key := Key{Version: 1, Pgno: 3}
	if s.CachePages(v, kept); s.peek(key) == nil {
		t.Error("a page is not in the cache")
	}
	wrong := errors.New("its checksum is wrong")
	file.Wrong.Store(&wrong)
	s.Reset(4096)
	if s.CachePages(v, kept); s.peek(key) != nil {
		t.Error("a page of a file that is not trusted is in the cache")
	}
}
