package pages

import (
	"cmp"
	"slices"

	"github.com/ltxvfs/litestream/internal/view"
)

// neighbours are pages near one that was missed.
type neighbours struct {
	*Predictor
	most  int // how many are wanted
	wants []want
}

// add adds a page unless it is known.
func (n *neighbours) add(pgno uint32) {
	loc, ok := n.view.Lookup(pgno)
	if !ok || loc.File.Segment != nil || !loc.IsUsable() {
		return
	}
	if key := (Key{loc.Version, pgno, n.view.Epoch}); !n.pages.isKnown(key) {
		n.wants = append(n.wants, want{key: key, loc: loc})
	}
}

// leaves adds the leaves on both sides of a place.
func (n *neighbours) leaves(w treeWalk, at place) {
	left, right := at, at
	var ok [2]bool
	ok[0], ok[1] = true, true
	for looks := maxLooks * n.most; looks > 0 && len(n.wants) < n.most && (ok[0] || ok[1]); looks-- {
		if ok[1] {
			if right, _, ok[1] = w.beside(right, 1); ok[1] {
				n.add(right.pgno())
			}
		}
		if ok[0] {
			if left, _, ok[0] = w.beside(left, -1); ok[0] {
				n.add(left.pgno())
			}
		}
	}
}

// frames adds the pages of a file on both sides of one.
func (n *neighbours) frames(pgno uint32, file *view.File) {
	add := func(pgno uint32) {
		if loc, ok := n.view.Lookup(pgno); ok && loc.File == file {
			n.add(pgno)
		}
	}
	for i := uint32(1); i < uint32(maxLooks*n.most) && len(n.wants) < n.most; i++ {
		if pgno > i {
			add(pgno - i)
		}
		if pgno+i <= n.view.Commit && pgno+i > i {
			add(pgno + i)
		}
	}
}

// lieTogether reports whether few requests get most of the pages.
func (n *neighbours) lieTogether() bool {
	useful := 0
	for _, wants := range stretches(n.wants) {
		useful += len(wants)
	}
	return 2*useful >= len(n.wants)
}

// stretches groups pages that lie near each other in a file, so that gaps are at most
// half of what is read. It returns the longest groups, and sorts wants.
func stretches(wants []want) (all [][]want) {
	slices.SortFunc(wants, func(a, b want) int {
		return cmp.Or(cmp.Compare(a.loc.File.Level, b.loc.File.Level), cmp.Compare(a.loc.File.MinTXID, b.loc.File.MinTXID),
			cmp.Compare(a.loc.File.MaxTXID, b.loc.File.MaxTXID), cmp.Compare(a.loc.Offset, b.loc.Offset))
	})
	first, useful := 0, int64(0)
	for i, w := range wants {
		useful += int64(w.loc.Size)
		if i+1 < len(wants) {
			next := wants[i+1]
			near := next.loc.File == w.loc.File && next.loc.Offset-w.end() <= maxHole
			if near && 2*(useful+int64(next.loc.Size)) >= next.end()-wants[first].loc.Offset {
				continue
			}
		}
		if i+1-first >= minBody {
			all = append(all, wants[first:i+1])
		}
		first, useful = i+1, 0
	}
	slices.SortStableFunc(all, func(a, b []want) int { return cmp.Compare(len(b), len(a)) })
	return all[:min(len(all), maxBodies)]
}
