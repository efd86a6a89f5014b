package maintain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/compact"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// CompactOptions are the options of Compact.
type CompactOptions struct {
	Requests

	// Level is the level that files of the level below are merged into. Zero means
	// all levels of Levels.
	Level int

	// Levels are the lengths of time that a file of each level covers, from level 1
	// on. Nil means DefaultLevels. A length is at least a millisecond.
	Levels []time.Duration

	// Young merges files as well that a primary which runs would still merge.
	Young bool

	// Time is the time that tells which files are young. Zero means now.
	Time time.Time
}

// DefaultLevels returns the lengths of time that a file of level 1, 2 and 3 covers.
// They are Litestream's.
func DefaultLevels() []time.Duration {
	return []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour}
}

// CompactedLevel says what Compact has done for a level.
type CompactedLevel struct {
	Level int   `json:"level"`
	Files int   `json:"files"` // LTX files that were made
	Bytes int64 `json:"bytes"` // their size
	Of    int   `json:"of"`    // LTX files of the level below that they hold
	Left  int   `json:"left"`  // LTX files of the level below that are too young
}

// Compacted says what Compact has done.
type Compacted struct {
	Levels []CompactedLevel `json:"levels"`

	// Gap says which transactions are missing, if files after a gap cannot be
	// merged. It is empty otherwise.
	Gap string `json:"gap,omitempty"`
}

// Compact merges the files of each level into fewer files of the next one, as write
// mode and Litestream do: level 0 into level 1, level 1 into level 2 and so on. It
// is for replicas whose primary does not do that, or does not run any more. A file
// holds the transactions of one window of time, such as 10:00 to 11:00 UTC for a
// level of an hour, so the states at the ends of the windows each take few files.
//
// Files are made and never changed or deleted, so every state that could be restored
// before can be restored afterwards. Prune deletes what is not needed any more. Each
// file appears as a whole and is read back. After an error, the next call goes on
// where this one ended.
//
// Compact may run while a primary writes to the replica and compacts it: it merges a
// window only when twice its length has passed since its end, unless Young is set. A
// primary that runs has merged it by then. With Young, Compact and a primary may
// both merge the same transactions, into files of different ends. Reading stands
// that, but Litestream may then miss files when it merges the level further.
func Compact(ctx context.Context, client replica.Client, opts CompactOptions) (*Compacted, error) {
	if opts.Levels == nil {
		opts.Levels = DefaultLevels()
	}
	if len(opts.Levels) >= replica.SnapshotLevel || slices.ContainsFunc(opts.Levels, func(d time.Duration) bool { return d < time.Millisecond }) {
		return nil, fmt.Errorf("compact: %w: levels of %v, want at most %d of at least a millisecond", fs.ErrInvalid, opts.Levels, replica.SnapshotLevel-1)
	}
	if opts.Level < 0 || opts.Level > len(opts.Levels) {
		return nil, fmt.Errorf("compact: %w: level %d, want 1 to %d", fs.ErrInvalid, opts.Level, len(opts.Levels))
	}
	if opts.Time.IsZero() {
		opts.Time = time.Now()
	}
	c := &compaction{session: newSession(client, opts.Requests), opts: opts}
	result, err := c.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("compact: %w", err)
	}
	return result, nil
}

// compaction is a run of Compact.
type compaction struct {
	*session
	opts  CompactOptions
	files []*ltx.FileInfo // of the replica, also those that the run has made
}

func (c *compaction) run(ctx context.Context) (*Compacted, error) {
	result := &Compacted{}
	for level := range c.opts.Levels {
		if level++; c.opts.Level == 0 || level == c.opts.Level {
			result.Levels = append(result.Levels, CompactedLevel{Level: level})
		}
	}
	for attempt := 1; ; attempt++ {
		err := c.all(ctx, result)
		// A primary may have replaced files by others since they were listed.
		if err == nil || !isGone(err) || attempt == listings {
			return result, err
		}
	}
}

// all compacts all levels, and adds to result what it has done.
func (c *compaction) all(ctx context.Context, result *Compacted) (err error) {
	if c.files, err = c.listDated(ctx); err != nil {
		return err
	}
	if len(c.files) == 0 {
		return c.nothing(ctx)
	}
	for i := range result.Levels {
		if err := c.level(ctx, &result.Levels[i]); err != nil {
			return err
		}
	}
	if _, err := view.PlanLatest(0, c.files); err != nil {
		result.Gap = err.Error()
	}
	return nil
}

