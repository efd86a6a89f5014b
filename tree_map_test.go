package litestream

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/view"
)

// interiorPage makes an interior page of a table with keys 0, 1, 2, ...
func interiorPage(size int, children ...uint32) []byte {
	b := make([]byte, size)
	b[0] = byte(btree.InteriorTable)
	cells := len(children) - 1
	binary.BigEndian.PutUint16(b[3:], uint16(cells))
	binary.BigEndian.PutUint32(b[8:], children[cells])
	end := size
	for i, child := range children[:cells] {
		end -= 7
		binary.BigEndian.PutUint32(b[end:], child)
		b[end+4], b[end+5], b[end+6] = byte(i>>14)|0x80, byte(i>>7)|0x80, byte(i&0x7f)
		binary.BigEndian.PutUint16(b[12+2*i:], uint16(end))
	}
	binary.BigEndian.PutUint16(b[5:], uint16(end))
	return b
}

// learnAll has a map learn a page with these children.
func learnAll(t *testing.T, m *treeMap, pgno uint32, children ...uint32) {
	t.Helper()
	p, ok := btree.Parse(interiorPage(4096, children...), pgno, 4096)
	if !ok {
		t.Fatalf("page %d is none", pgno)
	}
	m.add(pgno, p)
}

func wantParent(t *testing.T, m *treeMap, pgno, want uint32) {
	t.Helper()
	if got, ok := m.parent(pgno); got != want || ok != (want != 0) {
		t.Errorf("parent of %d is %d, %v, want %d", pgno, got, ok, want)
	}
}

func TestTreeMap_Parents(t *testing.T) {
	var m treeMap
	wantParent(t, &m, 7, 0)
	learnAll(t, &m, 3, 7, 8, 9)
	learnAll(t, &m, 4, 10, 11)
	for pgno, parent := range map[uint32]uint32{6: 0, 7: 3, 8: 3, 9: 3, 10: 4, 11: 4, 12: 0, 3: 0} {
		wantParent(t, &m, pgno, parent)
	}
	learnAll(t, &m, 4, 9, 10) // a page was moved, and one went
	for pgno, parent := range map[uint32]uint32{8: 3, 9: 4, 10: 4, 11: 4} {
		wantParent(t, &m, pgno, parent)
	}
}

// TestTreeMap_Bounded learns the children of many pages.
func TestTreeMap_Bounded(t *testing.T) {
	const width = 400 // children of a page
	const pages = 8 * treeMapSize / width
	var m treeMap
	child := func(i uint32) uint32 { return 1_000_000 + i }
	for i := range uint32(pages) {
		var children []uint32
		for j := range uint32(width) {
			children = append(children, child(i*width+j))
		}
		learnAll(t, &m, 100+i, children...)
		wantParent(t, &m, child(0), map[bool]uint32{true: 100}[i*width < treeMapSize*2])
		if n := len(m.mu.young) + len(m.mu.old); n > 2*(treeMapSize+width) {
			t.Fatalf("%d children are known", n)
		}
	}
	// A generation full of the last ones is there.
	for k := range uint32(treeMapSize) {
		i := pages*width - 1 - k
		wantParent(t, &m, child(i), 100+i/width)
	}
	if len(m.mu.old) < treeMapSize {
		t.Errorf("the older generation has %d children", len(m.mu.old))
	}
	// What is learned again counts as new, and replaces what was.
	learnAll(t, &m, 99, child(pages*width-treeMapSize), child(pages*width-1))
	wantParent(t, &m, child(pages*width-treeMapSize), 99)
}

// TestTreeWalk_Place confirms a place by the parent as a view has it.
func TestTreeWalk_Place(t *testing.T) {
	client := newHookClient()
	first := map[uint32][]byte{3: interiorPage(fakePageSize, 4, 5, 6)}
	for pgno := range uint32(9) {
		if pgno+1 != 3 {
			first[pgno+1] = fakePage(pgno+1, 1)
		}
	}
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 9, first)
	db, err := openDatabase(t.Context(), "app.db", client, Options{Logger: slog.New(slog.DiscardHandler), PollInterval: -1}.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.close(t.Context()) }()
	before := db.Current.Load()
	want := func(v *view.View, pgno, parent uint32, i int) {
		t.Helper()
		at, ok := treeWalk{db.pages, v}.place(pgno)
		if ok != (parent != 0) || ok && (at.parent != parent || at.i != i || at.pgno() != pgno) {
			t.Errorf("as of %s, page %d is child %d of %d, %v", v.TXID, pgno, at.i, at.parent, ok)
		}
	}
	want(before, 4, 3, 0)
	want(before, 5, 3, 1)
	want(before, 6, 3, 2)
	want(before, 7, 0, 0)
	want(before, 3, 0, 0)

	// Page 6 is moved to a new parent, and page 5 goes.
	putPages(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 9, map[uint32][]byte{
		3: interiorPage(fakePageSize, 4, 9), 8: interiorPage(fakePageSize, 7, 6),
	})
	if r := db.refresh(t.Context()); r.err() != nil {
		t.Fatal(r.err())
	}
	v := db.Current.Load()
	want(v, 4, 3, 0)
	want(v, 5, 0, 0)
	want(v, 6, 8, 1)
	want(v, 7, 8, 0)
	want(v, 9, 3, 1)
	want(before, 5, 3, 1)
	want(before, 6, 0, 0) // its parent is page 8 now, which was none before
	want(before, 9, 0, 0)

	// A parent that is not here confirms nothing, and is not asked for.
	db.pages.cache.Load().lru.Purge()
	opens := client.opens.Load()
	want(v, 4, 0, 0)
	if _, err := db.pages.page(t.Context(), v, 3); err != nil {
		t.Fatal(err)
	}
	want(v, 4, 3, 0)
	if n := client.opens.Load() - opens; n != 1 {
		t.Errorf("%d requests", n)
	}
}
