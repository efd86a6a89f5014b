package pages

import (
	"iter"
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
)

// joins is what the reads of a transaction tell of the trees that SQLite goes
// through in nested loops. It is bounded. It belongs to one connection.
type joins struct {
	links []*link     // the one learned last comes first
	trees []treeReads // the one read last comes first
	seen  recentSet   // leaves that were read since shortly before the first miss, as far as SQLite may have them in its own cache

	vain  int                     // misses since the last that nested loops explain
	lists func() [][]btree.Value  // of the statement that runs; nil: not known
	words func() iter.Seq[string] // of the statement that runs; nil: not known

	work int // columns that may still be looked at for the present miss

	fresh [64]uint32 // leaves that were read and are not in trees yet, a ring
	n     int        // number of leaves read since the last fold
}

// treeReads is what was read of a tree.
type treeReads struct {
	root   uint32
	leaves [treeLeaves]uint32 // read last, in successive order; the newest comes first, 0 if there is none
	dir    int                // in which the rows were gone through last; 0 if that is not known
	tries  int                // how often no link to the tree was found
	runsOn bool               // from the entries with one key, SQLite goes on to those with the next
}

const (
	// treeLeaves is how many leaves of a tree are remembered in the order in which
	// they were read: a full-text index reads one of each of its segments, and then
	// rows that all of them list. If SQLite goes through one tree in several loops,
	// the leaf of an outer loop is among the first outerLeaves.
	treeLeaves  = 32
	outerLeaves = 4

	maxLinks = 16
	maxTrees = 16

	alwaysDue = 32
	dueEvery  = 8

	// rowsBack is how many rows of the outermost loop may have led to a page and
	// the one before it, if the reader has not left a trace of them.
	rowsBack = 4

	// maxPatience is how many arrivals in a tree are left unexplained while more than
	// one explanation fits.
	maxPatience = 1

	// rowsAhead is how many rows are looked at for one that leads to a page.
	rowsAhead = 64

	// maxWork bounds the columns that are looked at to explain one miss, which takes
	// some milliseconds. A row counts as rowWork columns more, and a search for a
	// key as searchWork.
	maxWork    = 1 << 20
	rowWork    = 4
	searchWork = 64
)

// reset forgets everything but where the statement comes from.
func (j *joins) reset() { *j = joins{lists: j.lists, words: j.words} }

// isDue reports whether a miss is to be explained. That takes some microseconds,
// so after many misses without an explanation, few are looked at.
func (j *joins) isDue() bool {
	j.vain++
	return j.vain <= alwaysDue || j.vain%dueEvery == 0
}

// note notes that a leaf was read. A transaction that misses nothing costs no more
// than that.
func (j *joins) note(leaf uint32) {
	j.fresh[j.n%len(j.fresh)] = leaf
	j.n++
	if !j.seen.isEmpty() {
		j.seen.add(leaf)
	}
}

// fold sorts the leaves that were read by their trees.
func (j *joins) fold(w treeWalk) {
	for i := max(0, j.n-len(j.fresh)); i < j.n; i++ {
		leaf := j.fresh[i%len(j.fresh)]
		j.seen.add(leaf)
		root, _ := w.root(leaf)
		t := treeReads{root: root}
		if at := j.tree(root); at >= 0 {
			t = j.trees[at]
			j.trees = slices.Delete(j.trees, at, at+1)
		}
		if t.leaves[0] != leaf {
			copy(t.leaves[1:], t.leaves[:])
			t.leaves[0] = leaf
		}
		j.trees = slices.Insert(j.trees[:min(len(j.trees), maxTrees-1)], 0, t)
	}
	j.n = 0
}

// tree returns the index of a tree, -1 if nothing of it was read.
func (j *joins) tree(root uint32) int {
	return slices.IndexFunc(j.trees, func(t treeReads) bool { return t.root == root })
}

// isSeen reports whether a leaf was read.
func (j *joins) isSeen(leaf uint32) bool {
	return j.seen.has(leaf)
}

// leads reports whether rows of a tree to which a path leads lead to other rows.
func (j *joins) leads(root uint32, by path) bool {
	return slices.ContainsFunc(j.links, func(l *link) bool { return l.src == root && by.allows(l) })
}

// known returns the link that says the same as another, nil if none was learned.
func (j *joins) known(l *link) *link {
	if i := slices.IndexFunc(j.links, l.isSame); i >= 0 {
		return j.links[i]
	}
	return nil
}

// add adds a link, or allows one that is known more often on the way to a row. It
// reports whether that is new.
func (j *joins) add(l *link) bool {
	if known := j.known(l); known != nil {
		more := l.times > known.times
		known.times = max(known.times, l.times)
		return more
	}
	j.links = slices.Insert(j.links[:min(len(j.links), maxLinks-1)], 0, l)
	return true
}

// isWrong reports whether a link was learned, and found to be wrong.
func (j *joins) isWrong(l *link) bool {
	known := j.known(l)
	return known != nil && known.wrong
}
