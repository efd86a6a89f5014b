package litestream

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// problemsAs fails the test unless the problems in Stats are what Health says.
func problemsAs(t *testing.T, vfs *VFS, name string, parts ...Part) {
	t.Helper()
	s, err := vfs.StatsOf(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	for i, p := range s.Problems {
		errs = append(errs, errors.New(p.Error))
		if i >= len(parts) || p.Part != parts[i] {
			t.Errorf("problem %d: %+v, want parts %q", i, p, parts)
		}
		if since := time.Since(p.Since); p.Part != PartWriteMode && (since < 0 || since > 2*time.Minute) {
			t.Errorf("problem %d: since %s", i, p.Since)
		}
	}
	if len(s.Problems) != len(parts) {
		t.Errorf("problems %+v, want parts %q", s.Problems, parts)
	}
	want := ""
	if err := errors.Join(errs...); err != nil {
		want = s.Place + ": " + err.Error()
	}
	got := ""
	if err := vfs.Health(t.Context(), name); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("health is %q, problems are %q", got, want)
	}
}

// TestStats_Problems makes uploads and reads of one database fail, and lets another
// process write to the replica: Stats say what Health says. The age of the oldest
// commit grows until it is lost.
func TestStats_Problems(t *testing.T) {
	down := errors.New("storage is down")
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where commits are kept that are not uploaded
	synctest.Test(t, func(t *testing.T) {
		client := fourPages(t)
		time.Sleep(time.Second) // so that commits are later than what is there
		store := decorate.NewFault(client)
		opts := &Options{WriteEnabled: true, PollInterval: -1, CacheSize: -1, ReadTimeout: time.Second, CloseTimeout: time.Second, CompactionDisabled: true, Logger: slog.New(slog.DiscardHandler)}
		vfs := NewVFS(store, opts)
		defer vfs.Close(t.Context())
		before := time.Now()
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		problemsAs(t, vfs, "app.db")
		s := vfs.Stats()[0]
		if s.ID != "app.db" || s.Place == "" || s.Connections != 1 || s.Opened.Before(before) || s.Opened.After(time.Now()) || !s.Write.UnsyncedSince.IsZero() || s.CreateBytes != 0 {
			t.Errorf("after the open: %+v", s)
		}

		remove := store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: down})
		committed := time.Now()
		commitOne(t, c)
		end(t, c)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		problemsAs(t, vfs, "app.db", PartSyncs)
		if s := vfs.Stats()[0]; s.LastSync.Failures != s.Write.Failures || s.Write.Failures < 2 || s.Write.UnsyncedSince.Sub(committed).Abs() > time.Second || !s.Time.Before(committed) {
			t.Errorf("while uploads fail: committed at %s, %+v", committed, s)
		}
		readsAgain := store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: down})
		if err := c.BeginRead(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadAt(make([]byte, 512), 512); !errors.Is(err, down) {
			t.Errorf("read: %v", err)
		}
		c.EndRead()
		problemsAs(t, vfs, "app.db", PartReads, PartSyncs)
		if s := vfs.Stats()[0]; s.LastRead.Failures != 1 {
			t.Errorf("reads: %+v", s.LastRead)
		}

		other := NewVFS(client, opts)
		oc, err := other.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		commitOne(t, oc)
		end(t, oc)
		if err := other.Sync(t.Context(), "app.db"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // a sync ends some time after the last commit is on the replica
		if s := other.Stats()[0]; s.CreateBytes == 0 || !s.Write.UnsyncedSince.IsZero() || s.LastSync.Successes != 1 {
			t.Errorf("of the other writer: %+v", s)
		}
		if err := errors.Join(oc.Close(), other.Close(t.Context())); err != nil {
			t.Error(err)
		}
		remove()
		readsAgain()
		time.Sleep(DefaultPollIdleAfter)
		synctest.Wait()
		if s := vfs.Stats()[0]; !s.Write.Lost || s.Write.Enabled || !s.Write.UnsyncedSince.IsZero() {
			t.Errorf("after another writer has won: %+v", s.Write)
		}
		problemsAs(t, vfs, "app.db", PartWriteMode) // a failed read does not count in a database that nothing uses
	})
}

