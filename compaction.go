package litestream

import (
	"bytes"
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

// wholeInput is how large a file may be that is read into memory to be merged,
// bytes. Larger ones are read as they are needed.
const wholeInput = 256 << 10

// compactAll runs until everything is compacted, or write mode ends.
func (w *writer) compactAll() {
	db := w.db
	c := &compactor{db: db, due: make([]time.Time, len(db.opts.CompactionLevels)+1)}
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
			w.endCompaction()
			return
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
		made, err := c.compact(level)
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
// reports whether there were any.
func (c *compactor) compact(level int) (made bool, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	have, err := c.db.store.list(ctx, level, 0, false)
	if err != nil {
		return false, err
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
		return false, err
	}
	if last == 0 {
		last = files[0].MinTXID - 1
	}
	// What we do not know yet is not merged: who has lost may have left it.
	inputs, _ := extend(last, c.db.current.Load().txid, files)
	if len(inputs) == 0 {
		return false, nil
	}
	info, err := c.merge(level, inputs)
	if err != nil {
		return false, err
	}
	return true, c.moveTo(info)
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
			r := &inputReader{ctx: ctx, s: c.db.store, info: f}
			defer r.close()
			readers[i] = r
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
	known := c.db.current.Load().txid
	plan, end := extend(0, known, files)
	if end == 0 || len(plan) == 1 && plan[0].Level == SnapshotLevel {
		return nil // there is nothing new
	}
	info, err := c.merge(SnapshotLevel, plan)
	if err == nil {
		err = c.moveTo(info)
	}
	if err != nil {
		return err
	}
	return c.pruneSnapshots(ctx, files, end)
}

// inputReader reads a file that is merged, opened at the first read.
type inputReader struct {
	ctx  context.Context
	s    *store
	info *ltx.FileInfo
	r    io.ReadCloser
}

func (r *inputReader) Read(p []byte) (int, error) {
	if r.r == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	return r.r.Read(p)
}

func (r *inputReader) open() (err error) {
	if r.info.Size <= wholeInput {
		b := make([]byte, r.info.Size)
		if err := r.s.load(r.ctx, keyOf(r.info), b, 0); err != nil {
			return err
		}
		r.r = io.NopCloser(bytes.NewReader(b))
		return nil
	}
	r.s.reads[loading].Add(1)
	r.r, err = r.s.client.OpenLTXFile(r.ctx, r.info.Level, r.info.MinTXID, r.info.MaxTXID, 0, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", keyOf(r.info), err)
	}
	return nil
}

func (r *inputReader) close() {
	if r.r != nil {
		_ = r.r.Close()
	}
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
func (c *compactor) pruneSnapshots(ctx context.Context, files []*ltx.FileInfo, end ltx.TXID) error {
	if c.db.opts.SnapshotRetention < 0 {
		return nil
	}
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
