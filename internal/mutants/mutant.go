package main

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// mutant is one change of the code.
type mutant struct {
	File   string // path within the tree
	Line   int
	Func   string // function or Type.method
	Change string // the text before and after, "a < b => a <= b"
	Nth    int    // number of the mutant among those with the same change in the function, from 0

	id    int // number within a run, by which it is switched on
	edits []edit

	tests   int     // that ran against it in this run
	seconds float64 // that they took
}

// key names a mutant in a way that outlives changes of the code around it.
func (m *mutant) key() string {
	return fmt.Sprintf("%s\t%s\t%s\t%d", m.File, m.Func, m.Change, m.Nth)
}

// dir is the directory of the package.
func (m *mutant) dir() string {
	if i := strings.LastIndexByte(m.File, '/'); i >= 0 {
		return m.File[:i]
	}
	return "."
}

// rank is a number that depends on the seed and the mutant only. The mutants with
// the lowest ranks are the sample, so that a larger sample contains a smaller one.
func (m *mutant) rank(seed string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(seed + "\t" + m.key()))
	x := h.Sum64() // whose high bits differ little between keys that differ at the end
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// edit inserts text into a file, or replaces a token by it.
type edit struct {
	at, end int    // offsets of what is replaced, equal for an insertion
	text    string // with %d for the number of the mutant
	closes  bool   // belongs to the end of a node, so that it comes before what begins there
	extent  int    // length of the node
}
