package hydrate

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// somePages is a local file of ten pages of the first of two views, of which
// the second has page 5 in another version. A page is filled with its version.
func somePages(t *testing.T) (l *localPages, v1, v2 *view.View) {
	t.Helper()
	f, err := pagefile.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	l = newLocalPages(f, 4096, nil)
	file1, index1 := viewtest.File(t, 1, 1, 4096, 10, viewtest.AllPages(4096, 10))
	v1 = viewtest.Advance(t, new(view.View), file1, index1)
	file2, index2 := viewtest.File(t, 2, 2, 4096, 10, func(yield func(uint32) bool) { yield(5) })
	v2 = viewtest.Advance(t, v1, file2, index2)
	hold(t, l, v1)
	putPage(t, l, 0, 5, 1)
	return l, v1, v2
}

func hold(t *testing.T, l *localPages, v *view.View) {
	t.Helper()
	if err := l.hold(v); err != nil {
		t.Error(err)
	}
}

func putPage(t *testing.T, l *localPages, epoch, pgno uint32, version ltx.TXID) {
	t.Helper()
	if _, err := l.write(epoch, pgno, []ltx.TXID{version}, bytes.Repeat([]byte{byte(version)}, 4096)); err != nil {
		t.Error(err)
	}
}

// TestLocalPages_ReadMeanwhile changes the file before and after the bytes of a
// page are read. A reader gets its version or nothing.
func TestLocalPages_ReadMeanwhile(t *testing.T) {
	for name, step := range map[string]func(t *testing.T, l *localPages, v1, v2 *view.View){
		"nothing":     func(*testing.T, *localPages, *view.View, *view.View) {},
		"held":        func(t *testing.T, l *localPages, _, v2 *view.View) { hold(t, l, v2) },
		"overwritten": func(t *testing.T, l *localPages, _, v2 *view.View) { hold(t, l, v2); putPage(t, l, 0, 5, 2) },
		"dropped":     func(_ *testing.T, l *localPages, _, _ *view.View) { l.drop() },
		"dropped, and there again": func(t *testing.T, l *localPages, v1, _ *view.View) {
			l.drop()
			if err := l.file.Reset(); err != nil {
				t.Error(err)
			}
			hold(t, l, v1)
			putPage(t, l, 0, 5, 1)
		},
		"another history": func(t *testing.T, l *localPages, _, _ *view.View) {
			file, index := viewtest.File(t, 1, 1, 4096, 10, viewtest.AllPages(4096, 10))
			next := viewtest.Advance(t, new(view.View), file, index)
			next.Epoch = 1
			hold(t, l, next)
			putPage(t, l, 1, 5, 1)
		},
	} {
		for _, when := range []string{"before", "after"} {
			for i := range 4 {
				of, byKey := i/2, i%2 == 1
				l, v1, v2 := somePages(t)
				v, want := []*view.View{v1, v2}[of], byte(of+1)
				if of == 1 {
					hold(t, l, v1)
				}
				l.readAt = func(p []byte, off int64) error {
					if when == "before" {
						step(t, l, v1, v2)
					}
					err := l.file.ReadAt(p, off)
					if when == "after" {
						step(t, l, v1, v2)
					}
					return err
				}
				p, err := make([]byte, 4096), error(nil)
				if byKey {
					p, err = l.readKey(pages.Key{Epoch: v.Epoch, Pgno: 5, Version: ltx.TXID(want)})
				} else {
					err = l.read(v, 5, p)
				}
				switch {
				case err == nil && !bytes.Equal(p, bytes.Repeat([]byte{want}, 4096)):
					t.Errorf("%s %s: version %d reads as %d", name, when, want, p[0])
				case err == nil && name == "another history":
					t.Errorf("%s %s: a page of another history", name, when)
				case err != nil && err != errNotHere:
					t.Errorf("%s %s: %v", name, when, err)
				case err == errNotHere && name == "nothing" && of == 0:
					t.Errorf("%s %s: it is not there", name, when)
				}
			}
		}
	}
}