// listDated lists all files, with timestamps as exact as the store can tell. That may
// take a request for each file, so it has ten times the time limit of a request.
func (s *session) listDated(ctx context.Context) ([]*ltx.FileInfo, error) {
	if s.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, 10*s.timeout)
		defer cancel()
		ctx = limited
	}
	if err := s.store.Init(ctx); err != nil {
		return nil, err
	}
	return s.store.ListAll(ctx, true)
}

// level merges the files of the level below into files of a level.
func (c *compaction) level(ctx context.Context, done *CompactedLevel) error {
	_, limit := view.Extend(0, math.MaxUint64, c.files)
	for done.Left = 0; done.Left == 0; {
		inputs, err := c.next(done.Level, limit)
		if len(inputs) == 0 || err != nil {
			return err
		}
		var windows [][]*ltx.FileInfo
		if windows, done.Left, err = c.windows(ctx, inputs, c.opts.Levels[done.Level-1]); err != nil {
			return err
		}
		for _, inputs := range windows {
			c.progress.expect(inputs)
			key := view.Key{Level: done.Level, MinTXID: inputs[0].MinTXID, MaxTXID: inputs[len(inputs)-1].MaxTXID}
			info, made, err := c.merge(ctx, key, inputs)
			if err != nil {
				return err
			}
			info.CreatedAt = inputs[len(inputs)-1].CreatedAt.In(info.CreatedAt.Location())
			c.files = append(c.files, info)
			if made {
				done.Files++
				done.Bytes += info.Size
				done.Of += len(inputs)
			}
		}
	}
	return nil
}

// windows cuts inputs into those of the windows of a length, and counts those of
// windows that are too young to be merged.
func (c *compaction) windows(ctx context.Context, inputs []*ltx.FileInfo, length time.Duration) (windows [][]*ltx.FileInfo, left int, err error) {
	var open int64 // the last window
	for i, f := range inputs {
		at := f.CreatedAt.UnixMilli()
		if f.CreatedAt.IsZero() {
			if at, err = c.timestamp(ctx, f); err != nil {
				return nil, 0, err
			}
			f.CreatedAt = time.UnixMilli(at).In(f.CreatedAt.Location()) // which may carry the version
		}
		window := at / length.Milliseconds()
		end := time.UnixMilli((window + 1) * length.Milliseconds())
		if !c.opts.Young && c.opts.Time.Before(end.Add(2*length)) {
			return windows, len(inputs) - i, nil
		}
		if n := len(windows); n == 0 || window != open || len(windows[n-1]) == compact.MostInputs {
			windows, open = append(windows, nil), window
		}
		n := len(windows) - 1
		windows[n] = append(windows[n], f)
	}
	return windows, 0, nil
}

// next returns the files of the level below that are merged into a level next.
func (c *compaction) next(level int, limit ltx.TXID) ([]*ltx.FileInfo, error) {
	var last ltx.TXID
	var below []*ltx.FileInfo
	for _, f := range c.files {
		if f.Level == level {
			last = max(last, f.MaxTXID)
		}
	}
	for _, f := range c.files {
		if f.Level == level-1 && f.MaxTXID > last {
			below = append(below, f)
		}
	}
	slices.SortFunc(below, func(a, b *ltx.FileInfo) int { return view.KeyOf(a).Compare(view.KeyOf(b)) })
	inputs, err := compact.Next(level, last, limit, below, listed{c.files, level - 1})
	if errors.Is(err, compact.ErrLevelGap) {
		err = nil // the result says which transactions are missing
	}
	return inputs, err
}

// listed answers compact.Next from a listing.
type listed struct {
	files []*ltx.FileInfo
	below int
}

func (l listed) All() ([]*ltx.FileInfo, error) { return l.files, nil }

func (l listed) Below() (files []*ltx.FileInfo, err error) {
	for _, f := range l.files {
		if f.Level == l.below {
			files = append(files, f)
		}
	}
	return files, nil
}
