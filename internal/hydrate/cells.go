package hydrate

import (
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
)

// Cells tells where in a view the local pages are. Cell i is about PerCell pages, from
// page i*PerCell+1 on.
type Cells struct {
	View    *view.View // nil: there is no local file, or it has no pages yet
	PerCell uint32
	Local   []uint32 // for each cell, its local pages
}

// maxCellChecks is how many pages of a file that another process owns are looked at
// for one Cells. Of more pages, every n-th one is.
const maxCellChecks = 1 << 20

// Cells returns where the local pages are, in at most n cells. Of a file that another
// process owns, the counts are estimates if the view has very many pages. A nil
// hydrator has no local pages.
func (h *Hydrator) Cells(n int) Cells {
	if h == nil || n < 1 {
		return Cells{}
	}
	if l := h.local(); l != nil {
		return l.cells(n)
	}
	if l := h.Tier.lent.Load(); l != nil {
		return l.cells(n, maxCellChecks)
	}
	return Cells{}
}

// newCells returns at most n cells for a view.
func newCells(v *view.View, n int) Cells {
	commit := uint64(v.Commit)
	perCell := max(1, (commit+uint64(n)-1)/uint64(n))
	return Cells{View: v, PerCell: uint32(perCell), Local: make([]uint32, (commit+perCell-1)/perCell)}
}

// bounds returns the first and the last page of a cell.
func (c *Cells) bounds(i int) (first, last uint32) {
	from := uint64(i) * uint64(c.PerCell)
	return uint32(from + 1), uint32(min(from+uint64(c.PerCell), uint64(c.View.Commit)))
}

// cells counts the pages that are here.
func (l *localPages) cells(n int) Cells {
	held := l.held.Load()
	if held == nil {
		return Cells{}
	}
	c := newCells(held.view, n)
	for i := range c.Local {
		c.Local[i] = held.present.Count(c.bounds(i))
	}
	return c
}

// cells counts the pages of the newest view that are here. It looks at about as many
// pages as checks says.
func (l *lentPages) cells(n int, checks uint64) Cells {
	v := l.views.Current.Load()
	c := newCells(v, n)
	step := max(1, uint64(v.Commit)/checks)
	for i := range c.Local {
		first, last := c.bounds(i)
		looked, found := uint64(0), uint64(0)
		for pgno := uint64(first); pgno <= uint64(last); pgno += step {
			looked++
			if loc, ok := v.Lookup(uint32(pgno)); ok && l.hasKey(pages.Key{Version: loc.Version, Pgno: uint32(pgno), Epoch: v.Epoch}) {
				found++
			}
		}
		if looked > 0 {
			c.Local[i] = uint32(found * uint64(last-first+1) / looked)
		}
	}
	return c
}
