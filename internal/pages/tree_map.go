package pages

import (
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/btree"
)

// trees holds what pages tell of the b-trees that they are in. It is safe for
// concurrent use; the zero value knows nothing.
type trees struct {
	treeMap
	usable atomic.Int64 // bytes of a page that b-trees use; 0 until page 1 was read
}

// learn notes what a page tells of other pages. It reports whether it is an
// interior page of a b-tree.
func (t *trees) learn(pgno uint32, page []byte) (interior bool) {
	if pgno == 1 {
		if n, ok := btree.UsableSize(page); ok {
			t.usable.Store(int64(n))
		}
	}
	p, ok := t.parse(pgno, page)
	if !ok || !p.Kind().IsInterior() {
		return false
	}
	t.add(pgno, p)
	return true
}

// parse parses a page as one of a b-tree.
func (t *trees) parse(pgno uint32, page []byte) (btree.Page, bool) {
	usable := int(t.usable.Load())
	if usable == 0 || usable > len(page) {
		usable = len(page)
	}
	return btree.Parse(page, pgno, usable)
}

// treeMap maps pages of b-trees to their parents, so that a page leads to its
// neighbours. An answer may be outdated, and has to be confirmed by the parent
// page. The map has two generations and drops the older one when the younger
// one is full, which bounds its size. It is safe for concurrent use; the zero
// value is empty.
type treeMap struct {
	mu struct {
		sync.Mutex                   // keeps the maps together
		young, old map[uint32]uint32 // parent by child

		// inner has the parents of interior pages. Every climb needs them, while an
		// interior page is read only once by a connection that keeps it.
		inner map[uint32]uint32
	}
}

// treeMapSize is how many children a generation holds before it is full, which takes
// about 2 MiB. A join of a large database reads some hundred interior pages, each with
// as many children.
const treeMapSize = 128 << 10

// maxInner is how many interior pages inner has before it is emptied. With pages of
// 4 KiB they lead to some 3 GB of leaves.
const maxInner = 2 << 10

// add notes the children of an interior page.
func (m *treeMap) add(pgno uint32, p btree.Page) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.young) >= treeMapSize {
		m.keepInner(m.mu.old)
		m.mu.young, m.mu.old = nil, m.mu.young
	}
	if m.mu.young == nil {
		m.mu.young = make(map[uint32]uint32)
	}
	if parent, ok := m.find(pgno); ok {
		m.addInner(pgno, parent)
	}
	for i := range p.Children() {
		m.mu.young[p.Child(i)] = pgno
		if _, ok := m.mu.inner[p.Child(i)]; ok {
			m.mu.inner[p.Child(i)] = pgno
		}
	}
}

// addInner notes the parent of an interior page. The caller holds mu.
func (m *treeMap) addInner(pgno, parent uint32) {
	if m.mu.inner == nil || len(m.mu.inner) >= maxInner {
		m.mu.inner = make(map[uint32]uint32)
	}
	m.mu.inner[pgno] = parent
}

// keepInner keeps the interior pages of a generation that is dropped: those whose
// parent has another one as a child, because the leaves of a tree are on one level.
// The caller holds mu.
func (m *treeMap) keepInner(dropped map[uint32]uint32) {
	above := make(map[uint32]bool)
	for _, parent := range m.mu.inner {
		above[parent] = true
	}
	for pgno, parent := range dropped {
		if above[parent] && len(m.mu.inner) < maxInner {
			m.addInner(pgno, parent)
		}
	}
}

// find is parent for a caller that holds mu.
func (m *treeMap) find(pgno uint32) (parent uint32, ok bool) {
	if parent, ok = m.mu.young[pgno]; !ok {
		parent, ok = m.mu.old[pgno]
	}
	if !ok {
		parent, ok = m.mu.inner[pgno]
	}
	return parent, ok
}

// parent returns the page that last had a page as its child.
func (m *treeMap) parent(pgno uint32) (uint32, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(pgno)
}
