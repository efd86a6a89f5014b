package hydrate

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/testlog"
)

// A borrower is complete when the file of the owner is, and catches up once that has
// lost pages. It reports all that changes, and says once that the file is complete.
func TestState_Borrows(t *testing.T) {
	for from, behind := range map[Status]Status{Restoring: CatchingUp, OnDemand: OnDemand} {
		log := new(testlog.Buffer)
		s := newHydrationState(slog.New(slog.NewTextHandler(log, nil)), make(chan struct{}, 1), from)
		s.begin(from)
		for i, tt := range []struct {
			complete bool
			want     Status
			report   bool
			logged   int // how often it was complete so far
		}{
			{false, from, true, 0}, {false, from, true, 0}, {true, Complete, true, 1}, {true, Complete, false, 1},
			{false, behind, true, 1}, {false, behind, true, 1}, {true, Complete, true, 2},
		} {
			if report := s.borrows(tt.complete, 7); report != tt.report || s.progress().Status != tt.want {
				t.Errorf("%s, step %d: %s, report %v, want %s and %v", from, i, s.progress().Status, report, tt.want, tt.report)
			}
			if n := strings.Count(log.String(), "is complete"); n != tt.logged {
				t.Errorf("%s, step %d: it was logged %d times, want %d", from, i, n, tt.logged)
			}
		}
	}
}

// Each tenth of a copy is logged once, and the end. What comes after it is not.
func TestState_Tenths(t *testing.T) {
	log := new(testlog.Buffer)
	s := newHydrationState(slog.New(slog.NewTextHandler(log, nil)), make(chan struct{}, 1), Restoring)
	l, _, v2 := somePages(t)
	s.begin(Restoring)
	for pgno := uint32(1); pgno <= 10; pgno++ {
		putPage(t, l, 0, pgno, 1)
		for range 2 {
			if s.update(l); s.progress().Status != Restoring {
				t.Errorf("after page %d it is %s", pgno, s.progress().Status)
			}
		}
	}
	l.settleAll()
	for range 2 {
		s.update(l)
	}
	hold(t, l, v2)
	if s.update(l); s.progress().Status != CatchingUp {
		t.Errorf("with another view it is %s", s.progress().Status)
	}
	putPage(t, l, 0, 5, 2)
	l.settleAll()
	if s.update(l); s.progress().Status != Complete {
		t.Errorf("with the page of the other view it is %s", s.progress().Status)
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		if _, percent, ok := strings.Cut(line, "percent="); ok {
			percent, _, _ = strings.Cut(percent, " ")
			got = append(got, percent)
		}
	}
	// One page was there from the beginning.
	if want := "20 30 40 50 60 70 80 90"; strings.Join(got, " ") != want {
		t.Errorf("logged %s, want %s", got, want)
	}
	if n := strings.Count(log.String(), "hydration complete"); n != 1 {
		t.Errorf("it was complete %d times", n)
	}
	s.pauseFailed(errors.New("no room"))
	if !s.update(l) || s.update(l) || s.progress().Status != Failed {
		t.Error("a pause is reported once")
	}
}

// Pages on demand are complete if all are there, and stay so until one changes.
func TestState_OnDemand(t *testing.T) {
	s := newHydrationState(slog.New(slog.DiscardHandler), make(chan struct{}, 1), OnDemand)
	s.begin(OnDemand)
	l, _, v2 := somePages(t)
	step := func(what string, want Status) {
		t.Helper()
		if s.update(l); s.progress().Status != want {
			t.Errorf("%s: %s, want %s", what, s.progress().Status, want)
		}
	}
	step("one page", OnDemand)
	for pgno := uint32(1); pgno <= 10; pgno++ {
		putPage(t, l, 0, pgno, 1)
	}
	l.settleAll()
	step("all pages", Complete)
	step("all pages again", Complete)
	hold(t, l, v2)
	step("a page has changed", OnDemand)
}
