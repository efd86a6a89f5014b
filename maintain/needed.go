package maintain

import (
	"cmp"
	"math"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

func compareTXIDs(a, b ltx.TXID) int { return cmp.Compare(a, b) }

// chains knows for each state of a replica the smallest number of files that give
// it, and which they are.
type chains struct {
	states []ltx.TXID      // those that the files give, in ascending order
	last   []*ltx.FileInfo // the last file of each state's chain
	before []int           // index of the state that the last file is applied to, -1: none
	least  minTree         // number of files of each chain
}

// newChains computes the chains of the states that files give.
func newChains(files []*ltx.FileInfo) *chains {
	c := &chains{states: momentsOf(files)}
	n := len(c.states)
	c.last, c.before, c.least = make([]*ltx.FileInfo, n), make([]int, n), newMinTree(n)
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int {
		// Of files that are as good, the one of the highest level comes last.
		return cmp.Or(cmp.Compare(a.MaxTXID, b.MaxTXID), cmp.Compare(a.Level, b.Level))
	})
	for _, f := range sorted {
		i, ok := slices.BinarySearch(c.states, f.MaxTXID)
		if !ok {
			continue
		}
		before, cost := c.under(f)
		if cost++; cost <= c.least.get(i) && cost < math.MaxInt32 {
			c.last[i], c.before[i] = f, before
			c.least.set(i, cost)
		}
	}
	return c
}

// under returns the state with the shortest chain that a file can be applied to,
// and the number of files of that chain. For a file that needs none, it is -1 and no
// file. If there is no such state, the number is large.
func (c *chains) under(f *ltx.FileInfo) (state, files int) {
	if f.MinTXID == 1 {
		return -1, 0
	}
	from, _ := slices.BinarySearch(c.states, f.MinTXID-1)
	to, _ := slices.BinarySearch(c.states, f.MaxTXID)
	return c.least.min(from, to)
}

// add adds the files of a state's chain to need.
func (c *chains) add(need map[view.Key]bool, state int) {
	for ; state >= 0; state = c.before[state] {
		key := view.KeyOf(c.last[state])
		if need[key] {
			return // and so the chain below it
		}
		need[key] = true
	}
}

// state returns the index of a state.
func (c *chains) state(txid ltx.TXID) (int, bool) { return slices.BinarySearch(c.states, txid) }

// topLevel is the highest level that Litestream merges files into by default.
const topLevel = 3

// neededFiles returns the files that stay so that some states can be restored and
// compaction can go on. These are:
//
//   - the files that give each state, as few of them as possible.
//   - the files that readers of the newest state use.
//   - the newest file of each level, because compaction continues after it.
//   - a file that ends before the newest one of level 0: see addForWriter.
//   - files that are not merged into the next level yet.
//   - the files that these are applied to, unless others lead past them. Otherwise
//     what stays would look as if files were missing.
//
// The result also has the number of files that stay only because they are not
// merged.
func neededFiles(files []*ltx.FileInfo, states []ltx.TXID) (need map[view.Key]bool, unmerged int) {
	c := newChains(files)
	need = make(map[view.Key]bool)
	for _, txid := range states {
		if i, ok := c.state(txid); ok {
			c.add(need, i)
		}
	}
	plan, _ := view.Extend(0, math.MaxUint64, files)
	for _, f := range plan {
		need[view.KeyOf(f)] = true
	}
	unmerged = addForCompaction(need, files)
	addForWriter(need, files)
	for {
		var stay []*ltx.FileInfo
		for _, f := range files {
			if need[view.KeyOf(f)] {
				stay = append(stay, f)
			}
		}
		before := len(need)
		for _, f := range orphans(stay) {
			if state, cost := c.under(f); state >= 0 && cost < math.MaxInt32 {
				c.add(need, state)
			}
		}
		if len(need) == before {
			return need, unmerged
		}
	}
}

