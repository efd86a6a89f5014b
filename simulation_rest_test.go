package litestream_test

import (
	"os"
	"runtime"
	"time"

	"github.com/ltxvfs/litestream/internal/sim"
)

// simLookEvery is after how many worlds the simulator looks for what they have left in
// its own process. A look collects garbage, which takes longer than a small world.
const simLookEvery = 20

// simMostHeap is how much more memory may be in use than at the first look.
const simMostHeap = 16 << 20

// simRest is what worlds leave in the process of the test: memory, and open files. A
// segment of a write buffer stays open until nothing refers to it, so that files are
// counted after a collection of garbage.
type simRest struct {
	worlds int      // that have ended
	heap   uint64   // bytes in use at the first look; 0 before
	files  int      // open files at the first look
	bytes  [][]byte // that simBreakMemory does not release
	open   []*os.File
}

// leave leaves something behind if the world is to break a rule that way. It returns
// how often the rule was broken.
func (r *simRest) leave(local simBreak) int {
	switch local {
	case simBreakMemory:
		r.bytes = append(r.bytes, make([]byte, 2<<20))
	case simBreakOpen:
		f, err := os.Open(os.DevNull)
		if err != nil {
			return 0
		}
		r.open = append(r.open, f)
	default:
		return 0
	}
	return 1
}

// look looks for what is left, after every so many worlds.
func (r *simRest) look() *sim.Violation {
	if r.worlds++; r.worlds%simLookEvery != 0 {
		return nil
	}
	var heap uint64
	var files int
	for deadline := time.Now().Add(time.Second); ; {
		for range 2 { // files are closed in the background
			runtime.GC()
			runtime.Gosched()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap, files = m.HeapAlloc, len(openFiles())
		if r.heap == 0 {
			r.heap, r.files = heap, files
		}
		if heap <= r.heap+simMostHeap && files <= r.files {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	if heap > r.heap+simMostHeap {
		return sim.Violated(ruleLeft, "%d bytes are in use after %d worlds, and %d after %d", r.heap, simLookEvery, heap, r.worlds)
	}
	return sim.Violated(ruleLeft, "%d files are open after %d worlds, and %d after %d", r.files, simLookEvery, files, r.worlds)
}
