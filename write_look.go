package litestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/superfly/ltx"
)

const (
	// surely is how long after a look at the replica nobody can have written to
	// it unseen: that takes a file of level 0 to be compacted and deleted.
	surely = 10 * time.Second

	// wholeLook is how long after a look at all levels a sync makes the next
	// one. Where the store lists all levels at once, a look costs no request
	// more than a listing of level 0, so it comes after surely.
	wholeLook = time.Minute

	// listPage is how many files a store lists in one request, or about so. Of
	// a replica with more of them there are fewer looks.
	listPage = 1000

	// mostKnown bounds the files that the writer remembers beside those that
	// give the newest state.
	mostKnown = 10_000
)

// errWrongListing means that a listing lacks a file which can be read. Nothing
// is decided by such a listing; the sync is tried again.
var errWrongListing = errors.New("the listing of the replica is wrong")

// known is what the writer knows of the files of the replica. Guarded by
// writer.mu.
type known struct {
	files    []*ltx.FileInfo // that gave the newest state at the last look at all levels, and those written since
	others   []*ltx.FileInfo // that were listed then, or made since, if they are not too many
	at       time.Time       // of the last look at all levels that found the replica whole
	listed   int             // how many files that look listed
	suspect  bool            // something says that files are missing: the next sync looks at all levels
	hole     error           // which files are missing, nil if none is
	mending  fileKey         // name of a snapshot that fills a hole, from before it is made until views point to it
	mended   *ltx.FileInfo   // that snapshot, nil if nothing tells whether it was made
	outgrown bool            // a snapshot is due
}

// openedWith notes the files that a database was opened with.
func (w *writer) openedWith(at time.Time, plan, listed []*ltx.FileInfo) {
	if w.db.opts.WriteEnabled {
		w.looked(at, plan, listed)
	}
	w.confirm(at)
}

// confirmEmpty looks in other ways whether a replica is empty, of which a
// listing of all levels says so: level by level, and by reading what the first
// transaction of a database is in. Whether it is known by another name, nothing
// but a listing tells.
func (db *database) confirmEmpty(ctx context.Context) error {
	files, err := db.store.listLevels(ctx, false)
	if err != nil {
		return err
	}
	first := fileKey{0, 1, 1}
	if len(files) > 0 {
		first = keyOf(files[0])
	} else if err := db.store.load(ctx, first, make([]byte, ltx.HeaderSize), 0); isMissing(err) {
		return nil
	} else if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: it says that the replica is empty, and %s is there", errWrongListing, first)
}

// isSure tells whether nobody can have written unseen since the replica was
// looked at. Not all clocks go on while a machine is suspended.
func (w *writer) isSure() bool {
	at := *w.confirmed.Load()
	return time.Since(at) < surely && time.Now().Round(0).Sub(at.Round(0)) < surely
}

// isLookDue tells whether the next look is to be one at all levels.
func (w *writer) isLookDue() bool {
	limit := wholeLook
	if w.db.store.listsAllAtOnce() {
		limit = surely
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	limit *= time.Duration(1 + w.known.listed/listPage)
	return w.known.suspect || time.Since(w.known.at) >= limit
}

// suspect has the next sync look at all levels, which need not wait for a
// commit.
func (w *writer) suspect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buffer != nil {
		w.known.suspect = true
		w.startSync()
	}
}

// isDoubtful tells whether the replica may lack files, and a sync is to find out
// although there is nothing to upload. Closing does not wait for that. Called
// under mu.
func (w *writer) isDoubtful() bool {
	return w.buffer != nil && !w.closed && (w.known.suspect || w.known.hole != nil)
}

// lookAhead looks whether another writer has written beyond the state that a
// segment changes. It reports whether the file of the segment is there already,
// which findOwn and verify judge: where a sync failed after its upload, others may
// have gone on from the file, or must not find it.
func (w *writer) lookAhead(ctx context.Context, s *segment) (there bool, err error) {
	at, cur := time.Now(), w.db.current.Load()
	files, err := w.db.store.listAll(ctx, false)
	if err != nil {
		return false, err
	}
	if isIn(fileKey{0, s.txid(), s.txid()}, files) {
		return true, nil
	}
	for _, f := range w.withoutOwn(files, s) {
		if f.MaxTXID >= s.txid() {
			return false, w.lose(fmt.Errorf("%s is there", keyOf(f)))
		}
	}
	if err := w.checkHistory(ctx, files); err != nil {
		return false, err
	}
	w.saw(cur, files)
	w.confirm(at)
	return false, nil
}

// saw compares a view with a listing of all levels that was made after it. If the
// files do not give the view, the next sync finds out why.
func (w *writer) saw(v *view, files []*ltx.FileInfo) {
	if !w.isEnabled() {
		return
	}
	if _, end := extend(0, v.txid, files); end != v.txid {
		w.suspect()
	}
}

// look looks at all levels while there is nothing to upload.
func (w *writer) look(ctx context.Context) error {
	at := time.Now()
	files, err := w.db.store.listAll(ctx, false)
	if err != nil {
		return err
	}
	cur := w.db.current.Load()
	if slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > cur.txid }) {
		// Another writer has written, and nothing of ours is in its way.
		w.looked(at, nil, files)
		return w.db.refresh(ctx).news
	}
	if err := w.checkHistory(ctx, files); err != nil {
		return err
	}
	return w.checkWhole(ctx, at, nil, files)
}

// checkWhole looks whether the files that are listed give the newest state on
// the replica: that after a segment, which was just uploaded, or the current one
// if there is none. If they do not, it fills the hole, or fails.
func (w *writer) checkWhole(ctx context.Context, at time.Time, s *segment, files []*ltx.FileInfo) error {
	target := w.db.current.Load().txid
	if s != nil {
		target = s.txid()
	}
	plan, end := extend(0, target, files)
	if end != target {
		// Files that are compacted between the lists of two levels look like a gap.
		var err error
		if files, err = w.db.store.listLevels(ctx, false); err != nil {
			return err
		}
		plan, end = extend(0, target, files)
	}
	if beyond := slices.IndexFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > target }); end != target && beyond >= 0 {
		// Another writer goes on while this one would make up for what is missing.
		return fmt.Errorf("%w, and %s is another writer's", gapAfter(end, target, files), keyOf(files[beyond]))
	}
	if end != target {
		snapshot, err := w.mend(ctx, s, files, gapAfter(end, target, files))
		if err != nil {
			return err
		}
		plan = []*ltx.FileInfo{snapshot}
	}
	w.looked(at, plan, files)
	w.confirm(at)
	return nil
}

// gapAfter describes the gap that ends a plan which does not reach a transaction.
func gapAfter(end, target ltx.TXID, files []*ltx.FileInfo) error {
	next := target + 1
	for _, f := range files {
		if f.MaxTXID > end {
			next = min(next, f.MinTXID)
		}
	}
	return errs.Gap(end+1, next)
}

// looked notes that a look at all levels found the replica whole, and the files
// that give its newest state, of those that were listed.
func (w *writer) looked(at time.Time, plan, listed []*ltx.FileInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := &w.known
	k.listed = len(listed)
	if k.others = listed; len(listed) > mostKnown {
		k.others = nil
	}
	k.files, k.at, k.suspect, k.hole = plan, at, false, nil
	if k.outgrown = isOutgrown(plan); k.outgrown && w.buffer != nil {
		w.startCompaction()
	}
}
