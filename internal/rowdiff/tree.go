package rowdiff

import (
	"context"
	"fmt"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// maxDepth is how many levels a tree may have. SQLite allows 20.
const maxDepth = 20

// tree is a walk down a b-tree, one level after the other.
type tree struct {
	*side
	root    uint32
	isIndex bool
	height  int          // levels below that of the parts; at 0 they are leaves
	parts   []part       // pages of the level in the order of their keys, with the rows in between
	pages   *view.Bitmap // all pages that the walk has come to
}

// part is a page of a level of a tree, or a cell of an interior page of an index,
// which is a row between two pages.
type part struct {
	pgno   uint32
	cell   int32 // wholePage: all cells
	marks  span  // keys that lie below the page, or may
	common bool  // the tree of the other state has it in the same content
}

const wholePage = -1

// span is a range of marks, without the end.
type span struct{ first, end int32 }

func (s span) isEmpty() bool { return s.first == s.end }

// openTree begins a walk at the root. To find out how high the tree is, it reads the
// first page of each level.
func (s *side) openTree(ctx context.Context, root uint32) (*tree, error) {
	t := &tree{side: s, root: root, pages: view.NewBitmap(s.Commit)}
	for pgno := root; ; t.height++ {
		n, err := s.node(ctx, pgno)
		if err != nil {
			return nil, err
		}
		isIndex := n.Kind() == btree.InteriorIndex || n.Kind() == btree.LeafIndex
		switch {
		case t.height > 0 && isIndex != t.isIndex:
			return nil, fmt.Errorf("%w: page %d is of another kind than the tree at page %d", errs.ErrCorrupt, pgno, root)
		case t.height >= maxDepth:
			return nil, fmt.Errorf("%w: the tree at page %d has more than %d levels", errs.ErrCorrupt, root, maxDepth)
		}
		t.isIndex = isIndex
		if !n.Kind().IsInterior() {
			break
		}
		pgno = n.Child(0)
	}
	return t, t.add(part{pgno: root, cell: wholePage})
}

// add adds a part to the level.
func (t *tree) add(p part) error {
	if p.cell == wholePage {
		if p.pgno == 0 || p.pgno > t.Commit || !t.pages.Set(p.pgno) {
			return fmt.Errorf("%w: the tree at page %d has page %d twice or beyond the end", errs.ErrCorrupt, t.root, p.pgno)
		}
		t.seen.Set(p.pgno)
	}
	t.parts = append(t.parts, p)
	return nil
}

// descend goes to the next level. It reads the pages of this one, and replaces them
// by their children, and by their cells if they are rows.
func (t *tree) descend(ctx context.Context, m *marks) error {
	var level []uint32
	for _, p := range t.parts {
		if p.cell == wholePage {
			level = append(level, p.pgno)
		}
	}
	nodes, err := t.nodes(ctx, level)
	if err != nil {
		return err
	}
	kind := btree.InteriorTable
	if t.isIndex {
		kind = btree.InteriorIndex
	}
	parts := t.parts
	t.parts = nil
	t.height--
	for _, p := range parts {
		if p.cell != wholePage {
			t.parts = append(t.parts, p)
			continue
		}
		n := nodes[0]
		nodes = nodes[1:]
		if n.Kind() != kind {
			return fmt.Errorf("%w: page %d is of another kind than its neighbours", errs.ErrCorrupt, p.pgno)
		}
		below, err := m.below(n, p)
		if err != nil {
			return fmt.Errorf("the tree at page %d: %w", t.root, err)
		}
		for k := range n.Children() {
			if err := t.add(part{pgno: n.Child(k), cell: wholePage, marks: below(k)}); err != nil {
				return err
			}
			if t.isIndex && k < n.Cells() {
				t.parts = append(t.parts, part{pgno: p.pgno, cell: int32(k), common: p.common})
			}
		}
	}
	return nil
}

// outline goes down to the leaves of a tree.
func (s *side) outline(ctx context.Context, root uint32) (*tree, error) {
	t, err := s.openTree(ctx, root)
	for err == nil && t.height > 0 {
		err = t.descend(ctx, nil)
	}
	return t, err
}

// pair is a tree in both states.
type pair struct{ old, new *tree }

// openPair begins a walk down both trees.
func (d *differ) openPair(ctx context.Context, old, new uint32, m *marks) (p pair, err error) {
	err = both(ctx, func(ctx context.Context, isOld bool) (err error) {
		if isOld {
			p.old, err = d.old.openTree(ctx, old)
		} else {
			p.new, err = d.new.openTree(ctx, new)
		}
		return err
	})
	if err == nil {
		p.old.parts[0].marks, p.new.parts[0].marks = m.all(), m.all()
	}
	return p, err
}

// walk goes down both trees to the leaves that differ, or may. A page that both have,
// and that is the same in both, is not looked into if no mark lies below it.
func (p pair) walk(ctx context.Context, m *marks, differs func(uint32) bool) error {
	for {
		height := max(p.old.height, p.new.height)
		if p.old.height == p.new.height {
			p.meet(m, differs)
		}
		if height == 0 {
			return nil
		}
		err := both(ctx, func(ctx context.Context, isOld bool) error {
			t := p.new
			if isOld {
				t = p.old
			}
			if t.height < height {
				return nil
			}
			return t.descend(ctx, m)
		})
		if err != nil {
			return err
		}
	}
}

// meet finds the pages of a level that both trees have and that do not differ. It
// leaves out those that need not be looked into.
func (p pair) meet(m *marks, differs func(uint32) bool) {
	both := view.NewBitmap(min(p.old.Commit, p.new.Commit))
	marked := view.NewBitmap(min(p.old.Commit, p.new.Commit))
	of := view.NewBitmap(p.old.Commit)
	for _, x := range p.old.parts {
		if x.cell == wholePage && !differs(x.pgno) {
			of.Set(x.pgno)
			if !x.marks.isEmpty() {
				marked.Set(x.pgno)
			}
		}
	}
	for _, x := range p.new.parts {
		if x.cell == wholePage && of.Has(x.pgno) {
			both.Set(x.pgno)
			if !x.marks.isEmpty() {
				marked.Set(x.pgno)
			}
		}
	}
	for _, t := range []*tree{p.old, p.new} {
		kept := t.parts[:0]
		for _, x := range t.parts {
			if x.cell == wholePage {
				x.common = both.Has(x.pgno)
			}
			if x.common && x.cell == wholePage && m != nil && !marked.Has(x.pgno) {
				continue
			}
			kept = append(kept, x)
		}
		t.parts = kept
	}
}

// split returns the parts that differ, and those that both trees have.
func (t *tree) split() (differing, common []part) {
	for _, p := range t.parts {
		if p.common {
			common = append(common, p)
		} else {
			differing = append(differing, p)
		}
	}
	return differing, common
}
