package hydrate

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
)

// hydrationState is the status of a hydration, and what is logged of it. It is
// safe for concurrent use.
type hydrationState struct {
	log  *slog.Logger
	wake chan struct{} // holds one if the state is to be reported
	read atomic.Int64  // bytes read from storage
	from Status        // of a hydration that has just begun

	mu struct {
		sync.Mutex
		status  Status
		problem error     // why hydration failed or pauses
		since   time.Time // when this status began
		before  int64     // value of read when this status began
		step    int       // tenths that were logged
		changed bool      // since it was reported
	}
}

func newHydrationState(log *slog.Logger, wake chan struct{}, from Status) *hydrationState {
	s := &hydrationState{log: log, wake: wake, from: from}
	s.mu.status = Idle
	return s
}

// enter sets the status. The caller holds mu.
func (s *hydrationState) enter(status Status, step int) {
	s.mu.status, s.mu.since, s.mu.before, s.mu.step = status, time.Now(), s.read.Load(), step
}

// begin sets the status of a hydration that goes on.
func (s *hydrationState) begin(status Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.changed = true
	s.mu.problem = nil
	if s.mu.status != status {
		s.enter(status, 0)
	}
	task.Signal(s.wake)
}

// pause notes why hydration does not go on for now.
func (s *hydrationState) pause(err error) { s.pauseAs("", err) }

// pauseFailed is pause for a problem that an operator has to solve. Until then
// hydration counts as failed.
func (s *hydrationState) pauseFailed(err error) { s.pauseAs(Failed, err) }

// pauseAs is pause with a status, unless that is empty.
func (s *hydrationState) pauseAs(status Status, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.problem == nil {
		s.log.Warn("hydration pauses", "error", err)
	}
	s.mu.changed = true
	s.mu.problem = err
	if status != "" {
		s.mu.status = status
	}
	task.Signal(s.wake)
}

// resume ends a pause.
func (s *hydrationState) resume() {
	s.mu.Lock()
	paused, failed := s.mu.problem != nil, s.mu.status == Failed
	s.mu.problem = nil
	s.mu.Unlock()
	if paused {
		s.log.Info("hydration goes on")
	}
	if failed {
		s.begin(s.from)
	}
}

// fail sets the status of a hydration that has ended.
func (s *hydrationState) fail(err error) {
	s.mu.Lock()
	s.mu.status, s.mu.problem = Failed, err
	s.mu.Unlock()
	s.log.Error("hydration failed", "error", err)
}

// progress returns the status, and what is known here of the progress.
func (s *hydrationState) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{Status: s.mu.status, Bytes: s.read.Load()}
	if s.mu.problem != nil {
		p.Error = s.mu.problem.Error()
	}
	return p
}

// borrows changes the status of a process that reads from the file of another
// one. It reports whether that is worth a report.
func (s *hydrationState) borrows(complete bool, owner int) (report bool) {
	s.mu.Lock()
	before := s.mu.status
	switch {
	case complete && before != Complete:
		s.mu.status, s.mu.problem = Complete, nil
	case !complete && before == Complete && s.from == OnDemand:
		s.enter(OnDemand, 0)
	case !complete && before == Complete:
		s.enter(CatchingUp, 0)
	}
	report = s.mu.changed || before != s.mu.status
	s.mu.changed = false
	s.mu.Unlock()
	if complete && before != Complete {
		s.log.Info("the hydration file of another process is complete", "owner", owner)
	}
	return report || !complete
}

// update changes the status by what is missing of a local file that holds a
// view, and logs every tenth. It reports whether that is worth a report.
func (s *hydrationState) update(l *localPages) (report bool) {
	total, missing := l.total.Load(), l.missing()
	if l.view() == nil {
		return false
	}
	s.mu.Lock()
	changed := s.mu.changed
	s.mu.changed = false
	if s.mu.status == Failed || s.mu.status == Idle {
		s.mu.Unlock()
		return changed
	}
	before := s.mu.status
	complete := l.isComplete()
	step := 10
	if !complete {
		step = min(int(10*(total-missing)/max(total, 1)), 9)
	}
	done := complete && before != Complete
	switch {
	case done:
		s.mu.status, s.mu.problem = Complete, nil
	case !complete && before == Complete && s.from == OnDemand:
		s.enter(OnDemand, step)
	case !complete && before == Complete:
		s.enter(CatchingUp, step)
	}
	tenth := before == Restoring && step > s.mu.step && !done
	s.mu.step = max(s.mu.step, step)
	took, bytes := time.Since(s.mu.since), s.read.Load()-s.mu.before
	s.mu.Unlock()
	switch {
	case done && before == Restoring:
		size := total * l.size
		s.log.Info("hydration complete", "pages", total, "bytes_read", bytes, "duration", took,
			"mb_per_s", int64(float64(size)/1e6/max(took.Seconds(), 1e-3)), "verified", l.compared.Load())
	case tenth:
		s.log.Info("hydration", "percent", step*10, "pages", total-missing, "of", total)
	}
	return changed || done || !complete
}
