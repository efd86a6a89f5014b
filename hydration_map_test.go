package litestream_test

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// The map of a database fills with its local file, and then tells the owner of every
// page but those of overflow chains. It makes no request.
func TestHydrationMap(t *testing.T) {
	store := memoryClient()
	p := ltxtest.New(t, store, ltxtest.Options{PageSize: 1024})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, b BLOB); CREATE INDEX i ON t (n)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) INSERT INTO t SELECT i, i % 7, randomblob(100) FROM c")
	p.Exec("INSERT INTO t VALUES (9999, 1, randomblob(5000))")
	vfsName, vfs := newVFS(t, store, &litestream.Options{HydrationMode: litestream.HydratePages, HydrationEnabled: true, PollInterval: -1, CacheSize: -1})
	conn := openConn(t, vfsName, "app.db")
	get := func(cells int) litestream.HydrationMap {
		t.Helper()
		m, err := vfs.HydrationMap(t.Context(), "app.db", cells)
		if err != nil {
			t.Fatal(err)
		}
		if sum := int64(m.PagesPerCell) * int64(len(m.Local)); len(m.Local) > cells || len(m.Owners) != len(m.Local) || sum < int64(m.Pages) {
			t.Fatalf("%d pages in %d cells of %d, and owners of %d", m.Pages, len(m.Local), m.PagesPerCell, len(m.Owners))
		}
		return m
	}
	local := func(m litestream.HydrationMap) (n int64) {
		for _, k := range m.Local {
			n += int64(k)
		}
		return n
	}
	waitFor(t, "the local file", func() bool { return get(1).Pages > 0 })
	mustQuery(t, conn, "SELECT n FROM t WHERE id = 5")
	waitFor(t, "some pages", func() bool { return local(get(60000)) >= 3 })
	some := get(60000)
	if some.Pages != uint32(vfs.Stats()[0].Pages) || some.TXID != p.TXID() || some.PagesPerCell != 1 || local(some) > int64(some.Pages)/2 {
		t.Errorf("%d of %d pages as of %s are local", local(some), some.Pages, some.TXID)
	}
	mustQuery(t, conn, "SELECT sum(length(hex(b))) FROM t")
	mustQuery(t, conn, "SELECT sum(n) FROM t INDEXED BY i WHERE n > -1")
	waitFor(t, "all pages", func() bool { return local(get(60000)) == int64(some.Pages) })
	before := vfs.Stats()[0].Requests
	all := get(60000)
	unknown := 0
	for _, owner := range all.Owners {
		if owner < 0 {
			unknown++
		}
	}
	if !slices.Equal(all.Names, []string{"sqlite_schema", "t", "i"}) || unknown < 3 || unknown > 5 {
		t.Errorf("%d pages have no owner of %q, and a row has 4 or 5 pages of overflow", unknown, all.Names)
	}
	coarse := get(10)
	if len(coarse.Local) != 10 || local(coarse) != int64(some.Pages) {
		t.Errorf("the coarse map is %+v", coarse)
	}
	for cells := 1; cells <= 40; cells++ {
		wantMajority(t, all, get(cells))
	}
	if now := vfs.Stats()[0].Requests; now.Get != before.Get || now.List != before.List {
		t.Errorf("maps have made requests: %+v, before %+v", now, before)
	}
	for _, cells := range []int{0, -1, 1 << 20} {
		if _, err := vfs.HydrationMap(t.Context(), "app.db", cells); err == nil {
			t.Errorf("a map of %d cells was made", cells)
		}
	}
}

// wantMajority compares a map with one that has a cell for each page. Where one tree has
// more than half of the pages of a cell whose owner is known, it is the owner of the
// cell. Elsewhere it is a tree that has pages there.
func wantMajority(t *testing.T, fine, coarse litestream.HydrationMap) {
	t.Helper()
	for i, owner := range coarse.Owners {
		first := i * int(coarse.PagesPerCell)
		pages := make(map[int]int)
		known := 0
		for _, tree := range fine.Owners[first:min(first+int(coarse.PagesPerCell), len(fine.Owners))] {
			if tree >= 0 {
				pages[tree]++
				known++
			}
		}
		for tree, n := range pages {
			if 2*n > known && owner != tree {
				t.Errorf("cell %d of %d belongs to tree %d, and %d of its %d pages to tree %d", i, len(coarse.Owners), owner, n, known, tree)
			}
		}
		if known > 0 && pages[owner] == 0 {
			t.Errorf("cell %d of %d belongs to tree %d, which has no page there", i, len(coarse.Owners), owner)
		}
	}
}

// A database without a local file has no map.
func TestHydrationMap_Off(t *testing.T) {
	store := memoryClient()
	newPrimary(t, store, ltxtest.Options{}, 10)
	vfsName, vfs := newVFS(t, store, &litestream.Options{PollInterval: -1})
	openConn(t, vfsName, "app.db")
	if m, err := vfs.HydrationMap(t.Context(), "app.db", 10); err != nil || m.Pages != 0 || m.Local != nil {
		t.Errorf("%+v, %v", m, err)
	}
}
