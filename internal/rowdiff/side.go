package rowdiff

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// State is a state of a database.
type State struct {
	// Page returns the content of a page. It is called by several goroutines.
	Page   func(ctx context.Context, pgno uint32) ([]byte, error)
	Commit uint32 // size in pages
}

// side is one of the two states that are compared.
type side struct {
	State
	usable   int
	encoding encoding
	width    int // reads at a time

	autoVacuum bool
}

// newSide reads page 1.
func newSide(ctx context.Context, s State, width int) (*side, error) {
	one, err := s.Page(ctx, 1)
	if err != nil {
		return nil, err
	}
	usable, ok := btree.UsableSize(one)
	if !ok {
		return nil, fmt.Errorf("%w: page 1 is no header of a database", errs.ErrCorrupt)
	}
	e := encoding(binary.BigEndian.Uint32(one[56:]))
	if e == 0 {
		e = utf8Encoding // a database without tables
	}
	if e > utf16BEEncoding {
		return nil, fmt.Errorf("%w: page 1 names text encoding %d", errs.ErrCorrupt, e)
	}
	return &side{State: s, usable: usable, encoding: e, width: width, autoVacuum: binary.BigEndian.Uint32(one[52:]) != 0}, nil
}

// node reads a page of a b-tree.
func (s *side) node(ctx context.Context, pgno uint32) (btree.Page, error) {
	if pgno == 0 || pgno > s.Commit {
		return btree.Page{}, fmt.Errorf("%w: a tree has page %d, and the database %d pages", errs.ErrCorrupt, pgno, s.Commit)
	}
	data, err := s.Page(ctx, pgno)
	if err != nil {
		return btree.Page{}, err
	}
	p, ok := btree.Parse(data, pgno, s.usable)
	if !ok {
		return btree.Page{}, fmt.Errorf("%w: page %d is no page of a tree", errs.ErrCorrupt, pgno)
	}
	return p, nil
}

// nodes reads pages of a level of a tree at the same time.
func (s *side) nodes(ctx context.Context, pgnos []uint32) ([]btree.Page, error) {
	all := make([]btree.Page, len(pgnos))
	err := s.each(ctx, pgnos, func(i int, data []byte) error {
		var ok bool
		if all[i], ok = btree.Parse(data, pgnos[i], s.usable); !ok {
			return fmt.Errorf("%w: page %d is no page of a tree", errs.ErrCorrupt, pgnos[i])
		}
		return nil
	})
	return all, err
}

// each reads pages at the same time, and calls fn with each of them.
func (s *side) each(ctx context.Context, pgnos []uint32, fn func(i int, data []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.width)
	for i, pgno := range pgnos {
		g.Go(func() error {
			data, err := s.Page(ctx, pgno)
			if err == nil {
				err = fn(i, data)
			}
			return err
		})
	}
	return g.Wait()
}

// maxDepth is how many levels a tree may have. SQLite allows 20.
const maxDepth = 20

// tree is the outline of a tree.
type tree struct {
	parts     []part       // in the order of the keys
	interiors []uint32     // pages
	pages     *view.Bitmap // all its pages
	isIndex   bool
}

// part is a leaf, or a cell of an interior page of an index, which is a row between
// two leaves.
type part struct {
	pgno uint32
	cell int32 // wholeLeaf: all cells
}

const wholeLeaf = -1

