// Package owners tells which table or index a page of a database belongs to, from
// the pages that are at hand.
//
//	trees := owners.Find(page, commit, func(pgno uint32, tree int) { ... })
//
// It reads the schema and the interior pages of the b-trees, and no leaves: an
// interior page names its children. Pages that are not at hand, pages of overflow
// chains, free pages and pages of pointer maps remain unknown. What it finds is for
// display. All bytes are untrusted: a damaged database gives fewer or wrong answers,
// and never a panic or an endless walk.
package owners

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"github.com/ltxvfs/litestream/internal/btree"
)

// Tree is a table or an index.
type Tree struct {
	Name string
	Root uint32
}

const (
	// maxDepth is how many levels a tree may have. SQLite allows 20.
	maxDepth = 20

	// maxReads is how many pages one Find reads. With pages of 4 KiB, the interior
	// pages lead to a few million leaves.
	maxReads = 16 << 10

	// maxTrees is how many trees of a schema are looked at.
	maxTrees = 4096
)

// Find calls note with the pages of each tree, and returns the trees. A page may be
// noted more than once. Page returns the content of a page, nil if it is not at hand.
// Commit is the size of the database in pages.
func Find(page func(pgno uint32) []byte, commit uint32, note func(pgno uint32, tree int)) []Tree {
	one := page(1)
	usable, ok := btree.UsableSize(one)
	if !ok {
		return nil
	}
	w := &walk{page: page, usable: usable, commit: commit, reads: maxReads}
	trees := []Tree{{"sqlite_schema", 1}}
	leaves := w.pages(1, func(pgno uint32) { note(pgno, 0) })
	for _, pgno := range leaves {
		p, ok := w.read(pgno)
		if !ok || p.Kind() != btree.LeafTable {
			continue
		}
		for i := 0; i < p.Cells() && len(trees) < maxTrees; i++ {
			if t, ok := treeOf(p, i, one); ok && t.Root <= commit {
				trees = append(trees, t)
			}
		}
	}
	for i, t := range trees[1:] {
		w.pages(t.Root, func(pgno uint32) { note(pgno, i+1) })
	}
	return trees
}

// treeOf returns the tree that a row of the schema is of, in a database with this
// page 1.
func treeOf(p btree.Page, i int, pageOne []byte) (t Tree, ok bool) {
	name, _ := p.Value(i, 1)
	root, _ := p.Value(i, 3)
	text, isText := name.Text()
	n, isNumber := root.Integer()
	if !isText || !isNumber || n < 2 || n > 1<<32-1 {
		return Tree{}, false // a view, a trigger or a virtual table has no root
	}
	return Tree{decode(text, binary.BigEndian.Uint32(pageOne[56:])), uint32(n)}, true
}

// decode returns a text in an encoding of SQLite's: 2 and 3 are UTF-16, little and
// big endian.
func decode(text []byte, encoding uint32) string {
	var order binary.ByteOrder = binary.LittleEndian
	switch encoding {
	case 2:
	case 3:
		order = binary.BigEndian
	default:
		return strings.ToValidUTF8(string(text), "\uFFFD")
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	return string(utf16.Decode(units))
}

// walk reads pages of trees.
type walk struct {
	page   func(pgno uint32) []byte
	usable int
	commit uint32
	reads  int // how many pages may still be read
}

// read returns a page of a tree, and false if it is not at hand.
func (w *walk) read(pgno uint32) (btree.Page, bool) {
	if w.reads == 0 {
		return btree.Page{}, false
	}
	data := w.page(pgno)
	if data == nil {
		return btree.Page{}, false
	}
	w.reads--
	return btree.Parse(data, pgno, w.usable)
}

// pages calls note with the known pages of a tree, and returns those of the lowest
// level that is known. All leaves are on one level, so one of them tells that the
// others need not be read.
func (w *walk) pages(root uint32, note func(pgno uint32)) (lowest []uint32) {
	level := []uint32{root}
	note(root)
	for range maxDepth {
		var next []uint32
		for _, pgno := range level {
			p, ok := w.read(pgno)
			if !ok {
				continue
			}
			if !p.Kind().IsInterior() {
				return level
			}
			for i := range p.Children() {
				if child := p.Child(i); child > 1 && child <= w.commit && len(next) < int(w.commit) {
					note(child)
					next = append(next, child)
				}
			}
		}
		if len(next) == 0 {
			return level
		}
		level = next
	}
	return nil
}
