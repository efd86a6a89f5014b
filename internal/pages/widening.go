package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/view"
)

// A widening fetches the neighbours of rows that a transaction looks up at random,
// once it has looked up so many that it would have been cheaper to fetch all rows.
// It belongs to the predictor of one connection, and is dropped with the
// transaction.
//
// A lookup that is missed costs the latency of a request. In that time, Speed.Free
// bytes can be read. When the misses in a tree have cost as much time as reading
// the tree takes, the transaction is likely to go on for as long again, and then
// reading the tree costs at most what was spent already. So a widening at most
// doubles what a transaction waits for, and one that goes on is spared the rest of
// the requests.
type widening struct {
	regions []*region // the one used last comes first
	lone    uint32    // page that was missed last, if no scan explains it
	joined  bool      // bodies may have pages for this connection
}

const (
	maxRegions = 8

	// minMisses is how many lookups must be missed before any is widened where a
	// local file keeps what comes, and minPassing where it is lost with the
	// transaction: joins and reports of some 200 rows fetch what they need.
	minMisses  = 16
	minPassing = 224

	// minFree is how many bytes must come in the time of a request for that to be
	// worth while.
	minFree = 64 << 10

	// minCover is which part of a region the bodies must have room for, as a
	// divisor: lookups elsewhere are missed all the same.
	minCover = 2

	// maxVain is how many hits may fail to come, and vainShare which part of those
	// that are expected, as a divisor.
	maxVain   = 8
	vainShare = 2

	// staleAfter is after how many times the lookups that would hit a body once, if
	// they were spread evenly, a body without hits is dropped for another one. The
	// lookups of all trees count.
	staleAfter = 8

	// maxBodies is how many requests a miss leads to, and minBody how many pages
	// each has at least.
	maxBodies = 4
	minBody   = 8

	// maxHole is the largest gap between two pages of a body, bytes.
	maxHole = 16 << 10

	// maxLooks is how many neighbours are looked at for each that is fetched.
	maxLooks = 4
)

// region returns a region, which becomes the first one.
func (p *widening) region(root uint32, file *view.File) *region {
	i := slices.IndexFunc(p.regions, func(r *region) bool { return r.root == root && r.file == file })
	r := &region{root: root, file: file}
	if i >= 0 {
		r = p.regions[i]
		p.regions = slices.Delete(p.regions, i, i+1)
	}
	p.regions = slices.Insert(p.regions[:min(len(p.regions), maxRegions-1)], 0, r)
	return r
}

// hit notes that a page was read without a request.
func (p *widening) hit(b *bodies, pgno uint32) {
	if !p.joined {
		return
	}
	for _, r := range p.regions {
		if r.unread.has(pgno) {
			b.clock.Add(1)
			r.looked()
			r.unread.remove(pgno)
			r.hits++
			return
		}
	}
}

// end ends the use of the bodies.
func (p *widening) end(b *bodies) {
	if p.joined {
		b.leave()
	}
	*p = widening{}
}

// relearn looks for a leaf in the trees of the regions, by its first key. The map of
// parents does not have all leaves of a large tree.
func (p *Predictor) relearn(w treeWalk, pgno uint32, page []byte) {
	leaf, _ := p.pages.trees.parse(pgno, page)
	key, ok := leaf.Key(0)
	if leaf.Kind() == btree.LeafTable {
		key, ok = leaf.Value(0, btree.Rowid)
	}
	if !ok {
		return
	}
	for _, r := range p.wide.regions {
		if r.root == 0 || w.target(r.root, r.depth, key) != pgno {
			continue
		}
		if parent, ok := w.page(w.target(r.root, r.depth-1, key)); ok {
			p.pages.trees.add(w.target(r.root, r.depth-1, key), parent)
		}
		return
	}
}

// widen fetches neighbours of a leaf that was missed, if it is one of many.
func (p *Predictor) widen(pgno uint32, page []byte) {
	free := p.pages.store.Speed.Free()
	loc, ok := p.view.Lookup(pgno)
	if !ok || loc.File.Segment != nil || !p.pages.widens() {
		return
	}
	w := p.walk()
	if _, ok := w.place(pgno); !ok {
		p.relearn(w, pgno, page)
	}
	leaf := w.leaf(pgno)
	if leaf.depth == 0 {
		return
	}
	p.pages.bodies.clock.Add(1)
	file, tree := p.wide.region(0, loc.File), p.wide.region(leaf.root, nil)
	tree.depth = leaf.depth
	tree.missed(pgno, loc.Size, leaf.at, leaf.leaves)
	file.missed(pgno, loc.Size, float64(loc.Offset)/float64(loc.File.Size), float64(loc.File.Frames))
	if free < minFree {
		return
	}
	least := minPassing
	if p.pages.local.Needs() == NeedsPages {
		least = minMisses
	}
	if tree.use == goesOn && tree.misses >= least && tree.isDue(free) {
		if at, ok := w.place(pgno); ok {
			near := neighbours{p, tree.room(p, free), nil}
			near.leaves(w, at)
			if tree.wide == 0 && !near.lieTogether() { // later, what is left lies apart
				tree.use = scattered
			} else {
				p.fetchBodies(tree, near.wants)
			}
		}
	}
	if tree.use == scattered && file.use == goesOn && file.misses >= least && file.isDue(free) {
		near := neighbours{p, file.room(p, free), nil}
		near.frames(pgno, loc.File)
		p.fetchBodies(file, near.wants)
	}
}

// fetchBodies begins to fetch pages of a region.
func (p *Predictor) fetchBodies(r *region, wants []want) {
	for _, wants := range stretches(wants) {
		if !p.wide.joined {
			p.pages.bodies.join()
			p.wide.joined = true
		}
		b := newBody(slices.Clone(wants), r.patience(p, len(wants)))
		if p.pages.bodies.add(b) && p.fetchBody(p.view, b) {
			for _, w := range b.wants {
				r.unread.add(w.key.Pgno)
			}
		}
	}
}

// noteLeaf widens the lookup of a leaf, if it was one.
func (p *Predictor) noteLeaf(pgno uint32, page []byte) {
	if p.wide.lone == pgno && btree.IsLeaf(page) {
		p.widen(pgno, page)
	}
	p.wide.lone = 0
}
