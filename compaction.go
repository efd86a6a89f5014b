package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/superfly/ltx"
)

// compactor merges files of the replica into larger ones of higher levels, and
// deletes what is not needed any more, while write mode is on. Levels, times
// and names are Litestream's. Only its goroutine uses it.
type compactor struct {
	db    *database
	due   []time.Time // by level, from 1; zero: there is nothing to compact
	snap  time.Time   // when the next snapshot is due; zero: there is nothing new
	prune time.Time   // when files of level 0 may be old enough to be deleted; zero: there are none
}

// compactAll runs until everything is compacted, or write mode ends.
func (w *writer) compactAll() {
	db := w.db
	c := &compactor{db: db, due: make([]time.Time, len(db.opts.CompactionLevels)+1)}
	if err := c.begin(); err != nil && !errors.Is(err, context.Canceled) {
		db.log.Warn("compaction does not know what an earlier process has left", "error", err)
	}
	c.news()
	for {
		at, ok := c.next()
		if !ok && w.endCompaction() {
			return
		}
		timer := time.NewTimer(time.Until(at))
		select {
		case <-timer.C:
		case <-w.news:
			c.news()
		case <-db.ctx.Done():
		}
		timer.Stop()
		if db.ctx.Err() != nil || !w.isEnabled() {
			if w.endCompaction() {
				return
			}
			continue
		}
		if err := c.run(); err != nil && db.ctx.Err() == nil {
			db.log.Warn("compaction failed, and is tried again", "error", err)
		}
	}
}

// startCompaction starts the goroutine that compacts, or tells it that there is
// something new. Called under mu.
func (w *writer) startCompaction() {
	if !w.db.opts.compacts() {
		return
	}
	signal(w.news)
	if !w.compacting {
		w.compacting = w.db.run(w.compactAll)
	}
}

// endCompaction notes that the goroutine ends, unless there is something new.
func (w *writer) endCompaction() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.news) > 0 && w.buffer != nil && w.db.ctx.Err() == nil {
		return false
	}
	w.compacting = false
	return true
}

// begin has what earlier processes have left be compacted when it is due.
func (c *compactor) begin() error {
	ctx, cancel := c.within(0)
	defer cancel()
	files, err := c.db.store.listAll(ctx, false)
	if err != nil || len(files) == 0 {
		return err
	}
	var made [numLevels]time.Time // of the newest file of each level
	var last [numLevels]ltx.TXID
	oldest := time.Now()
	for _, f := range files {
		if last[f.Level] < f.MaxTXID {
			last[f.Level], made[f.Level] = f.MaxTXID, f.CreatedAt
		}
		if f.CreatedAt.Before(oldest) {
			oldest = f.CreatedAt
		}
	}
	for level := 1; level < len(c.due); level++ {
		if last[level] < last[level-1] {
			from := oldest
			if last[level] > 0 {
				from = made[level]
			}
			c.due[level] = from.Add(c.db.opts.CompactionLevels[level-1])
		}
	}
	if last[1] > 0 && c.db.opts.L0Retention >= 0 {
		c.prune = time.Now().Add(c.db.opts.L0Retention)
	}
	if c.db.opts.SnapshotInterval > 0 {
		if last[SnapshotLevel] > 0 {
			oldest = made[SnapshotLevel]
		}
		c.snap = oldest.Add(c.db.opts.SnapshotInterval)
	}
	return nil
}

// news notes that there may be new files of level 0.
func (c *compactor) news() {
	if len(c.due) > 1 {
		c.dueIn(1)
	}
	if c.snap.IsZero() && c.db.opts.SnapshotInterval > 0 {
		c.snap = time.Now().Add(c.db.opts.SnapshotInterval)
	}
}

// dueIn has a level be compacted after its interval, unless it is due already.
func (c *compactor) dueIn(level int) {
	if level < len(c.due) && c.due[level].IsZero() {
		c.due[level] = time.Now().Add(c.db.opts.CompactionLevels[level-1])
	}
}

