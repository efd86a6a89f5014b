package hydrate

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/superfly/ltx"
)

// An owner has stopped if it did not run for long, and this process has seen that
// for a while. An owner that runs again, or one whose clock differs, has not.
func TestStalled(t *testing.T) {
	if pageshare.Supported() != nil {
		t.Skip("no sharing here")
	}
	synctest.Test(t, func(t *testing.T) {
		var s stalled
		old := pageshare.Now() - int64(stoppedAfter) - 1
		if s.is(pageshare.Now()) || s.is(old) {
			t.Error("it was seen once")
		}
		time.Sleep(2*beatEvery + time.Millisecond)
		if s.is(old-1) || s.is(old) {
			t.Error("it has run meanwhile")
		}
		time.Sleep(2*beatEvery + time.Millisecond)
		if !s.is(old) {
			t.Error("it does not run")
		}
		if s.is(pageshare.Now()) || s.is(old) {
			t.Error("it runs again")
		}
	})
}

// Storage is asked again after longer and longer times, and at once for another
// owner.
func TestAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asks
		began, asked := time.Now(), []int(nil)
		for range 300 {
			if a.may(1) {
				asked = append(asked, int(time.Since(began).Seconds()))
			}
			time.Sleep(time.Second)
		}
		if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}; !slices.Equal(asked, want) {
			t.Errorf("after %d seconds, want %d", asked, want)
		}
		if !a.may(2) || a.may(2) {
			t.Error("another owner")
		}
	})
}

// The owner finds that pages were wrong and ends, after this process has looked for that
// and before it notices the end. Then what was read is forgotten, too.
func TestShare_WrongAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		wrong   bool
		closed  bool // the database, whose queries have ended
		forgets int32
	}{{"wrong", true, false, 1}, {"right", false, false, 0}, {"closed", true, true, 0}} {
		path := sharedPath(t)
		b := newBed(t)
		l := b.lends(path)
		n := b.another()
		h := n.new(Options{Path: path})
		lent, err := openLent(path, n.access.Views, make(chan struct{}, 1))
		if err != nil {
			t.Fatal(err)
		}
		h.sharing.lent = lent
		if tt.wrong {
			l.share.Load().NoteWrong()
		}
		if tt.closed {
			n.close()
		}
		h.stopBorrowing()
		if got := n.forgotten.Load(); got != tt.forgets || h.sharing.lent != nil {
			t.Errorf("%s: what was read is forgotten %d times", tt.name, got)
		}
		b.close()
	}
}

// The owner of a file that this process has replaced goes on and finds that pages were
// wrong. None of them stays in the new file, whose checksums are not compared.
func TestShare_WrongAndSuperseded(t *testing.T) {
	for _, event := range []string{"before: write record", "before: write pages"} {
		path := sharedPath(t)
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			l := b.lends(path)
			for pgno := uint32(1); pgno <= 100; pgno++ { // pages that are no good
				if _, err := l.write(b.view().Epoch, pgno, []ltx.TXID{1}, make([]byte, bedPageSize)); err != nil {
					t.Fatal(err)
				}
			}
			n, other := b.another(), b.another()
			var once sync.Once
			var third *lentPages // the new file, as another process borrows it while pages are copied
			h := n.new(Options{Path: path, Mode: Pages, OnDisk: func(at string) error {
				if at != event {
					return nil
				}
				once.Do(func() {
					if event == "before: write pages" {
						var err error
						if third, err = openLent(path, other.access.Views, make(chan struct{}, 1)); err != nil {
							t.Error(err)
						} else if third.compare(other.access, never); third.common.Load() == nil {
							t.Error("nothing of the new file is borrowed")
						}
					}
					l.share.Load().NoteWrong()
				})
				return nil
			}})
			lent, err := openLent(path, n.access.Views, make(chan struct{}, 1))
			if err != nil {
				t.Fatal(err)
			}
			status, _ := lent.compare(n.access, func(uint64) bool { return false })
			if h.sharing.lent = lent; lent.common.Load() == nil {
				t.Fatal("nothing is borrowed")
			}
			if h.sharing.begun = h.supersede(lent, status); h.sharing.begun == nil {
				t.Fatalf("the file is not replaced\n%s", n.log)
			}
			h.Start()
			synctest.Wait()
			n.want(h, OnDemand, 0, 0)
			if n.forgotten.Load() != 1 {
				t.Errorf("%s: what was read is forgotten %d times\n%s", event, n.forgotten.Load(), n.log)
			}
			if third != nil {
				status, ok := third.table.Status()
				if is := third.read(other.view(), 1, make([]byte, bedPageSize)); is || !ok || status.Wrong != 2 {
					t.Errorf("page 1 of the new file is read: %v, and it is said %d times that it is wrong", is, status.Wrong)
				}
				_ = third.close()
			}
			n.close()
			b.close()
		})
	}
}

