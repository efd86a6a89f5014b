package rowdiff

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// inPlace compares the rows of unchanged leaves whose overflow pages have changed.
func (d *differ) inPlace(ctx context.Context) error {
	suspects, n, err := d.suspects(ctx)
	if err != nil || n == 0 {
		return err
	}
	for _, k := range d.kept {
		trees, err := d.walk(ctx, k, nil, d.opts.Differs)
		if err != nil {
			return fmt.Errorf("table %s: %w", k.new.name, err)
		}
		_, same := trees.new.split()
		after := d.reader(d.new, k.new, suspects)
		before := d.reader(d.old, k.old, nil)
		for from := 0; from < len(same); from += d.opts.Width {
			batch := same[from:min(from+d.opts.Width, len(same))]
			hit := false
			for r, err := range after.rows(ctx, batch) {
				if err != nil {
					return err
				}
				hit = hit || r.suspect
			}
			if hit {
				if err := d.merge(k.old, k.new, before.rows(ctx, batch), after.rows(ctx, batch)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// suspects returns the pages that differ and that nothing explains. They may be
// overflow pages that were changed in place.
func (d *differ) suspects(ctx context.Context) (set *view.Bitmap, n int, err error) {
	end := min(d.old.Commit, d.new.Commit) // an overflow page that was changed in place is in both
	var doubtful []uint32
	d.opts.Each(func(pgno uint32) {
		if pgno <= end && !d.old.seen.Has(pgno) && !d.new.seen.Has(pgno) && !d.overflow.Has(pgno) && !d.new.isPointerMap(pgno) {
			doubtful = append(doubtful, pgno)
		}
	})
	// The cheaper rule first: these pages were read already, or the free list has
	// a thousand pages on each of its own.
	rules := []func(context.Context, []uint32) ([]uint32, error){d.notFree, d.new.notOfTrees}
	if d.new.known != nil {
		slices.Reverse(rules)
	}
	for _, rule := range rules {
		if len(doubtful) == 0 {
			break
		}
		if doubtful, err = rule(ctx, doubtful); err != nil {
			return nil, 0, err
		}
	}
	set = view.NewBitmap(end)
	for _, pgno := range doubtful {
		set.Set(pgno)
	}
	return set, len(doubtful), nil
}

// notFree returns the pages that are free in neither state.
func (d *differ) notFree(ctx context.Context, pgnos []uint32) ([]uint32, error) {
	free := view.NewBitmap(max(d.old.Commit, d.new.Commit))
	for _, s := range []*side{d.old, d.new} {
		if err := s.freePages(ctx, free); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(pgnos, free.Has), nil
}

// freePages adds the pages of the free list to a set.
func (s *side) freePages(ctx context.Context, free *view.Bitmap) error {
	one, err := s.page(ctx, 1)
	if err != nil {
		return err
	}
	trunks := view.NewBitmap(s.Commit)
	for pgno := binary.BigEndian.Uint32(one[32:]); pgno != 0; {
		if pgno > s.Commit || !trunks.Set(pgno) {
			return fmt.Errorf("%w: the free list leads to page %d", errs.ErrCorrupt, pgno)
		}
		data, err := s.page(ctx, pgno)
		if err != nil {
			return err
		}
		free.Set(pgno)
		n := binary.BigEndian.Uint32(data[4:])
		if uint64(n)*4+8 > uint64(s.usable) {
			return fmt.Errorf("%w: page %d of the free list has %d entries", errs.ErrCorrupt, pgno, n)
		}
		for i := range n {
			free.Set(binary.BigEndian.Uint32(data[8+4*i:]))
		}
		pgno = binary.BigEndian.Uint32(data)
	}
	return nil
}

// isPointerMap reports whether a page after the first one is one of the pointer map of a
// database with auto_vacuum.
func (s *side) isPointerMap(pgno uint32) bool {
	return s.autoVacuum && (pgno-2)%(uint32(s.usable)/5+1) == 0
}

// notOfTrees returns the pages that are not pages of trees. In databases of 2^25
// pages and more, an overflow page can look like one.
func (s *side) notOfTrees(ctx context.Context, pgnos []uint32) ([]uint32, error) {
	if s.Commit >= 1<<25 {
		return pgnos, nil
	}
	is := make([]bool, len(pgnos))
	err := s.each(ctx, pgnos, func(i int, data []byte) error {
		_, is[i] = btree.Parse(data, pgnos[i], s.usable)
		return nil
	})
	var rest []uint32
	for i, pgno := range pgnos {
		if !is[i] {
			rest = append(rest, pgno)
		}
	}
	return rest, err
}