// addForCompaction adds the files that compaction continues from, and counts those
// that are only needed because they are not merged.
func addForCompaction(need map[view.Key]bool, files []*ltx.FileInfo) (unmerged int) {
	var newest [view.Levels]*ltx.FileInfo
	for _, f := range files {
		if n := newest[f.Level]; n == nil || f.MaxTXID > n.MaxTXID {
			newest[f.Level] = f
		}
	}
	for _, f := range newest {
		if f != nil {
			need[view.KeyOf(f)] = true
		}
	}
	for _, f := range files {
		if f.Level >= replica.SnapshotLevel-1 || need[view.KeyOf(f)] {
			continue
		}
		above := newest[f.Level+1]
		if above == nil && f.Level < topLevel || above != nil && f.MaxTXID > above.MaxTXID {
			need[view.KeyOf(f)] = true
			unmerged++
		}
	}
	return unmerged
}

// addForWriter adds the file that the newest one of level 0 continues, the one of the
// lowest level if there are several. A program that has uploaded the newest file
// checks after that whether the file before is still the one that it knows. If the
// program cannot reach the store for a while, it does so late. Without that file, it
// would take the files that were merged meanwhile for those of another history.
func addForWriter(need map[view.Key]bool, files []*ltx.FileInfo) {
	var newest, before *ltx.FileInfo
	for _, f := range files {
		if f.Level == 0 && (newest == nil || f.MaxTXID > newest.MaxTXID) {
			newest = f
		}
	}
	for _, f := range files {
		if newest != nil && f.MaxTXID == newest.MinTXID-1 && (before == nil || f.Level < before.Level) {
			before = f
		}
	}
	if before != nil {
		need[view.KeyOf(before)] = true
	}
}

// orphans returns the files that look as if files before them were missing: those
// that end at a state which cannot be reached, although an earlier one can, and
// those that Verify would report.
func orphans(files []*ltx.FileInfo) (found []*ltx.FileInfo) {
	first := false
	lost := make(map[ltx.TXID]bool)
	for _, p := range view.Points(files) {
		first = first || p.Reachable
		if first && !p.Reachable {
			lost[p.TXID] = true
		}
	}
	after := make(map[ltx.TXID]bool)
	for _, f := range missing(files) {
		after[f.Range.Last+1] = true
	}
	for _, f := range files {
		if lost[f.MaxTXID] || after[f.MinTXID] {
			found = append(found, f)
		}
	}
	return found
}

// minTree finds the smallest of a range of numbers, and the first one of those that are
// equally small. Which one that is does not depend on how many numbers there are.
type minTree struct {
	n     int
	nodes []numbered // of a binary tree in an array; the leaves are from n on
}

// numbered is a number of a minTree with its index.
type numbered struct{ value, index int }

// or returns the smaller one, and of equal ones the first one.
func (a numbered) or(b numbered) numbered {
	if b.value < a.value || b.value == a.value && b.index < a.index {
		return b
	}
	return a
}

func newMinTree(n int) minTree {
	t := minTree{n: n, nodes: make([]numbered, 2*n)}
	for i := range t.nodes {
		t.nodes[i] = numbered{math.MaxInt32, max(i-n, 0)}
	}
	return t
}

func (t minTree) get(i int) int { return t.nodes[t.n+i].value }

func (t minTree) set(i, value int) {
	at := t.n + i
	t.nodes[at].value = value
	for at /= 2; at > 0; at /= 2 {
		t.nodes[at] = t.nodes[2*at].or(t.nodes[2*at+1])
	}
}

// min returns the index and the value of the first of the smallest numbers from index
// from up to, but not including, to. If there is none, the index is -1.
func (t minTree) min(from, to int) (at, value int) {
	best := numbered{math.MaxInt32, -1}
	for l, r := from+t.n, to+t.n; l < r; l, r = l/2, r/2 {
		if l%2 == 1 {
			best = best.or(t.nodes[l])
			l++
		}
		if r%2 == 1 {
			r--
			best = best.or(t.nodes[r])
		}
	}
	return best.index, best.value
}