// The figures of a file are those of its pages. A page that changes leaves all of
// them, whether it was settled or not, and the file is not complete any more.
func TestLocalPages_Figures(t *testing.T) {
	l, v1, _ := somePages(t)
	want := func(what string, count, settled, compared int64, complete bool) {
		t.Helper()
		held := l.held.Load()
		bits := func(b *view.Bitmap) int64 { return int64(b.Count(1, 10)) }
		if bits(held.present) != count || bits(held.settled) != settled || bits(held.compared) != compared {
			t.Errorf("%s: pages %d, %d, %d", what, bits(held.present), bits(held.settled), bits(held.compared))
		}
		if l.count.Load() != count || l.settled.Load() != settled || l.compared.Load() != compared || l.isComplete() != complete {
			t.Errorf("%s: figures %d, %d, %d, complete %v", what, l.count.Load(), l.settled.Load(), l.compared.Load(), l.isComplete())
		}
	}
	for pgno := uint32(1); pgno <= 10; pgno++ {
		putPage(t, l, 0, pgno, 1)
	}
	for pgno := uint32(1); pgno <= 4; pgno++ {
		l.settleKey(pages.Key{Pgno: pgno, Version: 1}, pgno <= 2)
	}
	want("some are settled", 10, 4, 2, false)
	v2 := changing(t, v1, 2, 2, 10, 1, 3, 5)
	hold(t, l, v2)
	want("three have changed", 7, 2, 1, false)
	for _, pgno := range []uint32{1, 3, 5} {
		putPage(t, l, 0, pgno, 2)
	}
	l.settleAll()
	want("all are settled", 10, 10, 1, true)
	if files := l.held.Load().unsettled(); len(files) != 0 {
		t.Errorf("%d files have pages that are not settled", len(files))
	}
	hold(t, l, changing(t, v2, 3, 3, 10, 2, 5))
	want("two more have changed", 8, 8, 0, false)
}

// TestLocalPages_Concurrent reads by many views while pages are overwritten again
// and again.
func TestLocalPages_Concurrent(t *testing.T) {
	const pages = 300
	views := ltx.TXID(testscale.Repeats(400))
	f, err := pagefile.CreateTemp()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := newLocalPages(f, 512, nil)
	file, index := viewtest.File(t, 1, 1, 512, pages, viewtest.AllPages(512, pages))
	all := []*view.View{viewtest.Advance(t, new(view.View), file, index)}
	rng := rand.New(rand.NewPCG(1, 1))
	for txid := ltx.TXID(2); txid <= views; txid++ {
		file, index := viewtest.File(t, txid, txid, 512, pages+uint32(txid), func(yield func(uint32) bool) {
			for pgno := uint32(1); pgno <= pages; pgno++ {
				if rng.IntN(10) == 0 && !yield(pgno) {
					return
				}
			}
		})
		all = append(all, viewtest.Advance(t, all[len(all)-1], file, index))
	}
	page := func(pgno uint32, version ltx.TXID) []byte {
		p := make([]byte, 512)
		for i := 0; i < len(p); i += 8 {
			binary.BigEndian.PutUint64(p[i:], uint64(pgno)<<32|uint64(version))
		}
		return p
	}
	hold(t, l, all[0])
	var newest atomic.Int64
	var stop atomic.Bool
	var found atomic.Int64
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			p := make([]byte, 512)
			for !stop.Load() {
				n := int(newest.Load())
				v := all[max(0, n-rng.IntN(3))]
				pgno := 1 + rng.Uint32N(pages)
				if l.read(v, pgno, p) != nil {
					continue
				}
				found.Add(1)
				if loc, _ := v.Lookup(pgno); !bytes.Equal(p, page(pgno, loc.Version)) {
					t.Errorf("page %d of view %s is wrong", pgno, v.TXID)
					return
				}
			}
		})
	}
	for i, v := range all {
		hold(t, l, v)
		newest.Store(int64(i))
		for pgno := uint32(1); pgno <= pages; pgno++ {
			loc, _ := v.Lookup(pgno)
			if _, err := l.write(0, pgno, []ltx.TXID{loc.Version}, page(pgno, loc.Version)); err != nil {
				t.Error(err)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	if found.Load() == 0 {
		t.Error("nothing was found")
	}
}
