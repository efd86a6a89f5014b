// Package compact merges the files of a replica into larger ones of higher levels,
// makes snapshots, and deletes files that are not needed any more. Levels, times
// and names are those of Litestream.
package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Deps is what compaction needs of the rest of a database.
type Deps struct {
	Store *remote.Store
	Views *view.Views
	Tasks *task.Group
	Log   *slog.Logger
	Opts  Options

	Enabled func() bool         // reports whether write mode is on
	Suspect func()              // called when files are missing
	Pinned  func() []*view.View // returns the views that connections read

	// PointTo makes pages of the current view point to a file that was made of files
	// of view since, if the current view is of the same history.
	PointTo func(l *remote.Loaded, since *view.View) error

	Notes Notes
}

// Options are the options of the database that concern compaction.
type Options struct {
	Disabled          bool
	Levels            []time.Duration
	L0Retention       time.Duration
	SnapshotInterval  time.Duration
	SnapshotRetention time.Duration
	ReadTimeout       time.Duration
	Now               func() time.Time // the time of day, which ages of files are measured with
}

// Notes is what write mode and compaction tell each other about the files of the
// replica. It is safe for concurrent use.
type Notes interface {
	// Made adds a file that compaction has made of others.
	Made(info *ltx.FileInfo)

	// Saw compares view v with a listing of all levels that was made after it.
	Saw(v *view.View, files []*ltx.FileInfo)

	// IsLookDue reports whether it is time to list all levels again.
	IsLookDue() bool

	// TakeOutgrown reports whether a listing of all levels since the last call of
	// TakeOutgrown has shown that the newest snapshot is outgrown.
	TakeOutgrown() bool
}

// Compaction compacts the replica of a database while write mode is on. It is safe
// for concurrent use.
type Compaction struct {
	*Deps
	news chan struct{} // holds a value if there may be new files

	mu struct {
		sync.Mutex // duty: all of this; the lock of task.Group is taken under it
		running    bool
		problem    string // errors that stop compaction; empty if there are none
	}
}

// New returns the compaction of a database. It does nothing before Start.
func New(deps *Deps) *Compaction {
	return &Compaction{Deps: deps, news: make(chan struct{}, 1)}
}

// Start starts the goroutine that compacts. If it runs, Start tells it that there
// may be new files.
func (c *Compaction) Start() {
	if c.Opts.Disabled {
		return
	}
	task.Signal(c.news)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.running {
		c.mu.running = c.Tasks.Go(c.run)
	}
}

// end reports whether the goroutine has to end, and records that it does. It does
// not end if there may be new files.
func (c *Compaction) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.news) > 0 && !c.Tasks.Closed() {
		return false
	}
	c.mu.running = false
	return true
}

// setProblem sets the errors that stop compaction.
func (c *Compaction) setProblem(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.problem = text
}

// Problem returns the errors that stop compaction, an empty text if there are
// none.
func (c *Compaction) Problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.problem
}

// run compacts until there is nothing left to compact or write mode ends.
func (c *Compaction) run() {
	r := newCompactor(c.Deps, c.setProblem)
	if err := r.begin(); err != nil && !errors.Is(err, context.Canceled) {
		c.Log.Warn("compaction cannot list the files of earlier processes", "error", err)
	}
	r.news()
	for {
		at, ok := r.due.next()
		if !ok && c.end() {
			return
		}
		timer := time.NewTimer(at.Sub(c.Opts.Now()))
		select {
		case <-timer.C:
		case <-c.news:
			r.news()
		case <-c.Tasks.Context().Done():
		}
		timer.Stop()
		if c.Tasks.Closed() || !c.Enabled() {
			if c.end() {
				return
			}
			continue
		}
		r.run()
	}
}

// compactor is the state of the goroutine that compacts. It is not safe for
// concurrent use.
type compactor struct {
	*Deps
	due      schedule
	problems problems

	from   [view.Levels]ltx.TXID // first transaction of the newest file of each level, 0 if unknown
	pruned ltx.TXID              // first transaction of the file of level 1 that the retention of level 0 goes on from
	there  map[view.Key]bool     // files that this process has read, at least their ends
	unread map[view.Key]bool     // files that this process has made and not read back yet

	foreign map[view.Key]view.Listing // files that have other transactions than the view
}

func newCompactor(deps *Deps, report func(text string)) *compactor {
	return &compactor{
		Deps:     deps,
		due:      newSchedule(deps.Opts),
		problems: problems{log: deps.Log, tasks: deps.Tasks, report: report, of: make(map[string]error)},
		there:    make(map[view.Key]bool),
		unread:   make(map[view.Key]bool),
		foreign:  make(map[view.Key]view.Listing),
	}
}