// next returns when there is something to do.
func (c *compactor) next() (at time.Time, ok bool) {
	for _, t := range append([]time.Time{c.snap, c.prune}, c.due...) {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// compactionRetry is how long after an error it is tried again.
const compactionRetry = 10 * time.Second

// run does what is due.
func (c *compactor) run() (err error) {
	defer guard(c.db.log, "compaction", &err)
	now := time.Now()
	isDue := func(t *time.Time) bool {
		if t.IsZero() || t.After(now) {
			return false
		}
		*t = time.Time{}
		return true
	}
	retry := func(t *time.Time, e error) {
		if e != nil {
			err = errors.Join(err, e)
			*t = time.Now().Add(compactionRetry)
		}
	}
	for level := 1; level < len(c.due); level++ {
		if !isDue(&c.due[level]) {
			continue
		}
		made, more, err := c.compact(level)
		if more {
			c.due[level] = now
		}
		retry(&c.due[level], err)
		if made {
			c.dueIn(level + 1)
			if level == 1 && c.prune.IsZero() && c.db.opts.L0Retention >= 0 {
				c.prune = now.Add(c.db.opts.L0Retention)
			}
		}
	}
	if isDue(&c.prune) {
		again, err := c.pruneLevel0(now)
		c.prune = again
		retry(&c.prune, err)
	}
	if isDue(&c.snap) {
		retry(&c.snap, c.snapshot())
	}
	return err
}

// within makes a context for requests that read and write so many bytes.
func (c *compactor) within(bytes int64) (context.Context, context.CancelFunc) {
	limit := c.db.opts.ReadTimeout
	if limit >= 0 {
		limit += time.Duration(bytes/uploadRate) * time.Second
	}
	return c.db.withTimeout(limit)
}

// compact merges the files of the level below that follow what a level has. It
// reports whether there were any, and whether there are more than go at once.
func (c *compactor) compact(level int) (made, more bool, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	have, err := c.db.store.list(ctx, level, 0, false)
	if err != nil {
		return false, false, err
	}
	last := ltx.TXID(0)
	for _, f := range have {
		last = max(last, f.MaxTXID)
	}
	seek := last + 1
	if level > 1 {
		seek = 0 // those of several writers may overlap
	}
	files, err := c.db.store.list(ctx, level-1, seek, false)
	if err != nil || len(files) == 0 {
		return false, false, err
	}
	if last == 0 {
		last = files[0].MinTXID - 1
	}
	// What we do not know yet is not merged: who has lost may have left it.
	inputs, _ := extend(last, c.db.current.Load().txid, files)
	if len(inputs) == 0 {
		return false, false, nil
	}
	all := len(inputs)
	inputs = atOnce(inputs)
	info, err := c.merge(level, inputs)
	if err != nil {
		return false, false, err
	}
	return true, len(inputs) < all, c.moveTo(info)
}

// merge makes one file of a level of files that follow each other.
func (c *compactor) merge(level int, inputs []*ltx.FileInfo) (*ltx.FileInfo, error) {
	var size int64
	for _, f := range inputs {
		size += f.Size
	}
	start := time.Now()
	ctx, cancel := c.within(2 * size)
	defer cancel()
	key := fileKey{level, inputs[0].MinTXID, inputs[len(inputs)-1].MaxTXID}
	if level == SnapshotLevel {
		key.minTXID = 1
	}
	info, err := c.db.store.create(ctx, key, func(w io.Writer) error {
		readers := make([]io.Reader, len(inputs))
		for i, f := range inputs {
			readers[i] = &inputReader{ctx: ctx, s: c.db.store, info: f}
		}
		compactor, err := ltx.NewCompactor(w, readers)
		if err != nil {
			return err
		}
		compactor.HeaderFlags = ltx.HeaderFlagNoChecksum
		return compactor.Compact(ctx)
	})
	if errors.Is(err, fs.ErrExist) {
		return nil, nil // somebody has done it
	}
	if err != nil {
		return nil, fmt.Errorf("compact to level %d: %w", level, err)
	}
	c.db.log.Debug("compacted", "file", keyOf(info), "inputs", len(inputs), "bytes", info.Size, "duration", time.Since(start))
	return info, nil
}

// moveTo points the pages of the newest view to a file, lest those that it is
// made of are needed. Without a file it does nothing.
func (c *compactor) moveTo(info *ltx.FileInfo) error {
	if info == nil {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	l, err := c.db.store.loadFile(ctx, info)
	if err != nil {
		return err
	}
	return c.db.relocateCurrent(l)
}

// snapshot makes a file of the whole database.
func (c *compactor) snapshot() error {
	ctx, cancel := c.within(0)
	defer cancel()
	files, err := c.db.store.listAll(ctx, false)
	if err != nil {
		return err
	}
	plan, end := extend(0, c.db.current.Load().txid, files)
	if end == 0 {
		return nil
	}
	if len(plan) > 1 || plan[0].Level != SnapshotLevel {
		plan = atOnce(plan)
		end = plan[len(plan)-1].MaxTXID
		info, err := c.merge(SnapshotLevel, plan)
		if err == nil {
			err = c.moveTo(info)
		}
		if err != nil {
			return err
		}
	}
	if err := c.pruneSnapshots(files, end); err != nil {
		// The next snapshot does it: this one is not to be made again.
		c.db.log.Warn("old snapshots were not deleted", "error", err)
	}
	return nil
}

// Inputs of a merge are read in parts of inputPart at most, and together with
// what waits of each may take inputMemory.
const (
	inputPart   = 1 << 20
	inputMemory = 64 << 20
)

// atOnce returns as many of the files, from the first on, as are merged at once.
func atOnce(files []*ltx.FileInfo) []*ltx.FileInfo {
	memory := int64(0)
	for i, f := range files {
		if memory += min(f.Size, inputPart); memory > inputMemory && i > 1 {
			return files[:i]
		}
	}
	return files
}

// inputReader reads a file that is merged, in parts.
type inputReader struct {
	ctx    context.Context
	s      *store
	info   *ltx.FileInfo
	offset int64  // of what was not read yet
	rest   []byte // that was read
}

func (r *inputReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		n := min(r.info.Size-r.offset, inputPart)
		if n <= 0 {
			return 0, io.EOF
		}
		r.rest = make([]byte, n)
		if err := r.s.load(r.ctx, keyOf(r.info), r.rest, r.offset); err != nil {
			return 0, err
		}
		r.offset += n
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// pruneLevel0 deletes files of level 0 that are in level 1 and old enough. It
// returns when to look again, zero if nothing is left to be deleted.
func (c *compactor) pruneLevel0(now time.Time) (again time.Time, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	compacted, err := c.db.store.list(ctx, 1, 0, false)
	if err != nil {
		return again, err
	}
	last := ltx.TXID(0)
	for _, f := range compacted {
		last = max(last, f.MaxTXID)
	}
	files, err := c.db.store.list(ctx, 0, 0, false)
	if err != nil {
		return again, err
	}
	var old []*ltx.FileInfo
	for i, f := range files {
		if f.MaxTXID > last || i == len(files)-1 {
			break // the newest stays: the next one follows it
		}
		if age := now.Sub(f.CreatedAt); age < c.db.opts.L0Retention {
			return now.Add(c.db.opts.L0Retention - max(age, 0)), c.delete(ctx, old)
		}
		old = append(old, f)
	}
	return again, c.delete(ctx, old)
}

// pruneSnapshots deletes snapshots that are old enough, and what lies before the
// oldest that stays. End is the transaction of the newest, which is there already.
func (c *compactor) pruneSnapshots(files []*ltx.FileInfo, end ltx.TXID) error {
	if c.db.opts.SnapshotRetention < 0 {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	limit := time.Now().Add(-c.db.opts.SnapshotRetention)
	var old []*ltx.FileInfo
	oldest := end
	for _, f := range files {
		switch {
		case f.Level != SnapshotLevel || f.MaxTXID == end:
		case f.CreatedAt.Before(limit):
			old = append(old, f)
		default:
			oldest = min(oldest, f.MaxTXID)
		}
	}
	// Of each level the newest stays: it tells where to go on. So does what the
	// next level does not have yet.
	newest := make(map[int]ltx.TXID)
	for _, f := range files {
		newest[f.Level] = max(newest[f.Level], f.MaxTXID)
	}
	top := len(c.db.opts.CompactionLevels)
	for _, f := range files {
		compacted := f.Level >= top || f.MaxTXID <= newest[f.Level+1]
		if f.Level > 0 && f.Level < SnapshotLevel && compacted && f.MaxTXID < oldest && f.MaxTXID < newest[f.Level] && f.CreatedAt.Before(limit) {
			old = append(old, f)
		}
	}
	return c.delete(ctx, old)
}

// delete deletes files, but not those that the newest view, or one that a
// connection has pinned, points to.
func (c *compactor) delete(ctx context.Context, files []*ltx.FileInfo) error {
	needed := c.db.neededFiles()
	files = slices.DeleteFunc(files, func(f *ltx.FileInfo) bool { return needed[keyOf(f)] })
	if len(files) == 0 {
		return nil
	}
	keys := make([]fileKey, len(files))
	for i, f := range files {
		keys[i] = keyOf(f)
	}
	if err := c.db.store.delete(ctx, keys...); err != nil {
		return fmt.Errorf("delete files that were compacted: %w", err)
	}
	c.db.log.Debug("deleted", "files", len(files), "from", keys[0], "to", keys[len(keys)-1])
	return nil
}

// neededFiles returns the files that views in use point to.
func (db *database) neededFiles() map[fileKey]bool {
	needed := make(map[fileKey]bool)
	add := func(v *view) {
		for _, v := range []*view{v, v.base} {
			if v == nil {
				continue
			}
			for key := range v.files() {
				needed[key] = true
			}
			if v.last != nil {
				needed[v.last.key()] = true
			}
		}
	}
	add(db.current.Load())
	for _, v := range db.pinned() {
		add(v)
	}
	return needed
}

// pinned returns the views that connections have pinned.
func (db *database) pinned() (pins []*view) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		for _, v := range []*view{c.held.Load(), c.past.Load()} {
			if v != nil {
				pins = append(pins, v)
			}
		}
	}
	return pins
}
