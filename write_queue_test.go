package litestream

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
)

// fakeHolder is a connection, as the queue sees it.
type fakeHolder struct{ pinned *view.View }

func (h *fakeHolder) view() *view.View { return h.pinned }
func (h *fakeHolder) pin(v *view.View) { h.pinned = v }

// noTiers takes no pages.
type noTiers struct{}

func (noTiers) Reset(uint32)                             {}
func (noTiers) Keep(pages.Key, []byte)                   {}
func (noTiers) takesOffers() bool                        { return false }
func (noTiers) offer(context.Context, pages.Key, []byte) {}
func (noTiers) Notify()                                  {}

// stillIndex is an index of a replica on which nothing happens.
type stillIndex struct{}

func (stillIndex) catchUp(context.Context) error { return nil }
func (stillIndex) pointTo(*remote.Loaded) error  { return nil }
func (stillIndex) isReplaced(context.Context, *view.View, []*ltx.FileInfo) (bool, error) {
	return false, nil
}

// newTestQueue returns a queue of an empty database, without anything that
// syncs. It counts how often a sync was started.
func newTestQueue(t *testing.T) (q *queue, syncs *atomic.Int64) {
	t.Helper()
	deps := &writeDeps{
		views: new(view.Views), tasks: task.NewGroup(), log: slog.New(slog.DiscardHandler),
		opts: writeOptions{bufferMaxSize: 10 * fakePageSize}, tiers: noTiers{}, index: stillIndex{},
		pinned: func() []*view.View { return nil }, compact: func() {}, followAgain: func() {},
	}
	deps.views.Current.Store(deps.views.NewState(new(view.View)))
	q, syncs = newQueue(deps), new(atomic.Int64)
	q.upload = func() { syncs.Add(1) }
	b, err := openWriteBuffer("", deps.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.update(func(s *queueState) { s.mode, s.buffer = modeOn, b })
	t.Cleanup(func() {
		deps.tasks.Close(ErrClosed)
		deps.tasks.Wait()
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return q, syncs
}

// appendPages appends a commit that changes pages 1 to n.
func appendPages(t *testing.T, q *queue, h *fakeHolder, n uint32) (*transaction, *localCommit) {
	t.Helper()
	tx := newTransaction(h.pinned, nil)
	for pgno := uint32(1); pgno <= n; pgno++ {
		if err := tx.write(fakePage(pgno, 0), int64(pgno-1)*fakePageSize); err != nil {
			t.Fatal(err)
		}
	}
	c, err := q.append(tx, false)
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
		{"off", func(s *queueState) { s.mode, s.buffer = modeOff, nil }, ErrReadOnly},
		{"stopping", func(s *queueState) { s.mode = modeStopping }, errBusy},
		{"lost", func(s *queueState) { s.mode, s.buffer, s.lost.err = modeLost, nil, lost }, lost},
		{"closing", func(s *queueState) { s.mode = modeClosing }, ErrReadOnly},
		{"closed", func(s *queueState) { s.mode, s.buffer = modeClosed, nil }, ErrReadOnly},
		{"held", func(s *queueState) { s.holder = new(fakeHolder) }, errBusy},
		{"full", func(s *queueState) { s.segments = []*segment{{bytes: 10 * fakePageSize}} }, errBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, _ := newTestQueue(t)
			q.update(tt.change)
			h := &fakeHolder{q.views.Newest()}
			if err := q.begin(h); !errors.Is(err, tt.want) {
				t.Errorf("begin: %v, want %v", err, tt.want)
			}
			if got := q.holder() == slotHolder(h); got != (tt.want == nil) {
				t.Errorf("holds the slot: %v", got)
			}
		})
	}
	t.Run("older state", func(t *testing.T) {
		q, _ := newTestQueue(t)
		old := &fakeHolder{q.views.NewState(new(view.View))}
		if err := q.begin(old); !errors.Is(err, errBusy) {
			t.Errorf("begin: %v", err)
		}
	})
}

// TestQueue_Commit appends commits, and finishes them or takes them back: other
// connections see them from finish on.
func TestQueue_Commit(t *testing.T) {
	q, syncs := newTestQueue(t)
	h := &fakeHolder{q.views.Newest()}
	if err := q.begin(h); err != nil {
		t.Fatal(err)
	}
	before := q.views.Newest()
	_, c := appendPages(t, q, h, 2)
	q.takeBack([]*localCommit{c})
	tx, c := appendPages(t, q, h, 3)
	if q.views.Newest() != before || q.status().unsynced != 0 {
		t.Error("a commit is visible before it is finished")
	}
	if err := q.replace(before, q.views.NewState(new(view.View))); err != errs.ErrWriting {
		t.Errorf("replace while a connection writes: %v", err)
	}
	if err := q.finish(h, tx, []*localCommit{c}); err != nil {
		t.Fatal(err)
	}
	v := q.views.Newest()
	if v.Commit != 3 || h.pinned != v || q.status().unsynced != 3*fakePageSize {
		t.Errorf("%d pages, %d bytes to be synced", v.Commit, q.status().unsynced)
	}
	q.end(h)
	q.tasks.Close(ErrClosed)
	q.tasks.Wait()
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d syncs were started", n)
	}
	if !q.isWriting() {
		t.Error("a commit that is not on the replica does not count as written")
	}
	stale := newTransaction(before, nil)
	if _, err := q.append(stale, false); !errors.Is(err, ErrConflict) {
		t.Errorf("append to an older state: %v", err)
	}
}

// TestQueue_Await waits for commits, of which one is synced and the next lost.
func TestQueue_Await(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // where the lost commit is kept
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestQueue(t)
		h := &fakeHolder{q.views.Newest()}
		if err := q.begin(h); err != nil {
			t.Fatal(err)
		}
		var commits []*localCommit
		waits := make([]chan error, 2)
		for i := range waits {
			tx, c := appendPages(t, q, h, 1)
			if err := q.finish(h, tx, []*localCommit{c}); err != nil {
				t.Fatal(err)
			}
			commits = append(commits, c)
			waits[i] = make(chan error, 1)
			go func() { waits[i] <- q.await(context.Background(), c.number) }()
		}
		q.end(h)
		synctest.Wait()
		if len(waits[0])+len(waits[1]) > 0 || !q.allWait() {
			t.Fatal("a wait ends before the commit is synced")
		}
		q.published(commits[0].number)
		synctest.Wait()
		if len(waits[0]) != 1 || len(waits[1]) != 0 {
			t.Fatal("a wait ends with another commit")
		}
		if err := <-waits[0]; err != nil {
			t.Errorf("a commit that is synced: %v", err)
		}
		why := errors.New("another file is there")
		if err := q.lose(why); !errors.Is(err, ErrConflict) || !errors.Is(err, why) {
			t.Errorf("lose: %v", err)
		}
		if err := <-waits[1]; !errors.Is(err, why) {
			t.Errorf("a commit that is lost: %v", err)
		}
		if s := q.status(); s.mode != modeLost || s.unsynced != 0 || q.views.Local.Load() != nil || q.isWriting() {
			t.Errorf("after the loss: %+v", s)
		}
		if err := q.await(context.Background(), commits[1].number); !errors.Is(err, why) {
			t.Errorf("a commit that was lost: %v", err)
		}
		if err := q.begin(h); !errors.Is(err, why) {
			t.Errorf("begin after the loss: %v", err)
		}
	})
}
