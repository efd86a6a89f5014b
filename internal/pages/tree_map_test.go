package pages

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/btree/btreetest"
)

// learnAll has a map learn a page with these children.
func learnAll(t *testing.T, m *treeMap, pgno uint32, children ...uint32) {
	t.Helper()
	p, ok := btree.Parse(btreetest.Interior(4096, children...), pgno, 4096)
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

// The interior pages of a tree with more leaves than the map holds keep their
// parents.
func TestTreeMap_LargeTree(t *testing.T) {
	var m treeMap
	const inner, fanOut = 800, 400
	var pages []uint32
	for i := range uint32(inner) {
		pages = append(pages, 10+i)
	}
	learnAll(t, &m, 2, pages[:inner/2]...)
	learnAll(t, &m, 3, pages[inner/2:]...)
	for range 3 { // as connections read them again
		for i := range uint32(inner) {
			var leaves []uint32
			for j := range uint32(fanOut) {
				leaves = append(leaves, 1000+i*fanOut+j)
			}
			learnAll(t, &m, 10+i, leaves...)
		}
	}
	for i := range uint32(inner) {
		wantParent(t, &m, 10+i, 2+i/(inner/2))
	}
	wantParent(t, &m, 1000+inner*fanOut-1, 10+inner-1)
	wantParent(t, &m, 1000, 0) // long ago
	if n := len(m.mu.young) + len(m.mu.old) + len(m.mu.inner); n > 2*(treeMapSize+fanOut)+maxInner {
		t.Errorf("%d entries", n)
	}
	learnAll(t, &m, 4, pages[7:9]...) // they are moved to another page
	wantParent(t, &m, 10+7, 4)
	for i := range uint32(2 * maxInner) {
		learnAll(t, &m, 1<<20+i, 1<<21+2*i, 1<<21+2*i+1)
		learnAll(t, &m, 1<<21+2*i, 1<<22+i, 1<<23+i)
	}
	if n := len(m.mu.inner); n > maxInner {
		t.Errorf("%d interior pages", n)
	}
}

// An interior page that was moved keeps its new parent when what was learned before and
// after that is forgotten.
func TestTreeMap_MovedInterior(t *testing.T) {
	var m treeMap
	learnAll(t, &m, 2, 10, 11)
	learnAll(t, &m, 10, 100, 101) // so page 10 is an interior page
	learnAll(t, &m, 3, 10, 12)    // it is below page 3 now
	const width = 400
	for i := range uint32(3 * treeMapSize / width) {
		var children []uint32
		for j := range uint32(width) {
			children = append(children, 1_000_000+i*width+j)
		}
		learnAll(t, &m, 1000+i, children...)
	}
	wantParent(t, &m, 10, 3)
	wantParent(t, &m, 100, 0)
}

// Pages are parsed before page 1 has told how much of a page is used.
func TestTrees_WithoutPageOne(t *testing.T) {
	var m trees
	if !m.learn(3, btreetest.Interior(bedPageSize, 7, 8)) {
		t.Error("an interior page is none")
	}
	wantParent(t, &m.treeMap, 8, 3)
}