// begin schedules the compaction of files that earlier processes have left.
func (c *compactor) begin() error {
	ctx, cancel := c.within(0)
	defer cancel()
	files, err := c.Store.ListAll(ctx, false)
	if err != nil || len(files) == 0 {
		return err
	}
	var made [view.Levels]time.Time // of the newest file of each level
	var last [view.Levels]ltx.TXID
	now := c.Opts.Now()
	oldest, behind := now, c.behind(files)
	for _, f := range files {
		at := f.CreatedAt.Add(behind)
		if last[f.Level] < f.MaxTXID {
			last[f.Level], made[f.Level] = f.MaxTXID, at
		}
		if at.Before(oldest) {
			oldest = at
		}
	}
	for level := 1; level < len(c.due.levels); level++ {
		if last[level] < last[level-1] {
			from := oldest
			if last[level] > 0 {
				from = earlier(made[level], now)
			}
			c.due.levels[level] = from.Add(c.Opts.Levels[level-1])
		}
	}
	if last[1] > 0 && c.Opts.L0Retention >= 0 {
		c.due.retention = now.Add(c.Opts.L0Retention)
	}
	if c.Opts.SnapshotInterval > 0 {
		if last[replica.SnapshotLevel] > 0 {
			oldest = earlier(made[replica.SnapshotLevel], now)
		}
		c.due.snapshot = oldest.Add(c.Opts.SnapshotInterval)
	}
	if plan, _ := view.Extend(0, c.Views.Current.Load().TXID, files); view.IsOutgrown(plan) {
		c.due.grow()
	}
	return nil
}

// earlier returns the earlier one of the stamp of a file and the present time. The
// clock of the process that made the file may have been ahead, and nothing is due
// later for that.
func earlier(stamp, now time.Time) time.Time {
	if stamp.After(now) {
		return now
	}
	return stamp
}

// news schedules the compaction of new files of level 0.
func (c *compactor) news() {
	c.due.news()
	if c.Notes.TakeOutgrown() {
		c.due.grow()
	}
}

// run compacts, deletes and makes snapshots as they are due.
func (c *compactor) run() {
	var err error
	defer func() { c.problems.note("compaction", err) }()
	defer task.Guard(c.Log, "compaction", &err)
	now := c.Opts.Now()
	merged := c.compactLevels(now)
	if isDue(&c.due.retention, now) {
		again, err := c.pruneLevel0(now)
		c.due.retention = again
		c.ended("retention of level 0", &c.due.retention, err)
	}
	if merged {
		c.ended("look at snapshots", nil, c.checkGrowth())
	}
	if isDue(&c.due.growth, now) {
		made, err := c.snapshot(false)
		if made && !c.due.snapshot.IsZero() {
			c.due.snapshot = now.Add(c.Opts.SnapshotInterval)
		}
		c.ended("snapshot", &c.due.growth, err)
	}
	if isDue(&c.due.snapshot, now) {
		_, err := c.snapshot(true)
		c.ended("snapshot", &c.due.snapshot, err)
	}
}

// compactLevels compacts to the levels that are due. It reports whether it made a
// file of a level above 1.
func (c *compactor) compactLevels(now time.Time) (merged bool) {
	for level := 1; level < len(c.due.levels); level++ {
		if !isDue(&c.due.levels[level], now) {
			continue
		}
		made, more, err := c.compact(level)
		if more {
			c.due.levels[level] = now
		}
		c.ended(fmt.Sprintf("level %d", level), &c.due.levels[level], err)
		if made {
			merged = merged || level > 1
			c.due.in(level + 1)
			if level == 1 && c.due.retention.IsZero() && c.Opts.L0Retention >= 0 {
				c.due.retention = now.Add(c.Opts.L0Retention)
			}
		}
	}
	return merged
}

// ended records the result of a job, and schedules another attempt after an error.
func (c *compactor) ended(what string, due *time.Time, err error) {
	if err != nil && due != nil {
		*due = c.Opts.Now().Add(compactionRetry)
		if errors.Is(err, ErrLevelGap) {
			*due = c.Opts.Now().Add(stalledRetry)
		}
	}
	c.problems.note(what, err)
}

// within returns a context for requests that transfer a number of bytes.
func (c *compactor) within(bytes int64) (context.Context, context.CancelFunc) {
	return c.Tasks.WithTransfer(c.Opts.ReadTimeout, bytes)
}