// A borrower hears that pages are wrong while they are still in the table. It forgets
// what it has read, and reads a page again. It hears of it once more.
func TestShare_WrongReadAgain(t *testing.T) {
	path := sharedPath(t)
	b := newBed(t)
	h := b.new(Options{Path: path})
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	l := h.local()
	if _, err := l.write(b.view().Epoch, 1, []ltx.TXID{1}, make([]byte, bedPageSize)); err != nil {
		t.Fatal(err)
	}
	n := b.another()
	lent, err := openLent(path, n.access.Views, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer lent.close()
	reads := func() bool {
		lent.compare(n.access, never)
		return lent.read(n.view(), 1, make([]byte, bedPageSize))
	}
	if !reads() {
		t.Fatal("page 1 is not lent")
	}
	l.mu.RLock() // the pages cannot be dropped
	done := make(chan error, 1)
	go func() { done <- h.close(fmt.Errorf("%w: page 1", errLocalWrong)) }()
	heard := false
	for deadline := time.Now().Add(time.Minute); !heard && time.Now().Before(deadline); runtime.Gosched() {
		heard = lent.turnedOutWrong()
	}
	lent.common.Store(nil) // as Tier.Drop does
	again := reads()
	l.mu.RUnlock()
	if err := <-done; !errors.Is(err, errLocalWrong) {
		t.Error(err)
	}
	if !heard || !again {
		t.Errorf("it hears of it: %v, and reads page 1 again: %v", heard, again)
	}
	if !lent.turnedOutWrong() {
		t.Error("it does not forget what it has read since")
	}
	if reads() {
		t.Error("page 1 is still read")
	}
}

// An owner whose file was given up by another process finds that pages of it are wrong.
// It forgets what it has read itself, and tells the others, which may copy these pages.
func TestShare_WrongAfterSuperseded(t *testing.T) {
	wrong := fmt.Errorf("%w: page 1", errLocalWrong)
	for name, failures := range map[string][]error{
		"wrong":            {wrong},
		"wrong at first":   {wrong, errSuperseded},
		"wrong afterwards": {errSuperseded, wrong},
	} {
		path := sharedPath(t)
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			n := b.another()
			var h *Hydrator
			var lent *lentPages
			var once sync.Once
			h = b.new(Options{Path: path, OnProgress: func(p Progress) {
				if p.Status != Complete {
					return
				}
				once.Do(func() {
					var err error
					if lent, err = openLent(path, n.access.Views, make(chan struct{}, 1)); err != nil {
						t.Error(err)
					}
					h.local().share.Load().Abandon()
					for _, failure := range failures {
						h.failed <- failure
					}
				})
			}})
			h.Start()
			synctest.Wait()
			b.want(h, Complete, 100, 100)
			if got := b.forgotten.Load(); got != 1 || !strings.Contains(b.log.String(), "another process has taken over") {
				t.Errorf("%s: what was read is forgotten %d times\n%s", name, got, b.log)
			}
			if lent == nil {
				t.Fatalf("%s: nothing was borrowed\n%s", name, b.log)
			}
			if !lent.turnedOutWrong() {
				t.Errorf("%s: the others do not hear of it", name)
			}
			_ = lent.close()
		})
	}
}

// Wrong pages that are found while the database is closed count, too. What else fails then
// does not.
func TestWithAll_Closed(t *testing.T) {
	failed := make(chan error, 2)
	failed <- errSuperseded
	if err := withAll(nil, failed); err != nil {
		t.Errorf("taken over: %v", err)
	}
	failed <- errSuperseded
	failed <- errLocalWrong
	if err := withAll(nil, failed); !errors.Is(err, errLocalWrong) || errors.Is(err, errSuperseded) {
		t.Errorf("taken over and wrong: %v", err)
	}
}

// A temporary file is kept for its pages when this process uses the file at the path
// again, unless they turn out to be wrong at the same moment.
func TestClose_Spare(t *testing.T) {
	wrong := fmt.Errorf("%w: page 1", errLocalWrong)
	for _, problem := range []error{errOtherRole, errors.Join(errOtherRole, wrong)} {
		h := newBed(t).new(Options{})
		if err := h.open(); err != nil {
			t.Fatal(err)
		}
		if err := h.close(problem); !errors.Is(err, errOtherRole) || errors.Is(err, errLocalWrong) != errors.Is(problem, errLocalWrong) {
			t.Errorf("%v: close: %v", problem, err)
		}
		if kept := h.sharing.spare != nil; kept != (problem == errOtherRole) {
			t.Errorf("%v: its pages are kept: %v", problem, kept)
		}
		h.dropSpare()
	}
}
