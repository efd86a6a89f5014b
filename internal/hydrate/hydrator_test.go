package hydrate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// startHydrator starts to hydrate a database of ten pages, which stays as it is,
// to a path.
func startHydrator(t *testing.T, path string) (*Hydrator, *testlog.Buffer) {
	t.Helper()
	client := memory.NewReplicaClient()
	all := make(map[uint32][]byte)
	for pgno := range uint32(10) {
		all[pgno+1] = bytes.Repeat([]byte{byte(pgno)}, 512)
	}
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: 10, MinTXID: 1, MaxTXID: 1, Timestamp: 1000}, all, false)
	info, err := client.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	log, tasks := new(testlog.Buffer), task.NewGroup()
	access := &Access{
		Log: slog.New(slog.NewTextHandler(log, nil)), Tasks: tasks,
		Views: new(view.Views), Buffers: new(pages.BufferPool),
		Refresh:      func(context.Context) {},
		RefreshAnew:  func(context.Context) ([]*ltx.FileInfo, error) { return []*ltx.FileInfo{info}, nil },
		EpochOf:      func(context.Context, *view.View, []*ltx.FileInfo) (uint32, error) { return 0, nil },
		Fresh:        time.Now,
		Distrust:     func(*view.File, error) {},
		ForgetServed: func() {},
	}
	access.Store = &remote.Store{Client: client, Log: access.Log, Tasks: tasks}
	l, err := access.Store.LoadFile(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	v, err := new(view.View).Advance(l.File, l.Index)
	if err != nil {
		t.Fatal(err)
	}
	access.Views.Current.Store(v)
	h := New(access, Options{Name: "app.db", Path: path, Concurrency: 2, ReadTimeout: -1})
	h.Start()
	t.Cleanup(func() {
		tasks.Close(errs.ErrClosed)
		tasks.Wait()
	})
	return h, log
}

// TestHydrator_BrokenAndNews has a reader find the local file broken at the
// moment when there are news.
func TestHydrator_BrokenAndNews(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		h, log := startHydrator(t, path)
		synctest.Wait()
		if p := h.Progress(); p.Status != Complete || p.Pages != 10 {
			t.Fatalf("%+v\n%s", p, log)
		}
		l := h.local()
		l.drop()
		h.Tier.Notify()
		synctest.Wait()
		h.Tier.broke(l, errors.New("the disk is bad"))
		synctest.Wait()
		if p := h.Progress(); p.Status != Failed || !strings.Contains(p.Error, "the disk is bad") || strings.Contains(log.String(), "panic") {
			t.Errorf("%+v\n%s", p, log)
		}
	})
}

// While a local file gives way to another one, reads do not wait for room for the pages
// that they offer. They may have the places of the requests that the next file waits for.
func TestHydrator_ClosePausesOffers(t *testing.T) {
	b := newBed(t)
	h := b.new(Options{Mode: Pages})
	b.heldBy(h)
	h.Tier.offers.set(offersTaken)
	if err := h.close(errOtherRole); !errors.Is(err, errOtherRole) {
		t.Error(err)
	}
	defer h.dropSpare()
	if !h.Tier.offers.is(offersPaused) {
		t.Error("reads wait for room for their pages")
	}
}
