package litestream

import (
	"sync"

	"github.com/ltxvfs/litestream/internal/btree"
)

// treeMap remembers which interior page of a b-tree has which children, so
// that a page leads to those beside it. What it says may be outdated, and is
// to be confirmed by the parent. Its size is bounded: of two generations, the older is
// dropped when the younger is full. It is safe for concurrent use; the zero
// value is empty.
type treeMap struct {
	mu         sync.Mutex        // duty: what follows
	young, old map[uint32]uint32 // guarded by mu; parent by child
}

// treeMapSize is how many children a generation holds at least: those of the
// leaves of a database of some 128 MB with pages of 4 KiB.
const treeMapSize = 32 << 10

// learn notes the children of an interior page.
func (m *treeMap) learn(pgno uint32, p btree.Page) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= treeMapSize {
		m.young, m.old = nil, m.young
	}
	if m.young == nil {
		m.young = make(map[uint32]uint32)
	}
	for i := range p.Children() {
		m.young[p.Child(i)] = pgno
	}
}

// parent returns the page that last had a page as its child.
func (m *treeMap) parent(pgno uint32) (uint32, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, ok := m.young[pgno]
	if !ok {
		parent, ok = m.old[pgno]
	}
	return parent, ok
}
