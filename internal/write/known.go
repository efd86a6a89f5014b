package write

import (
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// mostKnown bounds the number of files that are remembered besides those that give
// the newest state.
const mostKnown = 10_000

// knownFiles remembers the files of the replica for write mode, to find out which
// files are missing. It is safe for concurrent use. Its lock is taken under that of
// the queue, and no other lock is taken under it.
//
// The index remembers files as well, to tell histories of the replica apart. Those
// belong to an epoch and are updated by polls. The files here are dropped when
// another writer has written.
type knownFiles struct {
	mu struct {
		sync.Mutex // duty: all of this
		knownState
		mends int64 // snapshots that were made to fill a hole, since the database was opened
	}
}

// knownState is the state that the lock of knownFiles guards.
type knownState struct {
	files    []*ltx.FileInfo // files that gave the newest state at the last look at all levels, and those uploaded since
	others   []*ltx.FileInfo // files that were listed then, or made since; nil if they were too many
	at       time.Time       // time of the last look at all levels that found the replica whole
	listed   int             // number of files in that look
	suspect  bool            // files may be missing, so the next sync looks at all levels
	hole     error           // error that names the missing files; nil if none is missing
	mending  view.Key        // name of the snapshot that fills a hole, from before its creation until views point to it
	mended   *ltx.FileInfo   // that snapshot; nil until its creation has succeeded
	outgrown bool            // the newest snapshot is outgrown, and compaction does not know yet
}

// looked records that a look at all levels found the replica whole. Plan holds
// those of the listed files that give its newest state. It reports whether the
// newest snapshot is outgrown.
func (k *knownFiles) looked(at time.Time, plan, listed []*ltx.FileInfo) (outgrown bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.listed = len(listed)
	if k.mu.others = listed; len(listed) > mostKnown {
		k.mu.others = nil
	}
	k.mu.files, k.mu.at, k.mu.suspect, k.mu.hole = plan, at, false, nil
	k.mu.outgrown = view.IsOutgrown(plan)
	return k.mu.outgrown
}

// uploaded adds the file of a segment.
func (k *knownFiles) uploaded(info *ltx.FileInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.files != nil {
		k.mu.files = append(slices.Clip(k.mu.files), info)
	}
}

// made adds a file that compaction has made.
func (k *knownFiles) made(info *ltx.FileInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.others = append(slices.Clip(k.mu.others), info)
}

// newest returns the files that give the newest state, by name.
func (k *knownFiles) newest() map[view.Key]*ltx.FileInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fileSet(k.mu.files)
}

// all returns all files that are known to be of our history, by name.
func (k *knownFiles) all() map[view.Key]*ltx.FileInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fileSet(slices.Concat(k.mu.others, k.mu.files))
}

// forget drops all files: the replica has another history, or write mode has
// ended.
func (k *knownFiles) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.knownState = knownState{}
}

// begin keeps the known files when write mode is turned on, and drops doubts about
// them.
func (k *knownFiles) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.knownState = knownState{files: k.mu.files, others: k.mu.others, at: k.mu.at}
}

// setSuspect records that files may be missing.
func (k *knownFiles) setSuspect() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.suspect = true
}

// isDoubtful reports whether files are or may be missing.
func (k *knownFiles) isDoubtful() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.suspect || k.mu.hole != nil
}

// isOlder reports whether the next sync has to look at all levels, because files
// may be missing or the last look is older than limit. For a replica of many files
// the limit is longer.
func (k *knownFiles) isOlder(limit time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	limit *= time.Duration(1 + k.mu.listed/listPage)
	return k.mu.suspect || time.Since(k.mu.at) >= limit
}

// takeOutgrown reports whether a listing of all levels since the last call of
// takeOutgrown has shown that the newest snapshot is outgrown.
func (k *knownFiles) takeOutgrown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.mu.outgrown
	k.mu.outgrown = false
	return was
}

// hole returns the error that names the missing files, nil if none is missing.
func (k *knownFiles) hole() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.hole
}

// setHole records the error that names missing files that no snapshot can replace.
func (k *knownFiles) setHole(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.hole = err
}

// mending returns the name of the snapshot that is being made to fill a hole,
// the zero value if there is none.
func (k *knownFiles) mending() view.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.mending
}

// setMending records the name of a snapshot before it is made.
func (k *knownFiles) setMending(key view.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.mending, k.mu.mended = key, nil
}

// setMended records that the snapshot was made.
func (k *knownFiles) setMended(info *ltx.FileInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.mended = info
	k.mu.mends++
}

// mends returns the number of snapshots that were made to fill a hole.
func (k *knownFiles) mends() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.mends
}

// takeMended returns the snapshot that fills a hole, once the current view, as
// of transaction txid, has got there; nil if there is none.
func (k *knownFiles) takeMended(txid ltx.TXID) *ltx.FileInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.mending.MaxTXID > txid {
		return nil
	}
	info := k.mu.mended
	k.mu.mending, k.mu.mended = view.Key{}, nil
	return info
}

// isSameFile compares two descriptions of a file, from listings or from the answer
// to an upload.
func isSameFile(a, b *ltx.FileInfo) bool {
	return a.Size == b.Size && (a.CreatedAt.IsZero() || b.CreatedAt.IsZero() || a.CreatedAt.Equal(b.CreatedAt))
}

// fileSet returns files by name.
func fileSet(files []*ltx.FileInfo) map[view.Key]*ltx.FileInfo {
	set := make(map[view.Key]*ltx.FileInfo, len(files))
	for _, f := range files {
		set[view.KeyOf(f)] = f
	}
	return set
}
