package litestream

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
)

// lateClient is a replica whose files come some time after it was made.
type lateClient struct {
	*memory.ReplicaClient
	comes   time.Time
	lists   atomic.Int64 // listings of all levels
	byLevel atomic.Int64 // listings of one level
}

func (c *lateClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	c.lists.Add(1)
	if time.Now().Before(c.comes) {
		return ltx.NewFileInfoSliceIterator(nil), ctx.Err()
	}
	return c.ReplicaClient.AllLTXFiles(ctx, useMetadata)
}

func (c *lateClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	c.byLevel.Add(1)
	if time.Now().Before(c.comes) {
		return ltx.NewFileInfoSliceIterator(nil), ctx.Err()
	}
	return c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
}

// levelsClient lists one level at a time.
type levelsClient struct{ ReplicaClient }

// withLateFiles runs a test in simulated time, with a replica whose files come after
// some time, and a VFS over it.
func withLateFiles(t *testing.T, comes time.Duration, opts Options, test func(t *testing.T, c *lateClient, vfs *VFS, log *testlog.Buffer)) {
	t.Helper()
	full := memory.NewReplicaClient()
	counterPrimary(t, full, 1)
	synctest.Test(t, func(t *testing.T) {
		var log testlog.Buffer
		client := &lateClient{ReplicaClient: full, comes: time.Now().Add(comes)}
		opts.Logger, opts.PollInterval, opts.CloseDelay = testlog.New(t, &log), -1, -1
		vfs := NewVFS(client, &opts)
		test(t, client, vfs, &log)
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

const waitsText = "the open waits for the first upload"

// TestWaitForReplica opens replicas whose first files come later, or never.
func TestWaitForReplica(t *testing.T) {
	const never = 1000 * time.Hour
	for _, c := range []struct {
		name   string
		comes  time.Duration
		opts   Options
		params map[string]string
		took   time.Duration // until the open ends, at most a second later
		lists  int64         // at most
		fails  string        // text of the error; empty if it opens
		silent bool          // it does not say that it waits
	}{
		{name: "comes", comes: 10 * time.Second, took: 10 * time.Second, lists: 16},
		{name: "comes at once", comes: 150 * time.Millisecond, took: 150 * time.Millisecond, lists: 4},
		{name: "never", comes: never, took: 30 * time.Second, lists: 34, fails: "and no files came within 30s"},
		{name: "too late", comes: 7 * time.Second, opts: Options{OpenTimeout: 5 * time.Second}, took: 5 * time.Second, lists: 9, fails: "within 5s"},
		{name: "a shorter wait", comes: never, opts: Options{WaitForReplica: 3 * time.Second}, took: 3 * time.Second, lists: 7, fails: "within 3s"},
		{name: "a wait longer than the limit", comes: never, opts: Options{OpenTimeout: time.Second, WaitForReplica: time.Hour}, took: time.Second, lists: 5, fails: "within 1s"},
		{name: "no limit", comes: time.Hour, opts: Options{OpenTimeout: -1}, took: time.Hour, lists: 3700},
		{name: "off", comes: never, opts: Options{WaitForReplica: -1}, lists: 1, fails: "has no LTX files", silent: true},
		{name: "off by parameter", comes: never, params: map[string]string{"wait_for_replica": "0"}, lists: 1, fails: "has no LTX files", silent: true},
		{name: "on by parameter", comes: never, opts: Options{WaitForReplica: -1}, params: map[string]string{"wait_for_replica": "2s"}, took: 2 * time.Second, lists: 6, fails: "within 2s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withLateFiles(t, c.comes, c.opts, func(t *testing.T, client *lateClient, vfs *VFS, log *testlog.Buffer) {
				start := time.Now()
				conn, err := vfs.OpenConn("app.db", c.params, OpenMode{})
				if d := time.Since(start); d < c.took || d > c.took+time.Second {
					t.Errorf("the open took %v, want %v", d, c.took)
				}
				if n := client.lists.Load(); n > c.lists {
					t.Errorf("%d listings, want at most %d", n, c.lists)
				}
				switch {
				case c.fails == "" && err != nil:
					t.Error(err)
				case c.fails == "":
					_ = conn.Close()
				case !errors.Is(err, ErrNoDatabase) || !strings.Contains(err.Error(), c.fails):
					t.Errorf("error is %v, want ErrNoDatabase, %s", err, c.fails)
				}
				want := 1
				if c.silent {
					want = 0
				}
				if n := strings.Count(log.String(), waitsText); n != want {
					t.Errorf("it says %d times that it waits, want %d: %s", n, want, log.String())
				}
			})
		})
	}
}

