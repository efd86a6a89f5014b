package litestream

import (
	"context"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/owners"
	"github.com/ltxvfs/litestream/internal/pages"
)

// HydrationMap tells which pages of a database are in its local file. It divides the
// pages into cells: cell i has the pages from i*PagesPerCell+1 on.
type HydrationMap struct {
	TXID         ltx.TXID `json:"txid"`  // state whose pages are meant
	Pages        uint32   `json:"pages"` // of that state; 0 while there is no local file
	PagesPerCell uint32   `json:"pages_per_cell"`

	// Local has for each cell how many of its pages are local. Pages that do not
	// exist, because nothing was ever written to them, are not. If another process
	// owns the local file, the numbers are estimates for databases of more than a
	// million pages.
	Local []uint32 `json:"local"`

	// Owners has for each cell the table or index that most of its pages belong to,
	// as an index in Names, and -1 if that is not known. It is known from pages that
	// are local, so it becomes complete as the database does. Overflow chains of large
	// rows and free pages remain unknown.
	Owners []int    `json:"owners"`
	Names  []string `json:"names"`
}

// maxCells is how many cells a HydrationMap has at most.
const maxCells = 1 << 16

// HydrationMap returns which pages of a database are in its local file, in at most
// cells cells, which has to be from 1 to 65536. It makes no request. The name is the
// file name under which the database was opened, or the URL of its replica. If it is
// not open, HydrationMap opens it. The map of a database without a local file is
// empty. HydrationMap is safe for concurrent use.
func (v *VFS) HydrationMap(ctx context.Context, name string, cells int) (m HydrationMap, err error) {
	if cells < 1 || cells > maxCells {
		return m, fmt.Errorf("hydration map of %s: %d cells, want 1 to %d", shownName(name), cells, maxCells)
	}
	err = v.with(ctx, name, func(db *database) error {
		m = hydrationMap(db.hydrator, cells)
		return nil
	})
	return m, err
}

// hydrationMap returns which pages a hydrator has. It may be nil.
func hydrationMap(h *hydrate.Hydrator, cells int) HydrationMap {
	c := h.Cells(cells)
	if c.View == nil {
		return HydrationMap{}
	}
	m := HydrationMap{TXID: c.View.TXID, Pages: c.View.Commit, PagesPerCell: c.PerCell, Local: c.Local, Owners: make([]int, len(c.Local))}
	votes := make([]int32, len(c.Local))
	for i := range m.Owners {
		m.Owners[i] = -1
	}
	trees := owners.Find(func(pgno uint32) []byte {
		loc, ok := c.View.Lookup(pgno)
		if !ok {
			return nil
		}
		return h.Tier.Peek(pages.Key{Version: loc.Version, Pgno: pgno, Epoch: c.View.Epoch})
	}, m.Pages, func(pgno uint32, tree int) {
		// The vote of a majority needs one candidate for each cell, not a count for
		// each tree.
		switch i := (pgno - 1) / m.PagesPerCell; {
		case votes[i] == 0:
			m.Owners[i], votes[i] = tree, 1
		case m.Owners[i] == tree:
			votes[i]++
		default:
			votes[i]--
		}
	})
	for _, t := range trees {
		m.Names = append(m.Names, t.Name)
	}
	return m
}
