package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
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

	grow time.Time // when a snapshot is due because the newest was outgrown; zero: it was not

	from   [numLevels]ltx.TXID // where the newest file of a level begins, if that is known
	pruned ltx.TXID            // where the file of level 1 begins that has the newest deleted one of level 0

	problems map[string]error // of what does not go on, by what it is
	there    map[fileKey]bool // files that this process has made, or read
}

// compactAll runs until everything is compacted, or write mode ends.
func (w *writer) compactAll() {
	db := w.db
	c := &compactor{db: db, due: make([]time.Time, len(db.opts.CompactionLevels)+1),
		problems: make(map[string]error), there: make(map[fileKey]bool)}
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
		case <-db.tasks.Context().Done():
		}
		timer.Stop()
		if db.tasks.Closed() || !w.isEnabled() {
			if w.endCompaction() {
				return
			}
			continue
		}
		c.run()
	}
}

// startCompaction starts the goroutine that compacts, or tells it that there is
// something new. Called under mu.
func (w *writer) startCompaction() {
	if w.db.opts.CompactionDisabled {
		return
	}
	signal(w.news)
	if !w.compacting {
		w.compacting = w.db.tasks.Go(w.compactAll)
	}
}

// endCompaction notes that the goroutine ends, unless there is something new.
func (w *writer) endCompaction() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.news) > 0 && w.buffer != nil && !w.db.tasks.Closed() {
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
	if plan, _ := extend(0, c.db.current.Load().txid, files); isOutgrown(plan) {
		c.growSnapshot()
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
	if c.db.writer.takeOutgrown() {
		c.growSnapshot()
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
	for _, t := range append([]time.Time{c.snap, c.grow, c.prune}, c.due...) {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// compactionRetry is how long after an error it is tried again.
const compactionRetry = 10 * time.Second

// stalledRetry is that where files are missing.
const stalledRetry = time.Minute

// errLevelGap means that files of a level cannot be merged, as some before them
// are missing.
var errLevelGap = errors.New("files are missing")

// run does what is due.
func (c *compactor) run() {
	var err error
	defer func() { c.report("compaction", err) }()
	defer guard(c.db.log, "compaction", &err)
	now := time.Now()
	merged := false
	for level := 1; level < len(c.due); level++ {
		if !isDue(&c.due[level], now) {
			continue
		}
		made, more, err := c.compact(level)
		if more {
			c.due[level] = now
		}
		c.ended(fmt.Sprintf("level %d", level), &c.due[level], err)
		if made {
			merged = merged || level > 1
			c.dueIn(level + 1)
			if level == 1 && c.prune.IsZero() && c.db.opts.L0Retention >= 0 {
				c.prune = now.Add(c.db.opts.L0Retention)
			}
		}
	}
	if isDue(&c.prune, now) {
		again, err := c.pruneLevel0(now)
		c.prune = again
		c.ended("retention of level 0", &c.prune, err)
	}
	if merged {
		c.ended("look at snapshots", nil, c.checkGrowth())
	}
	if isDue(&c.grow, now) {
		made, err := c.snapshot(false)
		if made && !c.snap.IsZero() {
			c.snap = now.Add(c.db.opts.SnapshotInterval)
		}
		c.ended("snapshot", &c.grow, err)
	}
	if isDue(&c.snap, now) {
		_, err := c.snapshot(true)
		c.ended("snapshot", &c.snap, err)
	}
}

// isDue tells whether a time has come, and forgets it then.
func isDue(t *time.Time, now time.Time) bool {
	if t.IsZero() || t.After(now) {
		return false
	}
	*t = time.Time{}
	return true
}

// ended notes how something ended, and has it be tried again after an error.
func (c *compactor) ended(what string, due *time.Time, err error) {
	if err != nil && due != nil {
		*due = time.Now().Add(compactionRetry)
		if errors.Is(err, errLevelGap) {
			*due = time.Now().Add(stalledRetry)
		}
	}
	c.report(what, err)
}

// report says once that something does not go on, and once that all does.
func (c *compactor) report(what string, err error) {
	if c.db.tasks.Closed() {
		return
	}
	had := len(c.problems) > 0
	if err == nil {
		delete(c.problems, what)
	} else {
		c.problems[what] = err
	}
	text := ""
	for _, what := range slices.Sorted(maps.Keys(c.problems)) {
		text += fmt.Sprintf("; %s: %v", what, c.problems[what])
	}
	text = strings.TrimPrefix(text, "; ")
	w := c.db.writer
	w.mu.Lock()
	w.counts.Compaction = text
	w.mu.Unlock()
	switch {
	case text != "" && !had:
		c.db.log.Warn("compaction does not go on, and is tried again", "error", text)
	case text == "" && had:
		c.db.log.Info("compaction goes on")
	}
}

// within makes a context for requests that read and write so many bytes.
func (c *compactor) within(bytes int64) (context.Context, context.CancelFunc) {
	limit := c.db.opts.ReadTimeout
	if limit >= 0 {
		limit += timeFor(bytes)
	}
	return c.db.tasks.WithTimeout(limit)
}

// compact merges the files of the level below that follow what a level has. It
// reports whether there were any, and whether there are more than go at once.
func (c *compactor) compact(level int) (made, more bool, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	last, err := c.end(ctx, level)
	if err != nil {
		return false, false, err
	}
	seek := last + 1
	if level > 1 {
		seek = c.from[level]
	}
	files, err := c.db.store.list(ctx, level-1, seek, false)
	if err != nil || len(files) == 0 {
		return false, false, err
	}
	if last == 0 {
		last = files[0].MinTXID - 1
	}
	// What we do not know yet is not merged: who has lost may have left it.
	limit := c.db.current.Load().txid
	inputs, _ := extend(last, limit, files)
	if len(inputs) == 0 {
		inputs, err = c.afterGap(ctx, level, last, limit, files)
	}
	if err != nil || len(inputs) == 0 {
		return false, false, err
	}
	all := len(inputs)
	inputs = atOnce(inputs)
	info, err := c.merge(level, inputs)
	if err != nil {
		return false, false, err
	}
	return true, len(inputs) < all, c.moveTo(info)
}

// end returns the newest transaction of a level. It lists the newest files only,
// once it knows where they begin.
func (c *compactor) end(ctx context.Context, level int) (last ltx.TXID, err error) {
	files, err := c.db.store.list(ctx, level, c.from[level], false)
	if err == nil && len(files) == 0 && c.from[level] > 0 {
		files, err = c.db.store.list(ctx, level, 0, false)
	}
	c.from[level] = 0
	for _, f := range files {
		if f.MaxTXID > last {
			last, c.from[level] = f.MaxTXID, f.MinTXID
		}
	}
	return last, err
}

// afterGap returns what is merged into a level whose next files are missing from
// the level below. If other files give the newest state all the same, as a
// snapshot that was made for that reason does, it is what comes after the gap.
func (c *compactor) afterGap(ctx context.Context, level int, last, limit ltx.TXID, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	next := ltx.TXID(0)
	for _, f := range files {
		if f.MinTXID > last+1 && f.MaxTXID <= limit && (next == 0 || f.MinTXID < next) {
			next = f.MinTXID
		}
	}
	if next == 0 {
		return nil, nil // there is nothing to merge
	}
	if level > 1 {
		// Those of several writers may overlap, and begin anywhere.
		older, err := c.db.store.list(ctx, level-1, 0, false)
		if err != nil {
			return nil, err
		}
		if inputs, _ := extend(last, limit, older); len(inputs) > 0 {
			return inputs, nil
		}
	}
	all, err := c.db.store.listAll(ctx, false)
	if err != nil {
		return nil, err
	}
	if _, end := extend(0, limit, all); end != limit {
		c.db.writer.suspect()
		return nil, fmt.Errorf("%w: level %d has none from %s to %s", errLevelGap, level-1, last+1, next-1)
	}
	inputs, _ := extend(next-1, limit, files)
	return inputs, nil
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
	c.there[key] = true
	c.db.writer.made(info)
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
	return c.db.relocateIfKnown(l)
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
		if err := r.s.load(asListed(r.ctx, r.info), keyOf(r.info), r.rest, r.offset); err != nil {
			return 0, err
		}
		r.offset += n
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
