package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
)

// fakeHolder is a connection, as the queue sees it.
type fakeHolder struct{ pinned *view.View }

func (h *fakeHolder) View() *view.View { return h.pinned }
func (h *fakeHolder) Pin(v *view.View) { h.pinned = v }

// noTiers takes no pages.
type noTiers struct{}

func (noTiers) Reset(uint32)                             {}
func (noTiers) Keep(pages.Key, []byte)                   {}
func (noTiers) TakesOffers() bool                        { return false }
func (noTiers) Offer(context.Context, pages.Key, []byte) {}
func (noTiers) Notify()                                  {}

// stillIndex is an index of a replica on which nothing happens.
type stillIndex struct{}

func (stillIndex) CatchUp(context.Context) error { return nil }
func (stillIndex) PointTo(*remote.Loaded) error  { return nil }
func (stillIndex) IsReplaced(context.Context, *view.View, []*ltx.FileInfo) (bool, error) {
	return false, nil
}

// newTestQueue returns a queue of an empty database, without anything that
// syncs. It counts how often a sync was started.
func newTestQueue(t *testing.T) (q *queue, syncs *atomic.Int64) {
	t.Helper()
	deps := &Deps{
		Views: new(view.Views), Tasks: task.NewGroup(), Log: slog.New(slog.DiscardHandler),
		Opts: Options{BufferMaxSize: 10 * testPageSize, Now: time.Now}, Tiers: noTiers{}, Index: stillIndex{},
		Pinned: func() []*view.View { return nil }, Compact: func() {}, FollowAgain: func() {},
	}
	deps.Views.Current.Store(deps.Views.NewState(new(view.View)))
	q, syncs = newQueue(deps), new(atomic.Int64)
	q.upload = func() { syncs.Add(1) }
	b, err := openWriteBuffer("", deps.Log, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.update(func(s *queueState) { s.mode, s.buffer = modeOn, b })
	t.Cleanup(func() {
		deps.Tasks.Close(errs.ErrClosed)
		deps.Tasks.Wait()
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return q, syncs
}

// appendPages appends a commit that changes pages 1 to n.
func appendPages(t *testing.T, q *queue, h *fakeHolder, n uint32) (*Transaction, *LocalCommit) {
	t.Helper()
	tx := NewTransaction(h.pinned, nil)
	for pgno := uint32(1); pgno <= n; pgno++ {
		if err := tx.Write(testPage(pgno, 0), int64(pgno-1)*testPageSize); err != nil {
			t.Fatal(err)
		}
	}
	c, err := q.Append(tx, false)
	if err != nil {
		t.Fatal(err)
	}
	return tx, c
}

// TestQueue_Slot says when a connection gets the writer slot.
func TestQueue_Slot(t *testing.T) {
	lost := errors.New("lost")
	for _, tt := range []struct {
		name   string
		change func(*queueState)
		want   error
	}{
		{"on", func(*queueState) {}, nil},
		{"off", func(s *queueState) { s.mode, s.buffer = modeOff, nil }, errs.ErrReadOnly},
		{"stopping", func(s *queueState) { s.mode = modeStopping }, ErrBusy},
		{"lost", func(s *queueState) { s.mode, s.buffer, s.lost.err = modeLost, nil, lost }, lost},
		{"closing", func(s *queueState) { s.mode = modeClosing }, errs.ErrReadOnly},
		{"closed", func(s *queueState) { s.mode, s.buffer = modeClosed, nil }, errs.ErrReadOnly},
		{"held", func(s *queueState) { s.holder = new(fakeHolder) }, ErrBusy},
		{"full", func(s *queueState) { s.segments = []*segment{{bytes: 10 * testPageSize}} }, ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, _ := newTestQueue(t)
			q.update(tt.change)
			h := &fakeHolder{q.Views.Newest()}
			if err := q.Begin(h); !errors.Is(err, tt.want) {
				t.Errorf("begin: %v, want %v", err, tt.want)
			} else if err != nil && strings.Contains(err.Error(), "%!") {
				t.Errorf("begin: malformed text: %v", err)
			}
			if got := q.holder() == SlotHolder(h); got != (tt.want == nil) {
				t.Errorf("holds the slot: %v", got)
			}
		})
	}
	for _, tt := range []struct {
		txid     ltx.TXID
		segments int
		want     error
	}{
		{commitlog.MostBase, 0, nil},
		{commitlog.MostBase + 1, 0, errs.ErrReadOnly},
		{commitlog.MostBase - 1, 1, nil},
		{commitlog.MostBase, 1, errs.ErrReadOnly},
		{math.MaxUint64, 0, errs.ErrReadOnly},
	} {
		t.Run(fmt.Sprintf("%d segments after %s", tt.segments, tt.txid), func(t *testing.T) {
			q, _ := newTestQueue(t)
			q.Views.Current.Store(q.Views.NewState(&view.View{TXID: tt.txid}))
			q.update(func(s *queueState) { s.segments = make([]*segment, tt.segments) })
			for i := range tt.segments {
				q.update(func(s *queueState) { s.segments[i] = new(segment) })
			}
			if err := q.Begin(&fakeHolder{q.Views.Newest()}); !errors.Is(err, tt.want) {
				t.Errorf("begin: %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("older state", func(t *testing.T) {
		q, _ := newTestQueue(t)
		old := &fakeHolder{q.Views.NewState(new(view.View))}
		if err := q.Begin(old); !errors.Is(err, ErrBusy) {
			t.Errorf("begin: %v", err)
		}
	})
}

// TestQueue_Commit appends commits, and finishes them or takes them back: other
// connections see them from finish on.
func TestQueue_Commit(t *testing.T) {
	q, syncs := newTestQueue(t)
	h := &fakeHolder{q.Views.Newest()}
	if err := q.Begin(h); err != nil {
		t.Fatal(err)
	}
	before := q.Views.Newest()
	_, c := appendPages(t, q, h, 2)
	q.TakeBack([]*LocalCommit{c})
	tx, c := appendPages(t, q, h, 3)
	if q.Views.Newest() != before || q.Status().Unsynced != 0 {
		t.Error("a commit is visible before it is finished")
	}
	if err := q.Replace(before, q.Views.NewState(new(view.View))); err != errs.ErrWriting {
		t.Errorf("replace while a connection writes: %v", err)
	}
	if err := q.Finish(h, tx, []*LocalCommit{c}); err != nil {
		t.Fatal(err)
	}
	v := q.Views.Newest()
	if v.Commit != 3 || h.pinned != v || q.Status().Unsynced != 3*testPageSize {
		t.Errorf("%d pages, %d bytes to be synced", v.Commit, q.Status().Unsynced)
	}
	q.End(h)
	q.Tasks.Close(errs.ErrClosed)
	q.Tasks.Wait()
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d syncs were started", n)
	}
	if !q.IsWriting() {
		t.Error("a commit that is not on the replica does not count as written")
	}
	stale := NewTransaction(before, nil)
	if _, err := q.Append(stale, false); !errors.Is(err, errs.ErrConflict) {
		t.Errorf("append to an older state: %v", err)
	}
}

// TestQueue_RenewNewest gives the newest view another state. A transaction that is
// under way can still commit, and the state changes when it ends, also if nothing is
// committed.
func TestQueue_RenewNewest(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		for _, commits := range []bool{false, true} {
			t.Run(fmt.Sprintf("unsynced %v, commits %v", unsynced, commits), func(t *testing.T) {
				q, _ := newTestQueue(t)
				h := new(fakeHolder)
				begin := func() {
					t.Helper()
					h.pinned = q.Views.Newest()
					if err := q.Begin(h); err != nil {
						t.Fatal(err)
					}
				}
				commit := func() {
					t.Helper()
					tx, c := appendPages(t, q, h, 1)
					if err := q.Finish(h, tx, []*LocalCommit{c}); err != nil {
						t.Fatal(err)
					}
				}
				if unsynced {
					begin()
					commit()
					q.End(h)
				}
				begin()
				before := q.Views.Newest()
				q.RenewNewest()
				if q.Views.Newest() != before {
					t.Error("the state changes under a transaction")
				}
				if commits {
					commit()
				}
				last := q.Views.Newest()
				q.End(h)
				after := q.Views.Newest()
				if after.State == last.State || after.State.Counter.Load() == last.State.Counter.Load() || after.State.Counter.Load() == before.State.Counter.Load() {
					t.Errorf("the counter is %d after the transaction, %d at its end, %d before", after.State.Counter.Load(), last.State.Counter.Load(), before.State.Counter.Load())
				}
				begin()
				q.End(h)
				if q.Views.Newest() != after {
					t.Error("the state changes again after the next transaction")
				}
				q.RenewNewest()
				if q.Views.Newest().State == after.State {
					t.Error("the state stays without a transaction")
				}
			})
		}
	}
	t.Run("a transaction that cannot commit", func(t *testing.T) {
		q, _ := newTestQueue(t)
		h := &fakeHolder{q.Views.Newest()}
		if err := q.Begin(h); err != nil {
			t.Fatal(err)
		}
		q.update(func(s *queueState) { s.mode, s.buffer = modeLost, nil })
		q.RenewNewest()
		if q.Views.Newest().State == h.pinned.State {
			t.Error("the state stays until the transaction ends")
		}
	})
}

// TestQueue_Await waits for commits, of which one is synced and the next lost.
func TestQueue_Await(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where the lost commit is kept
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestQueue(t)
		h := &fakeHolder{q.Views.Newest()}
		if err := q.Begin(h); err != nil {
			t.Fatal(err)
		}
		var commits []*LocalCommit
		waits := make([]chan error, 2)
		for i := range waits {
			tx, c := appendPages(t, q, h, 1)
			if err := q.Finish(h, tx, []*LocalCommit{c}); err != nil {
				t.Fatal(err)
			}
			commits = append(commits, c)
			waits[i] = make(chan error, 1)
			go func() { waits[i] <- q.Await(context.Background(), c.Number) }()
		}
		q.End(h)
		synctest.Wait()
		if len(waits[0])+len(waits[1]) > 0 || !q.allWait() {
			t.Fatal("a wait ends before the commit is synced")
		}
		q.published(commits[0].Number)
		synctest.Wait()
		if len(waits[0]) != 1 || len(waits[1]) != 0 {
			t.Fatal("a wait ends with another commit")
		}
		if err := <-waits[0]; err != nil {
			t.Errorf("a commit that is synced: %v", err)
		}
		why := errors.New("another file is there")
		if err := q.lose(why); !errors.Is(err, errs.ErrConflict) || !errors.Is(err, why) {
			t.Errorf("lose: %v", err)
		}
		if err := <-waits[1]; !errors.Is(err, why) {
			t.Errorf("a commit that is lost: %v", err)
		}
		if s := q.Status(); q.mode() != modeLost || s.Unsynced != 0 || q.Views.Local.Load() != nil || q.IsWriting() {
			t.Errorf("after the loss: %+v", s)
		}
		if err := q.Await(context.Background(), commits[1].Number); !errors.Is(err, why) {
			t.Errorf("a commit that was lost: %v", err)
		}
		if err := q.Begin(h); !errors.Is(err, why) {
			t.Errorf("begin after the loss: %v", err)
		}
	})
}

// TestModeSwitch_EnableAfterLoss checks that write mode can be turned on as soon as
// it is lost. The write buffer is put aside then, which takes a moment.
func TestModeSwitch_EnableAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestQueue(t)
		q.Opts.BufferPath = filepath.Join(t.TempDir(), "buffer")
		q.Store = &remote.Store{Client: memory.NewReplicaClient()}
		release := make(chan struct{})
		b, err := openWriteBuffer(q.Opts.BufferPath, q.Log, func(event string) error {
			if event == "before: rename segment" {
				<-release
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		q.update(func(s *queueState) { s.buffer = b })
		h := &fakeHolder{q.Views.Newest()}
		if err := q.Begin(h); err != nil {
			t.Fatal(err)
		}
		tx, commit := appendPages(t, q, h, 1)
		if err := q.Finish(h, tx, []*LocalCommit{commit}); err != nil {
			t.Fatal(err)
		}
		q.End(h)
		lost, enabled := make(chan error, 1), make(chan error, 1)
		go func() { lost <- q.lose(errors.New("another file is there")) }()
		synctest.Wait()
		if err := q.Begin(h); !errors.Is(err, errs.ErrConflict) {
			t.Errorf("begin: %v", err)
		}
		m := newModeSwitch(q.Deps, q, nil)
		go func() { enabled <- m.Enable(t.Context(), false) }()
		synctest.Wait()
		if len(lost)+len(enabled) > 0 {
			t.Error("write mode does not wait until the buffer was put aside")
		}
		close(release)
		if err := <-lost; !errors.Is(err, errs.ErrConflict) {
			t.Errorf("lose: %v", err)
		}
		if err := <-enabled; err != nil || q.mode() != modeOn {
			t.Fatalf("%v, mode is %s", err, q.mode())
		}
		if s := q.Status(); s.Lost || s.Problem != nil {
			t.Errorf("write mode is on, and lost: %+v", s)
		}
		var rest leftover
		q.update(func(s *queueState) { rest = s.giveUp() })
		if err := rest.buffer.close(); err != nil {
			t.Error(err)
		}
	})
}

// testPageSize is the page size of the databases of these tests.
const testPageSize = 512

// testPage returns a page whose bytes are fill. Page 1 has a header.
func testPage(pgno uint32, fill byte) []byte {
	page := bytes.Repeat([]byte{fill}, testPageSize)
	if pgno == 1 {
		copy(page, "SQLite format 3\x00\x02\x00")
	}
	return page
}