// outline reads the interior pages of a tree, and one leaf.
func (s *side) outline(ctx context.Context, root uint32) (*tree, error) {
	t := &tree{parts: []part{{root, wholeLeaf}}, pages: view.NewBitmap(s.Commit)}
	for depth := range maxDepth {
		var level []uint32
		for _, p := range t.parts {
			if p.cell != wholeLeaf {
				continue
			}
			if p.pgno == 0 || p.pgno > s.Commit || !t.pages.Set(p.pgno) {
				return nil, fmt.Errorf("%w: the tree at page %d has page %d twice or beyond the end", errs.ErrCorrupt, root, p.pgno)
			}
			level = append(level, p.pgno)
		}
		first, err := s.node(ctx, level[0])
		if err != nil {
			return nil, err
		}
		isIndex := first.Kind() == btree.InteriorIndex || first.Kind() == btree.LeafIndex
		if depth > 0 && isIndex != t.isIndex {
			return nil, fmt.Errorf("%w: page %d is of another kind than the tree at page %d", errs.ErrCorrupt, level[0], root)
		}
		t.isIndex = isIndex
		if !first.Kind().IsInterior() {
			return t, nil
		}
		nodes, err := s.nodes(ctx, level)
		if err != nil {
			return nil, err
		}
		t.interiors = append(t.interiors, level...)
		if t.parts, err = expand(t.parts, level, nodes, first.Kind()); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: the tree at page %d has more than %d levels", errs.ErrCorrupt, root, maxDepth)
}

// expand replaces the interior pages of a level by their children, and their cells
// if they are rows.
func expand(parts []part, level []uint32, nodes []btree.Page, kind btree.Kind) (next []part, err error) {
	i := 0
	for _, p := range parts {
		if p.cell != wholeLeaf {
			next = append(next, p)
			continue
		}
		n := nodes[i]
		if n.Kind() != kind {
			return nil, fmt.Errorf("%w: page %d is of another kind than its neighbours", errs.ErrCorrupt, level[i])
		}
		for k := range n.Children() {
			next = append(next, part{n.Child(k), wholeLeaf})
			if kind == btree.InteriorIndex && k < n.Cells() {
				next = append(next, part{p.pgno, int32(k)})
			}
		}
		i++
	}
	return next, nil
}

// reader reads the rows of some parts of a tree.
type reader struct {
	*side
	t        *table
	overflow *view.Bitmap // pages of overflow chains are added
	suspects *view.Bitmap // rows with such pages are marked
}

// rows returns the rows of parts in their order. As many parts are read at a time as
// the side allows.
func (r *reader) rows(ctx context.Context, parts []part) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for from := 0; from < len(parts); from += r.width {
			batch := parts[from:min(from+r.width, len(parts))]
			all := make([][]row, len(batch))
			g, ctx := errgroup.WithContext(ctx)
			for i, p := range batch {
				g.Go(func() (err error) {
					all[i], err = r.partRows(ctx, p)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				yield(row{}, err)
				return
			}
			for _, rows := range all {
				for _, row := range rows {
					if !yield(row, nil) {
						return
					}
				}
			}
		}
	}
}

// partRows returns the rows of a part.
func (r *reader) partRows(ctx context.Context, p part) ([]row, error) {
	n, err := r.node(ctx, p.pgno)
	if err != nil {
		return nil, err
	}
	first, end := 0, n.Cells()
	if p.cell != wholeLeaf {
		first, end = int(p.cell), int(p.cell)+1
	} else if n.Kind().IsInterior() {
		return nil, fmt.Errorf("%w: table %s: page %d is no leaf", errs.ErrCorrupt, r.t.name, p.pgno)
	}
	rows := make([]row, 0, end-first)
	for i := first; i < end; i++ {
		one, err := r.row(ctx, n, i)
		if err != nil {
			return nil, fmt.Errorf("table %s, page %d, cell %d: %w", r.t.name, p.pgno, i, err)
		}
		rows = append(rows, one)
	}
	return rows, nil
}

func (r *reader) row(ctx context.Context, n btree.Page, i int) (one row, err error) {
	local, size, overflow, ok := n.Record(i)
	if !ok {
		return one, fmt.Errorf("%w: it has no record", errs.ErrCorrupt)
	}
	if one.rec, one.suspect, err = r.record(ctx, local, size, overflow); err != nil {
		return one, err
	}
	if r.t.key != nil {
		return one, r.t.setKey(&one)
	}
	if one.rowid, ok = n.Rowid(i); !ok {
		return one, fmt.Errorf("%w: it has no rowid", errs.ErrCorrupt)
	}
	return one, nil
}

// record returns a whole record, with its overflow pages, and whether one of these
// is a suspect.
func (r *reader) record(ctx context.Context, local []byte, size int, overflow uint32) (rec []byte, suspect bool, err error) {
	if int64(size) > int64(r.Commit)*int64(r.usable) {
		return nil, false, fmt.Errorf("%w: it has %d bytes, more than the database", errs.ErrCorrupt, size)
	}
	rec = append(make([]byte, 0, len(local)), local...)
	for pgno := overflow; len(rec) < size; {
		if pgno == 0 || pgno > r.Commit {
			return nil, false, fmt.Errorf("%w: its overflow chain leads to page %d", errs.ErrCorrupt, pgno)
		}
		data, err := r.Page(ctx, pgno)
		if err != nil {
			return nil, false, err
		}
		r.overflow.Set(pgno)
		suspect = suspect || r.suspects.Has(pgno)
		if len(data) < r.usable {
			return nil, false, fmt.Errorf("%w: page %d has %d bytes", errs.ErrCorrupt, pgno, len(data))
		}
		pgno = binary.BigEndian.Uint32(data)
		rec = append(rec, data[4:min(r.usable, 4+size-len(rec))]...)
	}
	return rec, suspect, nil
}
