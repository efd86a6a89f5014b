package compact

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
)

// TestCompaction_Schedule says when what is due.
func TestCompaction_Schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(Options{Levels: []time.Duration{time.Minute, time.Hour}, SnapshotInterval: 24 * time.Hour, Now: time.Now})
		start := time.Now()
		want := func(after time.Duration) {
			t.Helper()
			if at, ok := s.next(); !ok || at.Sub(start) != after {
				t.Errorf("due after %v, %v, want %v", at.Sub(start), ok, after)
			}
		}
		if at, ok := s.next(); ok {
			t.Errorf("something is due at %v", at)
		}
		s.news()
		want(time.Minute)
		time.Sleep(time.Second)
		s.news() // level 1 is due already
		want(time.Minute)
		s.in(2)
		s.in(3) // there is none
		if isDue(&s.levels[1], start) || !isDue(&s.levels[1], start.Add(time.Minute)) {
			t.Error("level 1 is due at another time")
		}
		want(time.Second + time.Hour)
		s.grow()
		want(time.Second)
		if !isDue(&s.growth, time.Now()) || !isDue(&s.levels[2], start.Add(2*time.Hour)) {
			t.Error("the others are not due")
		}
		want(24 * time.Hour)
		s.opts.SnapshotInterval = -1
		s.grow()
		want(24 * time.Hour)
	})
}

// TestCompaction_Problems logs the first problem, and the end of the last.
func TestCompaction_Problems(t *testing.T) {
	var text string
	p := problems{log: slog.New(slog.DiscardHandler), tasks: task.NewGroup(), report: func(s string) { text = s }, of: make(map[string]error)}
	wrong := errors.New("wrong")
	for _, tt := range []struct {
		what string
		err  error
		want string
	}{
		{"snapshot", nil, ""},
		{"snapshot", wrong, "snapshot: wrong"},
		{"level 1", wrong, "level 1: wrong; snapshot: wrong"},
		{"snapshot", nil, "level 1: wrong"},
		{"level 1", nil, ""},
	} {
		if p.note(tt.what, tt.err); text != tt.want {
			t.Errorf("after %s, %v: %q, want %q", tt.what, tt.err, text, tt.want)
		}
	}
	p.tasks.Close(errs.ErrClosed)
	if p.note("snapshot", wrong); text != "" {
		t.Errorf("after the end: %q", text)
	}
}

// TestCompaction_Start has one goroutine at most, and loses no news while it
// ends.
func TestCompaction_Start(t *testing.T) {
	deps := &Deps{Tasks: task.NewGroup()}
	c := New(deps)
	c.mu.running = true // by this test, which is the goroutine
	c.Start()
	if c.end() {
		t.Error("it ends with news that nothing has looked at")
	}
	<-c.news
	if !c.end() || c.mu.running {
		t.Error("it does not end")
	}
	c.mu.running = true
	c.Start()
	deps.Tasks.Close(errs.ErrClosed)
	if !c.end() {
		t.Error("it does not end with the database")
	}
	deps.Opts.Disabled = true
	c.Start()
	if c.mu.running {
		t.Error("it starts though it is disabled")
	}
}
