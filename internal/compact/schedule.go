package compact

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
)

// compactionRetry is how long after an error something is tried again.
const compactionRetry = 10 * time.Second

// stalledRetry is the same where files are missing.
const stalledRetry = time.Minute

// schedule says when what a compactor does is due. A zero time means that there
// is nothing to do.
type schedule struct {
	opts      Options
	levels    []time.Time // by level, from 1 on
	snapshot  time.Time   // the next snapshot
	growth    time.Time   // a snapshot that is made because the newest was outgrown
	retention time.Time   // when files of level 0 may be old enough to be deleted
}

func newSchedule(opts Options) schedule {
	return schedule{opts: opts, levels: make([]time.Time, len(opts.Levels)+1)}
}

// next returns when the first thing is due, false if nothing is.
func (s *schedule) next() (at time.Time, ok bool) {
	for _, t := range append([]time.Time{s.snapshot, s.growth, s.retention}, s.levels...) {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// news has files of level 0 be compacted.
func (s *schedule) news() {
	s.in(1)
	if s.snapshot.IsZero() && s.opts.SnapshotInterval > 0 {
		s.snapshot = time.Now().Add(s.opts.SnapshotInterval)
	}
}

// in has a level be compacted after its interval, unless it is due already.
func (s *schedule) in(level int) {
	if level < len(s.levels) && s.levels[level].IsZero() {
		s.levels[level] = time.Now().Add(s.opts.Levels[level-1])
	}
}

// grow has a snapshot be made now, as the newest was outgrown.
func (s *schedule) grow() {
	if s.opts.SnapshotInterval >= 0 && s.growth.IsZero() {
		s.growth = time.Now()
	}
}

// isDue reports whether a time has come, and makes it zero then.
func isDue(t *time.Time, now time.Time) bool {
	if t.IsZero() || t.After(now) {
		return false
	}
	*t = time.Time{}
	return true
}

// problems are the errors by which something does not go on.
type problems struct {
	log    *slog.Logger
	tasks  *task.Group
	report func(text string) // is told all of them after each change
	of     map[string]error  // by what does not go on
}

// note notes how something ended. It logs once that something does not go on,
// and once that everything does again.
func (p *problems) note(what string, err error) {
	if p.tasks.Closed() {
		return
	}
	had := len(p.of) > 0
	if err == nil {
		delete(p.of, what)
	} else {
		p.of[what] = err
	}
	text := p.text()
	p.report(text)
	switch {
	case text != "" && !had:
		p.log.Warn("compaction does not go on, and is tried again", "error", text)
	case text == "" && had:
		p.log.Info("compaction goes on")
	}
}

// text describes all problems.
func (p *problems) text() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(p.of)) {
		all = append(all, fmt.Sprintf("%s: %v", what, p.of[what]))
	}
	return strings.Join(all, "; ")
}