// TestHealth_ReadsOfLongAgo has a read fail that no later one needs: it counts for a
// minute, as long as it is of the newest state and the local file has not every page.
func TestHealth_ReadsOfLongAgo(t *testing.T) {
	down := errors.New("storage is down")
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(fourPages(t))
		vfs := NewVFS(store, &Options{PollInterval: -1, CacheSize: -1, ReadTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
		defer vfs.Close(t.Context())
		c := openFile(t, vfs, "app.db")
		read := func() error {
			mustBeginRead(t, c)
			defer c.EndRead()
			_, err := c.ReadAt(make([]byte, 512), 512)
			return err
		}
		defer store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: down})()
		for range 3 { // it goes on failing
			if err := read(); !errors.Is(err, down) {
				t.Fatalf("read: %v", err)
			}
			problemsAs(t, vfs, "app.db", PartReads)
			time.Sleep(readsMatter * 2 / 3)
		}
		time.Sleep(readsMatter / 3)
		mustBeginRead(t, c) // it is in use
		c.EndRead()
		problemsAs(t, vfs, "app.db")

		c.travelTo(c.view())
		if err := read(); !errors.Is(err, down) {
			t.Fatalf("read of the past: %v", err)
		}
		c.travelTo(nil)
		problemsAs(t, vfs, "app.db")
	})
}

// TestHealth_FileLost deletes a file that the newest state needs. Reads of its pages fail
// as those of an old state do whose files are merged and deleted, but for good.
func TestHealth_FileLost(t *testing.T) {
	store := memory.NewReplicaClient()
	p := ltxtest.New(t, store, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(5000))")
	p.Exec("CREATE TABLE u (y)")
	vfs := NewVFS(store, &Options{PollInterval: -1, CacheSize: -1, Logger: slog.New(slog.DiscardHandler)})
	defer vfs.Close(t.Context())
	c := openFile(t, vfs, "app.db")
	p.Delete(0, 1, 1)
	mustBeginRead(t, c)
	if _, err := c.ReadAt(make([]byte, 512), 3*512); !errors.Is(err, errs.ErrStateGone) {
		t.Fatalf("read: %v", err)
	}
	c.EndRead()
	problemsAs(t, vfs, "app.db", PartReads)
}

// TestHealth_FailedReadIsLocal has a read fail before the local file has every page.
func TestHealth_FailedReadIsLocal(t *testing.T) {
	vfs := NewVFS(fourPages(t), &Options{PollInterval: -1, PollIdleAfter: -1, HydrationEnabled: true, HydrationPath: t.TempDir() + "/local.db", Logger: slog.New(slog.DiscardHandler)})
	defer vfs.Close(t.Context())
	c := openFile(t, vfs, "app.db")
	c.db.reads.Note(errors.New("storage is down"))
	awaitHydrated(t, c.db)
	problemsAs(t, vfs, "app.db")
}

// TestHealth_PollFailedBeforeWrites has a poll fail, and then a connection that writes
// all the time. Nothing is polled meanwhile, and the uploads show that storage answers.
func TestHealth_PollFailedBeforeWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(fourPages(t))
		vfs := NewVFS(store, &Options{WriteEnabled: true, WriteBufferPath: t.TempDir() + "/buffer", ReadTimeout: 5 * time.Second, CompactionDisabled: true, Logger: slog.New(slog.DiscardHandler)})
		defer vfs.Close(t.Context())
		c := openFile(t, vfs, "app.db")
		remove := store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead, decorate.OpList, decorate.OpListAll), Err: errors.New("storage is down")})
		mustBeginRead(t, c)
		c.EndRead()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		problemsAs(t, vfs, "app.db", PartPolls)
		begin(t, c)
		countUp(t, c, 4)
		time.Sleep(20 * time.Second) // a poll that has begun before fails, too
		remove()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		problemsAs(t, vfs, "app.db", PartPolls) // nothing has asked storage
		if err := c.Commit(false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		problemsAs(t, vfs, "app.db")
		end(t, c)
	})
}

// TestOpens counts opens that succeed and opens that fail.
func TestOpens(t *testing.T) {
	store := decorate.NewFault(fourPages(t))
	vfs := NewVFS(store, &Options{PollInterval: -1, CloseDelay: -1, OpenTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	defer vfs.Close(t.Context())
	open := func() error {
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err == nil {
			err = c.Close()
		}
		return err
	}
	down := errors.New("storage is down")
	remove := store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList, decorate.OpListAll), Err: down})
	if err := open(); !errors.Is(err, down) {
		t.Errorf("open: %v", err)
	}
	remove()
	for range 2 {
		if err := open(); err != nil {
			t.Error(err)
		}
	}
	if o := vfs.Opens(); o.Successes != 2 || o.Failures != 1 || !o.Success.After(o.Failure) {
		t.Errorf("opens: %+v", o)
	}
}
