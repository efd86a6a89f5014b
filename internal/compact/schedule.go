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

// compactionRetry is the time between attempts after an error.
const compactionRetry = 10 * time.Second

// stalledRetry is the time between attempts while files are missing.
const stalledRetry = time.Minute

// schedule holds the times at which the jobs of a compactor are due. A zero time
// means that the job is not needed.
type schedule struct {
	opts      Options
	levels    []time.Time // compaction to each level, from 1 on
	snapshot  time.Time   // the next snapshot
	growth    time.Time   // a snapshot because the newest one is outgrown
	retention time.Time   // deletion of files of level 0
}

func newSchedule(opts Options) schedule {
	return schedule{opts: opts, levels: make([]time.Time, len(opts.Levels)+1)}
}

// next returns the time of the first job, and false if there is none.
func (s *schedule) next() (at time.Time, ok bool) {
	for _, t := range append([]time.Time{s.snapshot, s.growth, s.retention}, s.levels...) {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// news schedules the compaction of new files of level 0.
func (s *schedule) news() {
	s.in(1)
	if s.snapshot.IsZero() && s.opts.SnapshotInterval > 0 {
		s.snapshot = s.opts.Now().Add(s.opts.SnapshotInterval)
	}
}

// in schedules compaction to a level after its interval, unless it is scheduled
// already.
func (s *schedule) in(level int) {
	if level < len(s.levels) && s.levels[level].IsZero() {
		s.levels[level] = s.opts.Now().Add(s.opts.Levels[level-1])
	}
}

// grow schedules a snapshot for now, because the newest one is outgrown.
func (s *schedule) grow() {
	if s.opts.SnapshotInterval >= 0 && s.growth.IsZero() {
		s.growth = s.opts.Now()
	}
}

// isDue reports whether a time has come. If so, it sets the time to zero.
func isDue(t *time.Time, now time.Time) bool {
	if t.IsZero() || t.After(now) {
		return false
	}
	*t = time.Time{}
	return true
}

// problems holds the errors of jobs that have failed.
type problems struct {
	log    *slog.Logger
	tasks  *task.Group
	report func(text string) // called with the text of all errors after each change
	of     map[string]error  // errors by job
}

// note records the result of a job. It logs the first error, and that no error is
// left.
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

// text returns the text of all errors.
func (p *problems) text() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(p.of)) {
		all = append(all, fmt.Sprintf("%s: %v", what, p.of[what]))
	}
	return strings.Join(all, "; ")
}
