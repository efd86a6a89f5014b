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
	Page func(ctx context.Context, pgno uint32) ([]byte, error)

	// Ahead is told of pages that are going to be read, two at least, so that they can
	// be fetched together. Nil: no calls.
	Ahead func(pgnos []uint32)

	Commit uint32 // size in pages
}

// side is one of the two states that are compared.
type side struct {
	State
	usable   int
	encoding encoding
	width    int // reads at a time

	autoVacuum bool

	known map[uint32][]byte // pages that differ, if there are few
	seen  *view.Bitmap      // pages of the trees that were looked at
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
	return &side{State: s, usable: usable, encoding: e, width: width, autoVacuum: binary.BigEndian.Uint32(one[52:]) != 0, seen: view.NewBitmap(s.Commit)}, nil
}

// page returns the content of a page.
func (s *side) page(ctx context.Context, pgno uint32) ([]byte, error) {
	if data, ok := s.known[pgno]; ok {
		return data, nil
	}
	return s.Page(ctx, pgno)
}

// ahead tells that pages are going to be read.
func (s *side) ahead(pgnos []uint32) {
	if s.Ahead == nil {
		return
	}
	unknown := make([]uint32, 0, len(pgnos))
	for _, pgno := range pgnos {
		if _, ok := s.known[pgno]; !ok {
			unknown = append(unknown, pgno)
		}
	}
	if len(unknown) > 1 {
		s.Ahead(unknown)
	}
}

// node reads a page of a b-tree.
func (s *side) node(ctx context.Context, pgno uint32) (btree.Page, error) {
	if pgno == 0 || pgno > s.Commit {
		return btree.Page{}, fmt.Errorf("%w: a tree has page %d, and the database %d pages", errs.ErrCorrupt, pgno, s.Commit)
	}
	data, err := s.page(ctx, pgno)
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
	s.ahead(pgnos)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.width)
	for i, pgno := range pgnos {
		g.Go(func() error {
			data, err := s.page(ctx, pgno)
			if err == nil {
				err = fn(i, data)
			}
			return err
		})
	}
	return g.Wait()
}

// reader reads the rows of some parts of a tree.
type reader struct {
	*side
	t        *table
	overflow *view.Bitmap // pages of overflow chains are added
	suspects *view.Bitmap // rows with such pages are marked
}

// aheadBatches is how many batches of leaves are fetched together.
const aheadBatches = 4

// pagesOf returns the pages of parts.
func pagesOf(parts []part) (pgnos []uint32) {
	for _, p := range parts {
		if len(pgnos) == 0 || pgnos[len(pgnos)-1] != p.pgno {
			pgnos = append(pgnos, p.pgno)
		}
	}
	return pgnos
}

// rows returns the rows of parts in their order. As many parts are read at a time as
// the side allows.
func (r *reader) rows(ctx context.Context, parts []part) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		chains := view.NewBitmap(r.Commit) // pages of overflow chains
		for from := 0; from < len(parts); from += r.width {
			if from%(aheadBatches*r.width) == 0 {
				r.ahead(pagesOf(parts[from:min(from+aheadBatches*r.width, len(parts))]))
			}
			cells, err := r.cells(ctx, parts[from:min(from+r.width, len(parts))])
			for len(cells) > 0 && err == nil {
				var rows []row
				if rows, cells, err = r.some(ctx, cells, chains); err != nil {
					break
				}
				for _, row := range rows {
					if !yield(row, nil) {
						return
					}
				}
			}
			if err != nil {
				yield(row{}, err)
				return
			}
		}
	}
}

// cell is a cell of a page that has a row.
type cell struct {
	btree.Page
	pgno uint32
	i    int
}

// cells reads the pages of parts, and returns their cells.
func (r *reader) cells(ctx context.Context, parts []part) (all []cell, err error) {
	pgnos := pagesOf(parts)
	nodes, err := r.nodes(ctx, pgnos)
	if err != nil {
		return nil, err
	}
	k := 0
	for _, p := range parts {
		if p.pgno != pgnos[k] {
			k++
		}
		n := nodes[k]
		switch {
		case p.cell != wholePage:
			all = append(all, cell{n, p.pgno, int(p.cell)})
			continue
		case n.Kind().IsInterior():
			return nil, fmt.Errorf("%w: table %s: page %d is no leaf", errs.ErrCorrupt, r.t.name, p.pgno)
		}
		for i := range n.Cells() {
			all = append(all, cell{n, p.pgno, i})
		}
	}
	return all, nil
}

// maxRecords bounds the records that are read at a time, in bytes, unless a single
// one is larger.
const maxRecords = 8 << 20

// some returns the rows of the first of some cells, and the other cells.
func (r *reader) some(ctx context.Context, cells []cell, chains *view.Bitmap) (rows []row, rest []cell, err error) {
	n, size := 0, 0
	for n < len(cells) && (n == 0 || size < maxRecords) {
		_, bytes, _, _ := cells[n].Record(cells[n].i)
		size += bytes
		n++
	}
	rows = make([]row, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.width)
	for i, c := range cells[:n] {
		read := func() (err error) {
			if rows[i], err = r.row(ctx, c, chains); err != nil {
				return fmt.Errorf("table %s, page %d, cell %d: %w", r.t.name, c.pgno, c.i, err)
			}
			return nil
		}
		if _, _, overflow, _ := c.Record(c.i); overflow != 0 {
			g.Go(read)
		} else if err = read(); err != nil {
			break
		}
	}
	if problem := g.Wait(); err == nil {
		err = problem
	}
	return rows, cells[n:], err
}

func (r *reader) row(ctx context.Context, c cell, chains *view.Bitmap) (one row, err error) {
	local, size, overflow, ok := c.Record(c.i)
	if !ok {
		return one, fmt.Errorf("%w: it has no record", errs.ErrCorrupt)
	}
	if one.rec, one.suspect, err = r.record(ctx, local, size, overflow, chains); err != nil {
		return one, err
	}
	if r.t.key != nil {
		return one, r.t.setKey(&one)
	}
	if one.rowid, ok = c.Rowid(c.i); !ok {
		return one, fmt.Errorf("%w: it has no rowid", errs.ErrCorrupt)
	}
	return one, nil
}

// record returns a whole record, with its overflow pages, and whether one of these
// is a suspect. No two chains have a page in common.
func (r *reader) record(ctx context.Context, local []byte, size int, overflow uint32, chains *view.Bitmap) (rec []byte, suspect bool, err error) {
	if int64(size) > int64(r.Commit)*int64(r.usable) {
		return nil, false, fmt.Errorf("%w: it has %d bytes, more than the database", errs.ErrCorrupt, size)
	}
	rec = append(make([]byte, 0, len(local)), local...)
	for pgno := overflow; len(rec) < size; {
		if pgno == 0 || pgno > r.Commit {
			return nil, false, fmt.Errorf("%w: its overflow chain leads to page %d", errs.ErrCorrupt, pgno)
		}
		if !chains.Set(pgno) {
			return nil, false, fmt.Errorf("%w: page %d is in an overflow chain twice", errs.ErrCorrupt, pgno)
		}
		data, err := r.page(ctx, pgno)
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
