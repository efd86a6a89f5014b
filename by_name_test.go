package litestream

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

var _ replica.Client = (*file.ReplicaClient)(nil) // registers the scheme file

// TestByName asks a VFS for databases that are open and that are not.
func TestByName(t *testing.T) {
	dir := t.TempDir()
	client := file.NewReplicaClient(dir)
	putFile(t, client, view.Key{MinTXID: 1, MaxTXID: 1}, 4, 1, []uint32{1, 2, 3, 4})
	putFile(t, client, view.Key{MinTXID: 2, MaxTXID: 2}, 4, 2, []uint32{1, 2})
	url := "file://" + dir
	ask := func(t *testing.T, vfs *VFS, name string) {
		t.Helper()
		if stats, err := vfs.StatsOf(t.Context(), name); err != nil || stats.TXID != 2 || stats.Pages != 4 {
			t.Errorf("stats of %s: %+v, %v", name, stats, err)
		}
		if points, err := vfs.History(t.Context(), name); err != nil || len(points) != 2 || points[1].TXID != 2 {
			t.Errorf("history of %s: %v, %v", name, points, err)
		}
		if err := vfs.Health(t.Context(), name); err != nil {
			t.Errorf("health of %s: %v", name, err)
		}
		if err := vfs.Wait(t.Context(), name, 2); err != nil {
			t.Errorf("wait for %s: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := vfs.Wait(ctx, name, 3); err == nil {
			t.Errorf("wait for %s beyond the end", name)
		}
	}
	t.Run("client", func(t *testing.T) {
		vfs := newTestVFS(t, client)
		ask(t, vfs, "app.db")
		c := openFile(t, vfs, "app.db")
		ask(t, vfs, "app.db")
		if n := len(vfs.Stats()); n != 1 {
			t.Errorf("%d databases are open", n)
		}
		if err := errors.Join(c.Close(), vfs.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
	t.Run("URL", func(t *testing.T) {
		vfs := newTestVFS(t, nil)
		vfs.WaitForReplica = -1
		ask(t, vfs, url)
		// The open for a call whose context has ended goes on without the call.
		await(t, "no database is left open", func() bool { return len(vfs.Stats()) == 0 })
		c, err := vfs.OpenConn("a.db", map[string]string{"replica_url": url}, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask(t, vfs, url)
		ask(t, vfs, "a.db")
		if n := len(vfs.Stats()); n != 1 {
			t.Errorf("%d databases are open", n)
		}
		for _, name := range []string{"b.db", "file://" + dir + "/nothing", "none://x"} {
			if err := vfs.Health(t.Context(), name); err == nil {
				t.Errorf("%s is healthy", name)
			}
		}
	})
}

// TestByName_SameURL opens databases whose URLs differ only in what is not shown. Each
// has an ID of its own, which means this database and which it keeps while others come
// and go.
func TestByName_SameURL(t *testing.T) {
	const shown = "same-test://host/app.db"
	users := []string{"a", "b", "c"}
	RegisterReplicaClientFactory("same-test", func(_, _, _ string, _ url.Values, user *url.Userinfo) (ReplicaClient, error) {
		client := memory.NewReplicaClient()
		for txid := range ltx.TXID(slices.Index(users, user.Username()) + 1) { // one file for a, two for b, three for c
			putFile(t, client, view.Key{MinTXID: txid + 1, MaxTXID: txid + 1}, 4, byte(txid+1), []uint32{1, 2, 3, 4})
		}
		return client, nil
	})
	vfs := newTestVFS(t, nil)
	open := func(user string) *Conn {
		t.Helper()
		address := "same-test://" + user + "@host/app.db"
		c, err := vfs.OpenConn(address, map[string]string{replicaURL: address}, OpenMode{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if s, err := vfs.StatsOf(t.Context(), address); err != nil || int(s.TXID) != slices.Index(users, user)+1 {
			t.Errorf("by its URL, %s is the database with transaction %s, %v", user, s.TXID, err)
		}
		return c
	}
	type named struct {
		id    string
		files int
	}
	wantOpen := func(when string, want ...named) {
		t.Helper()
		var got []named
		for _, s := range vfs.Stats() {
			files, err := vfs.Files(t.Context(), s.ID)
			if err != nil {
				t.Errorf("%s: files of %s: %v", when, s.ID, err)
			}
			if of, err := vfs.StatsOf(t.Context(), s.ID); err != nil || of.ID != s.ID || of.TXID != s.TXID {
				t.Errorf("%s: stats of %s are those of %s, %v", when, s.ID, of.ID, err)
			}
			got = append(got, named{s.ID, len(files)})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, the databases are %v, want %v", when, got, want)
		}
	}
	a := open("a")
	open("b")
	wantOpen("with two", named{shown, 1}, named{shown + " (2)", 2})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantOpen("with the second", named{shown + " (2)", 2})
	open("c")
	wantOpen("with a third", named{shown + " (2)", 2}, named{shown, 3})
}

// TestByName_WhileClosing asks for a database that is being closed after its last
// connection, which uploads a commit. The answer comes after the close, and knows of the
// commit.
func TestByName_WhileClosing(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		vfs := NewVFS(store, &Options{
			WriteEnabled: true, WriteSyncInterval: -1, CompactionDisabled: true, PollInterval: -1, CloseDelay: -1,
			Logger: slog.New(slog.DiscardHandler),
		})
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		commitOne(t, c)
		end(t, c)
		store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpWrite, decorate.OpCreate), Before: func(decorate.Call) { time.Sleep(3 * time.Second) }})
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		time.Sleep(time.Second)
		points, err := vfs.History(t.Context(), "app.db")
		if err != nil || len(points) == 0 || points[len(points)-1].TXID != 2 {
			t.Errorf("history: %v, %v", points, err)
		}
		if err := errors.Join(<-closed, vfs.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestHealth breaks a database that is in use, and lets it sleep.
func TestHealth(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		vfs := NewVFS(store, &Options{PollIdleAfter: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		use := func() {
			if err := c.BeginRead(); err != nil {
				t.Error(err)
			}
			c.EndRead()
		}
		wantHealth := func(when, want string) {
			t.Helper()
			err := vfs.Health(t.Context(), "app.db")
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %q", when, err, want)
			}
		}
		use()
		time.Sleep(1500 * time.Millisecond)
		wantHealth("at first", "")
		remove := store.Add(decorate.Rule{Err: errors.New("storage is down")})
		time.Sleep(4 * time.Second)
		wantHealth("while storage is down", "storage is down")
		calls := store.Calls()
		wantHealth("a second time", "polls fail since")
		if n := store.Calls() - calls; n != 0 {
			t.Errorf("a probe makes %d requests", n)
		}
		time.Sleep(time.Minute)
		wantHealth("asleep", "")
		remove()
		use()
		time.Sleep(1500 * time.Millisecond)
		wantHealth("at last", "")
		if err := errors.Join(c.Close(), vfs.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestOpen_Cancelled gives up an open that hangs. The open ends in the background,
// and the database is closed then.
func TestOpen_Cancelled(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		vfs := NewVFS(store, &Options{PollInterval: -1, CloseDelay: -1, Logger: slog.New(slog.DiscardHandler)})
		goOn := make(chan struct{})
		remove := store.Add(decorate.Rule{Before: func(decorate.Call) { <-goOn }})
		start := time.Now()
		for range 2 { // the first one opens the database, the second waits for that
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := vfs.Wait(ctx, "app.db", ltx.TXID(1))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("open: %v", err)
			}
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("that took %s", d)
		}
		remove()
		close(goOn)
		synctest.Wait()
		if n := len(vfs.Stats()); n != 0 {
			t.Errorf("%d databases are left open", n)
		}
		if err := vfs.Wait(t.Context(), "app.db", 1); err != nil {
			t.Error(err)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestByName_Panics has a call panic for a database that is open and for one that is
// not. The call fails, and holds on to no database.
func TestByName_Panics(t *testing.T) {
	vfs := newTestVFS(t, fourPages(t))
	panics := func() {
		t.Helper()
		if err := vfs.with(t.Context(), "app.db", func(*database) error { panic("a bug") }); !errors.Is(err, task.ErrPanic) {
			t.Errorf("a call that panics: %v", err)
		}
	}
	panics()
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("after a call that has opened a database, %d are open", n)
	}
	c := openFile(t, vfs, "app.db")
	panics()
	if n := len(vfs.Stats()); n != 1 {
		t.Errorf("beside a connection, %d databases are open", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("after the last connection, %d databases are open", n)
	}
}

// TestByName_SequencePanics has sequences panic before and after an element. The loop
// over them gets what came before, and then an error.
func TestByName_SequencePanics(t *testing.T) {
	vfs := newTestVFS(t, fourPages(t))
	for before := range 3 {
		elements := 0
		var problems []error
		for _, err := range sequence(t.Context(), vfs, "app.db", func(_ *database, emit func(int) error) error {
			for i := range before {
				if err := emit(i); err != nil {
					t.Error(err)
				}
			}
			panic("a bug")
		}) {
			if err != nil {
				problems = append(problems, err)
			} else {
				elements++
			}
		}
		if elements != before || len(problems) != 1 || !errors.Is(problems[0], task.ErrPanic) {
			t.Errorf("a panic after %d elements: a loop gets %d, and the errors %v", before, elements, problems)
		}
		if n := len(vfs.Stats()); n != 0 {
			t.Errorf("%d databases are open", n)
		}
	}
}

// TestByName_LoopPanics has the body of a loop over changes panic. The program's panic
// goes on as the program raised it, and the loop holds on to no database.
func TestByName_LoopPanics(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 3)
	vfs := newTestVFS(t, client)
	for name, loop := range map[string]func(){
		"Changes": func() {
			for range vfs.Changes(t.Context(), "app.db", 1, 3) {
				panic("of the program")
			}
		},
		"Tail": func() {
			for range vfs.Tail(t.Context(), "app.db", HistoryPoint{TXID: 1}) {
				panic("of the program")
			}
		},
	} {
		func() {
			defer func() {
				if r := recover(); r != "of the program" {
					t.Errorf("%s: the panic is %v", name, r)
				}
			}()
			loop()
		}()
		if n := len(vfs.Stats()); n != 0 {
			t.Errorf("%s: %d databases are open", name, n)
		}
	}
}
