package dashboard

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ltxvfs/litestream"
)

// mapData is which pages of a database are local. Fill and Owners have a character for
// each cell.
type mapData struct {
	Pages   int64    `json:"pages"` // 0: there is no map
	PerCell int64    `json:"per_cell"`
	Fill    string   `json:"fill"`   // 0: none of its pages is local; 9: all; in between: some
	Owners  string   `json:"owners"` // index in Names; -: another table or index; .: not known
	Names   []string `json:"names"`  // of the largest tables and indexes, in the order of the schema
}

const (
	maxMapCells  = 2048
	maxMapOwners = 8

	// mapAge is how old a map may be that is shown. Several browsers share one.
	mapAge = time.Second
)

// mapOf returns the map of a database.
func (p *page) mapOf(ctx context.Context, now time.Time, o *opened) mapData {
	if !o.stats.Hydration.Enabled {
		return mapData{}
	}
	if m, ok := p.maps.get(o.id, now.Add(-mapAge)); ok {
		return m
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second) // it may have been closed just now, and be opened again
	defer cancel()
	m, err := o.vfs.HydrationMap(ctx, o.name(), maxMapCells)
	if err != nil {
		return mapData{}
	}
	drawn := draw(&m, o.stats.Hydration.Status == litestream.HydrationComplete)
	p.maps.put(o.id, now, drawn)
	return drawn
}

// draw returns a map as the page draws it. In a complete copy, pages that are not
// local do not exist.
func draw(m *litestream.HydrationMap, complete bool) mapData {
	d := mapData{Pages: int64(m.Pages), PerCell: int64(m.PagesPerCell), Names: []string{}}
	cells := make([]int, len(m.Names))
	for _, owner := range m.Owners {
		if owner >= 0 {
			cells[owner]++
		}
	}
	var largest []int
	for i, n := range cells {
		if n > 0 {
			largest = append(largest, i)
		}
	}
	slices.SortStableFunc(largest, func(a, b int) int { return cmp.Compare(cells[b], cells[a]) })
	largest = largest[:min(len(largest), maxMapOwners)]
	slices.Sort(largest) // in the order of the schema, so that colours stay while the map fills
	for _, i := range largest {
		d.Names = append(d.Names, m.Names[i])
	}
	fill, owners := make([]byte, len(m.Local)), make([]byte, len(m.Local))
	for i, n := range m.Local {
		first := uint64(i) * uint64(m.PagesPerCell)
		size := min(uint64(m.PagesPerCell), uint64(m.Pages)-first)
		switch {
		case complete || uint64(n) >= size:
			fill[i] = '9'
		case n == 0:
			fill[i] = '0'
		default:
			fill[i] = '1' + byte(8*uint64(n)/(size+1))
		}
		owners[i] = '.'
		if m.Owners[i] >= 0 {
			owners[i] = '-'
			if k := slices.Index(largest, m.Owners[i]); k >= 0 {
				owners[i] = '0' + byte(k)
			}
		}
	}
	d.Fill, d.Owners = string(fill), string(owners)
	return d
}