// TestWaitForReplica_Levels waits with a client that lists one level at a time. A
// look at the replica lists two levels.
func TestWaitForReplica_Levels(t *testing.T) {
	withLateFiles(t, 1000*time.Hour, Options{WaitForReplica: 10 * time.Second}, func(t *testing.T, c *lateClient, _ *VFS, _ *testlog.Buffer) {
		vfs := NewVFS(levelsClient{c}, &Options{WaitForReplica: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); !errors.Is(err, ErrNoDatabase) {
			t.Error(err)
		}
		if n := c.byLevel.Load(); n > SnapshotLevel+1+2*14 {
			t.Errorf("%d listings", n)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestWaitForReplica_Ends ends waits early: by a context, and by the close of the
// VFS. Errors say what the open waited for.
func TestWaitForReplica_Ends(t *testing.T) {
	withLateFiles(t, 1000*time.Hour, Options{OpenTimeout: time.Hour}, func(t *testing.T, c *lateClient, vfs *VFS, _ *testlog.Buffer) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := vfs.Health(ctx, "app.db"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoDatabase) {
			t.Errorf("error is %v, want DeadlineExceeded and ErrNoDatabase", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("a context of 5s ends the wait after %v", d)
		}
		synctest.Wait()
		lists := c.lists.Load()
		time.Sleep(10 * time.Minute)
		if n := c.lists.Load(); n != lists {
			t.Errorf("%d listings after nothing waits any more", n-lists)
		}

		start = time.Now()
		time.AfterFunc(7*time.Second, func() { go vfs.Close(context.Background()) })
		if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNoDatabase) {
			t.Errorf("error is %v, want ErrClosed and ErrNoDatabase", err)
		}
		if d := time.Since(start); d != 7*time.Second {
			t.Errorf("a close after 7s ends the wait after %v", d)
		}
	})
}

// TestWaitForReplica_Down has storage that goes down while an open waits. The error
// says so, and the log does at once.
func TestWaitForReplica_Down(t *testing.T) {
	full := memory.NewReplicaClient()
	synctest.Test(t, func(t *testing.T) {
		var log testlog.Buffer
		fault := decorate.NewFault(full)
		vfs := NewVFS(fault, &Options{Logger: testlog.New(t, &log)})
		start := time.Now()
		time.AfterFunc(10500*time.Millisecond, func() { fault.Add(decorate.Rule{Err: errDown}) })
		time.AfterFunc(12*time.Second, func() {
			if s := log.String(); strings.Count(s, "level=WARN") != 2 || !strings.Contains(s, errDown.Error()) {
				t.Errorf("after 12s the log is: %s", s)
			}
		})
		if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); !errors.Is(err, ErrNoDatabase) || !errors.Is(err, errDown) {
			t.Errorf("error is %v, want ErrNoDatabase and %v", err, errDown)
		}
		if d := time.Since(start); d != DefaultOpenTimeout {
			t.Errorf("the open took %v", d)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

var errDown = errors.New("storage is down")

// TestWaitForReplica_Shared has several connections wait for one database. The wait
// goes on as long as one of them waits, and one that comes after the last has given
// up waits anew.
func TestWaitForReplica_Shared(t *testing.T) {
	withLateFiles(t, 20*time.Second, Options{}, func(t *testing.T, c *lateClient, vfs *VFS, log *testlog.Buffer) {
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		failed := make(chan error, 2)
		for range cap(failed) {
			go func() { failed <- vfs.Health(short, "app.db") }()
		}
		synctest.Wait()
		opened := make(chan error, 2)
		open := func() {
			conn, err := vfs.OpenConn("app.db", nil, OpenMode{})
			if err == nil {
				err = conn.Close()
			}
			opened <- err
		}
		go open()
		for range cap(failed) {
			if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v, want DeadlineExceeded", err)
			}
		}
		go open()
		for range cap(opened) {
			if err := <-opened; err != nil {
				t.Error(err)
			}
		}
		if n := strings.Count(log.String(), waitsText); n != 1 {
			t.Errorf("it says %d times that it waits", n)
		}
	})
	withLateFiles(t, 20*time.Second, Options{}, func(t *testing.T, c *lateClient, vfs *VFS, _ *testlog.Buffer) {
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := vfs.Health(short, "app.db"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want DeadlineExceeded", err)
		}
		conn, err := vfs.OpenConn("app.db", nil, OpenMode{}) // the open before may not have ended yet
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})
}

// TestWaitForReplica_Taken opens places at which no replica will begin. That fails
// at once.
func TestWaitForReplica_Taken(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	if err := os.WriteFile(db, []byte("SQLite format 3\x00 and so on"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte("milk, bread"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "old")
	if err := os.MkdirAll(filepath.Join(old, "generations", "0123456789abcdef"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{db, text, old} {
		var log testlog.Buffer
		vfs := NewVFS(file.NewReplicaClient(place), &Options{OpenTimeout: time.Hour, Logger: testlog.New(t, &log)})
		if _, err := vfs.OpenConn("app.db", nil, OpenMode{}); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("%s: error is %v, want ErrNoDatabase", place, err)
		}
		if strings.Contains(log.String(), waitsText) {
			t.Errorf("%s: %s", place, log.String())
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
