package litestream

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
)

// TestClose_EndedContext closes with a context that is already done. Close does
// not wait, but everything ends. The test repeats this because a select picks
// any of two ready cases.
func TestClose_EndedContext(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		vfs := NewVFS(client, &Options{Logger: slog.New(slog.DiscardHandler)})
		c := openFile(t, vfs, "app.db")
		if err := c.BeginRead(); err != nil {
			t.Fatal(err)
		}
		_ = vfs.Close(ended) // whether everything ended in time is luck
		if !c.db.tasks.Closed() {
			t.Fatal("the database lives on after the VFS was closed")
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestClose_DuringOpen stops waiting for an open that succeeds later. The
// goroutine that opened the database then closes it.
func TestClose_DuringOpen(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 1)
	synctest.Test(t, func(t *testing.T) {
		vfs := NewVFS(client, &Options{Logger: slog.New(slog.DiscardHandler)})
		var opening *sharedDB
		client.fetch = func(view.Key, int64) {
			opening = vfs.names.mu.databases["name app.db"]
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := vfs.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("close: %v", err)
			}
		}
		if c, err := vfs.OpenConn("app.db", nil, OpenMode{}); err == nil {
			t.Errorf("a closed VFS opens %v", c)
		}
		if !errors.Is(opening.err, ErrClosed) || opening.db != nil {
			t.Errorf("the open ends with %v, database %v", opening.err, opening.db)
		}
	})
}

// TestClose_OpenHangs closes a VFS whose open hangs in a function that has no context.
// CloseTimeout bounds the close, whatever its context allows.
func TestClose_OpenHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3 * time.Second
		goOn, late := make(chan struct{}), errors.New("late")
		vfs := NewVFS(nil, &Options{CloseTimeout: limit, Logger: slog.New(slog.DiscardHandler), NewClient: func(string) (ReplicaClient, error) {
			<-goOn
			return nil, late
		}})
		opened := make(chan error)
		go func() {
			_, err := vfs.OpenConn("app.db", nil, OpenMode{})
			opened <- err
		}()
		synctest.Wait()
		time.AfterFunc(time.Hour, func() { close(goOn) })
		start := time.Now()
		if err := vfs.Close(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		if d := time.Since(start); d != limit {
			t.Errorf("the close took %s, want %s", d, limit)
		}
		if err := <-opened; !errors.Is(err, late) {
			t.Errorf("open: %v", err)
		}
	})
}

// TestOpen_FailureIsForgotten fails an open for which other callers wait. Each
// of them gets the error once, and the next attempt of any of them is a new
// one.
func TestOpen_FailureIsForgotten(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 1)
	synctest.Test(t, func(t *testing.T) {
		const openers = 20
		var calls atomic.Int64
		vfs := NewVFS(nil, &Options{Logger: slog.New(slog.DiscardHandler), NewClient: func(string) (ReplicaClient, error) {
			if calls.Add(1) == 1 {
				time.Sleep(time.Second) // until all the others wait
				return nil, errors.New("no luck this time")
			}
			return client, nil
		}})
		var wg sync.WaitGroup
		for range openers {
			wg.Go(func() {
				if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); err == nil {
					t.Error("the first open succeeds")
				}
				if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); err != nil {
					t.Errorf("the second open: %v", err)
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("%d clients for one failure and one success", n)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestPromise9_OpenWithRefresh has an open that finds its file deleted, and
// storage that hangs when the open looks for another file. OpenTimeout still
// bounds it.
func TestPromise9_OpenWithRefresh(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 1)
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		client.open = func(view.Key, int64) error {
			if client.opens.Load() > 1 {
				return fs.ErrNotExist
			}
			return nil
		}
		client.listed = func() {
			if client.lists.Load() > 1 {
				<-back
			}
		}
		const limit = 5 * time.Second
		vfs := NewVFS(client, &Options{OpenTimeout: limit, ReadTimeout: time.Hour, CacheSize: -1, Logger: slog.New(slog.DiscardHandler)})
		start := time.Now()
		if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); err == nil || client.lists.Load() != 2 {
			t.Errorf("the open gives %v after %d listings", err, client.lists.Load())
		}
		if d := time.Since(start); d != limit {
			t.Errorf("the open took %v, want %v", d, limit)
		}
		close(back)
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
