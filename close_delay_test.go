package litestream

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
)

// TestCloseDelay opens one connection after the other. The database stays open in
// between, without a request, and closes a minute after the last one.
func TestCloseDelay(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		vfs := NewVFS(store, &Options{Logger: slog.New(slog.DiscardHandler)})
		connect := func(params map[string]string) {
			t.Helper()
			c, err := vfs.OpenConn("app.db", params, OpenMode{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.BeginRead(); err != nil {
				t.Error(err)
			}
			if n, err := c.ReadAt(make([]byte, 512), 512); n != 512 || err != nil {
				t.Error(n, err)
			}
			c.EndRead()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		isOpen := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := len(vfs.Stats()); n != want {
				t.Errorf("%s: %d databases are open", when, n)
			}
		}
		connect(nil)
		calls := store.Calls()
		connect(nil)
		if n := store.Calls() - calls; n != 0 {
			t.Errorf("a second connection makes %d requests", n)
		}
		time.Sleep(50 * time.Second)
		if n := store.Calls() - calls; n != 0 {
			t.Errorf("%d requests without a connection", n)
		}
		isOpen("within the delay", 1)
		connect(nil) // which begins the delay anew
		if n := store.Calls() - calls; n == 0 || n > 2 {
			t.Errorf("a connection after a pause makes %d requests", n)
		}
		time.Sleep(50 * time.Second)
		isOpen("within the second delay", 1)
		if err := vfs.Health(t.Context(), "app.db"); err != nil {
			t.Error(err)
		}
		time.Sleep(15 * time.Second) // a probe does not begin it anew
		isOpen("after the delay", 0)

		connect(nil)
		connect(map[string]string{"poll_interval": "2s"}) // other options need another open
		isOpen("with other options", 1)
		if got := vfs.names.open()[0].opts.PollInterval; got != 2*time.Second {
			t.Errorf("the poll interval is %s", got)
		}
		start := time.Now()
		if err := vfs.Close(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("close: %v after %s", err, time.Since(start))
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestCloseDelay_AtOnce closes databases that must not wait: what they hold is for
// the next process.
func TestCloseDelay_AtOnce(t *testing.T) {
	diskFull := func(op string) error {
		if op == "before: write pages" {
			return syscall.ENOSPC
		}
		return nil
	}
	for name, opts := range map[string]Options{
		"negative":             {CloseDelay: -1},
		"write mode":           {WriteEnabled: true},
		"hydrated to a path":   {HydrationEnabled: true, HydrationPath: t.TempDir() + "/local.db"},
		"incomplete hydration": {HydrationEnabled: true, onDisk: diskFull},
	} {
		t.Run(name, func(t *testing.T) {
			opts.PollInterval, opts.Logger = -1, slog.New(slog.DiscardHandler)
			vfs := NewVFS(fourPages(t), &opts)
			c, err := vfs.OpenConn("app.db", nil, OpenMode{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if n := len(vfs.Stats()); n != 0 {
				t.Errorf("%d databases are open", n)
			}
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloseDelay_Many opens and closes from several goroutines, with a delay that
// ends now and then.
func TestCloseDelay_Many(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		opens := 0
		vfs := NewVFS(nil, &Options{
			PollInterval: -1, CloseDelay: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
			NewClient: func(string) (ReplicaClient, error) { opens++; return client, nil },
		})
		done := make(chan error)
		for i := range 8 {
			go func() {
				var all error
				for k := range 50 {
					c, err := vfs.OpenConn("app.db", nil, OpenMode{})
					if err == nil {
						_, err = c.ReadAt(make([]byte, 512), 512)
						err = errors.Join(err, c.Close())
					}
					all = errors.Join(all, err)
					time.Sleep(time.Duration((i*7+k*3)%11) * time.Millisecond)
				}
				done <- all
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		if n := len(vfs.Stats()); n != 0 || opens < 1 || opens > 200 {
			t.Errorf("%d databases are open after %d opens", n, opens)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
