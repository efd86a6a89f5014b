package rowdiff

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
)

// A page of a tree that differs lies below those pages whose range has its keys. So
// if the pages that differ are read first, their keys lead to them: of a large tree,
// only the pages above them are read. A key that leads nowhere, because its page is
// of another table, costs a read and nothing else.

// readKnown reads the pages that differ, if there are few.
func (d *differ) readKnown(ctx context.Context) error {
	most := d.opts.Known / 2 / d.new.usable
	var pgnos []uint32
	n := 0
	d.opts.Each(func(pgno uint32) {
		if n++; n <= most {
			pgnos = append(pgnos, pgno)
		}
	})
	if n > most {
		return nil
	}
	return both(ctx, func(ctx context.Context, isOld bool) error {
		s := d.new
		if isOld {
			s = d.old
		}
		has := slices.DeleteFunc(slices.Clone(pgnos), func(pgno uint32) bool { return pgno > s.Commit })
		all := make([][]byte, len(has))
		err := s.each(ctx, has, func(i int, data []byte) error {
			all[i] = data
			return nil
		})
		if err != nil {
			return err
		}
		s.known = make(map[uint32][]byte, len(has))
		for i, pgno := range has {
			s.known[pgno] = all[i]
		}
		return nil
	})
}

// marks are keys of pages that differ, in the order of a table. Nil marks mean that
// any page may differ.
type marks struct {
	t    *table
	e    encoding
	rows []row // only the keys
}

// marksOf returns the marks for a table. Pages of trees that were looked at are left
// out.
func (d *differ) marksOf(t *table) *marks {
	if d.old.known == nil || d.new.known == nil || !t.isOrdered() {
		return nil
	}
	m := &marks{t: t, e: d.new.encoding}
	for _, s := range []*side{d.old, d.new} {
		for pgno, data := range s.known {
			if s.seen.Has(pgno) {
				continue
			}
			if n, ok := btree.Parse(data, pgno, s.usable); ok && !m.add(n) {
				return nil
			}
		}
	}
	slices.SortFunc(m.rows, func(a, b row) int { return t.compare(a, b, m.e) })
	return m
}

// add adds keys of a page, if it may be one of the table. It reports false if it
// needs pages of an overflow chain for that. One key would do, and the others are for
// pages that are damaged.
func (m *marks) add(n btree.Page) bool {
	isIndex := n.Kind() == btree.InteriorIndex || n.Kind() == btree.LeafIndex
	if isIndex != (m.t.key != nil) {
		return true
	}
	last := n.Cells() - 1
	for _, i := range slices.Compact([]int{0, last / 2, last}) {
		if i < 0 {
			continue
		}
		key, isLocal := m.key(n, i)
		switch {
		case !isLocal:
			return false
		case key != nil:
			m.rows = append(m.rows, *key)
		}
	}
	return true
}

// key returns the key of a cell, nil if the cell has none. It reports false if the
// key is not on the page as a whole.
func (m *marks) key(n btree.Page, i int) (key *row, isLocal bool) {
	if m.t.key == nil {
		rowid, ok := n.Rowid(i)
		if !ok {
			return nil, true
		}
		return &row{rowid: rowid}, true
	}
	local, _, overflow, ok := n.Record(i)
	if !ok {
		return nil, true
	}
	r := new(row)
	btree.Columns(local, func(serial uint64, value []byte) bool {
		r.key = append(r.key, field{serial, value})
		return len(r.key) < len(m.t.key)
	})
	if len(r.key) < len(m.t.key) {
		return nil, overflow == 0
	}
	return r, true
}

// all returns the span of all marks.
func (m *marks) all() span {
	if m == nil {
		return span{}
	}
	return span{0, int32(len(m.rows))}
}

// below returns a function that tells which of the marks below an interior page lie
// below its children.
func (m *marks) below(n btree.Page, p part) (func(child int) span, error) {
	if m == nil || p.marks.isEmpty() {
		return func(int) span { return span{} }, nil
	}
	ends := make([]int32, 0, n.Cells()) // of the marks up to each cell
	rows := m.rows[p.marks.first:p.marks.end]
	var last *row
	for i := range n.Cells() {
		key, isLocal := m.key(n, i)
		switch {
		case !isLocal:
			return func(int) span { return p.marks }, nil
		case key == nil:
			return nil, fmt.Errorf("%w: page %d, cell %d has no key", errs.ErrCorrupt, p.pgno, i)
		case last != nil && m.t.compare(*last, *key, m.e) >= 0:
			return nil, fmt.Errorf("%w: the keys of page %d are not in order", errs.ErrCorrupt, p.pgno)
		}
		last = key
		end := sort.Search(len(rows), func(k int) bool { return m.t.compare(rows[k], *key, m.e) > 0 })
		ends = append(ends, p.marks.first+int32(end))
	}
	return func(child int) span {
		s := p.marks
		if child > 0 {
			s.first = ends[child-1]
		}
		if child < len(ends) {
			s.end = ends[child]
		}
		return s
	}, nil
}
