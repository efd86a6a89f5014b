package pages

import "github.com/ltxvfs/litestream/internal/view"

// region is a set of pages that rows are looked up in: the leaves of a tree or, if
// these lie apart, the frames of a file. Only the part that the misses lie in counts.
type region struct {
	root uint32     // of the tree; 0: the region is a file
	file *view.File // nil: the region is a tree

	use         regionUse
	least, most float64 // positions of the first and the last miss in the tree or file, 0 to 1
	pages       float64 // how many pages the region has, about
	misses      int
	wide        int   // misses since the first body
	bytes       int64 // of the frames of the misses

	depth    int     // of the leaves of the tree
	unread   pageSet // fetched in bodies, and not read yet
	hits     int     // reads of such pages
	expected float64 // how many hits there would be if lookups were spread evenly
}

// regionUse tells what is known of the lookups in a region.
type regionUse uint8

const (
	goesOn    regionUse = iota
	scattered           // the leaves of the tree lie apart, so the file takes its place
	inVain              // what was fetched is not read
)

func (u regionUse) String() string { return [...]string{"goes on", "scattered", "in vain"}[u] }

// looked notes that a row of the region was looked up.
func (r *region) looked() {
	if r.pages > 0 {
		r.expected += min(1, float64(r.unread.n)/r.pages)
	}
	if r.expected > maxVain+vainShare*float64(r.hits) {
		r.use = inVain
	}
}

// missed notes a miss of a page at a position of a tree or file of so many pages.
func (r *region) missed(pgno uint32, size uint32, at, pages float64) {
	r.looked()
	r.unread.remove(pgno) // it was dropped
	if r.misses == 0 {
		r.least, r.most = at, at
	}
	r.least, r.most = min(r.least, at), max(r.most, at)
	if r.misses++; r.misses > 1 {
		// Of n positions, the outermost are (n-1)/(n+1) of the range apart on average.
		n := float64(r.misses)
		pages *= min(1, (r.most-r.least)*(n+1)/(n-1))
	}
	r.pages = max(1, pages)
	r.bytes += int64(size)
	if r.unread.n > 0 {
		r.wide++
	}
}

// frameSize returns the size of a frame of the region, about.
func (r *region) frameSize() int64 { return max(1, r.bytes/int64(r.misses)) }

// isDue reports whether the misses have cost the time in which the region can be
// read, if a miss costs that of reading so many bytes.
func (r *region) isDue(free int64) bool {
	return float64(r.misses)*float64(free) >= r.pages*float64(r.frameSize())
}

// patience returns after how many lookups a body of so many pages is stale.
func (r *region) patience(p *Predictor, n int) int64 {
	if p.pages.local.Needs() == NeedsPages {
		return -1 // the local file has the pages by then
	}
	return int64(staleAfter * r.pages / float64(n))
}

// room returns how many pages are fetched next, 0 if that does not help.
func (r *region) room(p *Predictor, free int64) int {
	s, size := p.pages.bodies, r.frameSize()+frameOverhead
	covers := float64(s.most)*minCover >= r.pages*float64(size)
	pays := r.wide > 0 && r.hits >= r.wide
	if !covers && !pays && p.pages.local.Needs() == NeedsNothing {
		return 0
	}
	most := min(free, s.most/4)
	room := s.room() / 2 // gaps are as large as what they lie between, at most
	if room < most/4 {
		return 0 // small bodies would take a request each
	}
	return int(min(most, room) / size)
}
