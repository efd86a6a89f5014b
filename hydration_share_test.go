package litestream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// borrowed reports whether a database reads from a file that another one owns and
// that is complete.
func borrowed(db *database) bool {
	p := db.hydrator.Progress()
	return p.Owner != 0 && p.Status == hydrate.Complete && p.Progress == 100
}

// Two databases of one replica share one file: the second reads no page from
// storage. The other one goes on with the file when the first is closed.
func TestShare_TwoWithOnePath(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	first, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
	awaitHydrated(t, first)
	second, log := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
	defer closeDB(t, second)
	await(t, "the file of the other", func() bool { return borrowed(second) })
	if s := second.hydrator.Progress(); s.File != path || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
	wantNoRequests(t, second, "reading from the file of the other", func() { wantAll(t, p, second) })

	// News come to both.
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
	mustRefresh(t, second)
	wantAll(t, p, second)
	mustRefresh(t, first)
	awaitHydrated(t, first)
	await(t, "the news in the file of the other", func() bool { return borrowed(second) })
	wantNoRequests(t, second, "reading the news", func() { wantAll(t, p, second) })

	closeDB(t, first)
	before, _ := second.store.TotalReads()
	await(t, "the file to be taken over", func() bool {
		s := second.hydrator.Progress()
		return s.Owner == 0 && s.Status == hydrate.Complete && s.File == path
	})
	if n, _ := second.store.TotalReads(); n != before {
		t.Errorf("taking over takes %d reads\n%s", n-before, log)
	}
	wantLocal(t, p, second, second.Current.Load())
	if strings.Contains(log.String(), "temporary") {
		t.Error(log)
	}
}

// A table that the last owner has abandoned is made anew, and so is one that is
// damaged, of another boot or another format, without loss of what the record has.
func TestShare_TableOfBefore(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	first, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, first)
	closeDB(t, first)
	table, err := os.ReadFile(path + "-shared")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"as it is":      func(b []byte) []byte { return b },
		"abandoned":     func(b []byte) []byte { b[56] = 2; return b },
		"withdrawn":     func(b []byte) []byte { b[56] = 3; return b },
		"another boot":  func(b []byte) []byte { b[24] ^= 1; return b },
		"another file":  func(b []byte) []byte { b[40] ^= 1; return b },
		"format":        func(b []byte) []byte { b[16]++; return b },
		"page size":     func(b []byte) []byte { b[72] ^= 0xff; return b },
		"words cut off": func(b []byte) []byte { return b[:64<<10] },
		"cut off":       func(b []byte) []byte { return b[:100] },
		"empty":         func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path+"-shared", change(bytes.Clone(table)), 0o600); err != nil {
				t.Fatal(err)
			}
			first, log := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
			defer closeDB(t, first)
			awaitHydrated(t, first)
			if s := first.hydrator.Progress(); s.Bytes != 0 {
				t.Errorf("%d bytes are read again\n%s", s.Bytes, log)
			}
			second, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
			defer closeDB(t, second)
			await(t, "the file of the other", func() bool { return borrowed(second) })
			wantAll(t, p, second)
		})
	}
}

// Databases that share a file poll as one, and notice the end of the one that
// polled. While only the second is in use, the first polls for it.
func TestShare_PollsAsOne(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	const interval = 100 * time.Millisecond
	open := func() *database {
		t.Helper()
		return openHere(t, client, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: interval})
	}
	first := open()
	awaitHydrated(t, first)
	second := open()
	await(t, "the file of the other", func() bool { return borrowed(second) })
	use := func(d *database) {
		if err := d.poller.use(func(d time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), d)
		}); err != nil {
			t.Error(err)
		}
	}
	asked := func(d *database) int64 { return d.store.Lists.Load() + d.store.NameReads.Load() }
	use(second)
	await(t, "a poll of the first", func() bool {
		last, known := second.hydrator.IsNewest(second.Current.Load(), 10*interval)
		return known && time.Since(last) < 10*interval
	})
	time.Sleep(3 * interval) // polls that had begun
	a, b := asked(first), asked(second)
	polls := second.poller.polls.Last().Success
	await(t, "polls of the first", func() bool { return asked(first) >= a+10 })
	if n := asked(second) - b; n > 2 {
		t.Errorf("the second polls by itself: %d requests", n)
	}
	if !second.poller.polls.Last().Success.After(polls) {
		t.Error("the second does not know that its view is the newest")
	}

	// The second learns of news by the first.
	p.Exec("UPDATE t SET n = n + 1 WHERE id < 20")
	await(t, "news", func() bool { return second.Current.Load().TXID == p.TXID() && first.Current.Load().TXID == p.TXID() })
	await(t, "the file with the news", func() bool { return borrowed(second) })
	wantAll(t, p, second)

	closeDB(t, first)
	p.Exec("UPDATE t SET n = n + 1 WHERE id < 10")
	await(t, "news without the first", func() bool { return second.Current.Load().TXID == p.TXID() })
	wantAll(t, p, second)
}

// The replica is replaced. The two databases notice that at different times, and
// neither gets a page of the other history.
func TestShare_ReplicaReplaced(t *testing.T) {
	for _, ownerFirst := range []bool{true, false} {
		client := newHookClient()
		rowsPrimary(t, client)
		path := filepath.Join(t.TempDir(), "local.db")
		first, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		awaitHydrated(t, first)
		second, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		await(t, "the file of the other", func() bool { return borrowed(second) })

		clearClient(t, client)
		p := ltxtest.New(t, client, ltxtest.Options{Start: time.Now()})
		p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
		p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) INSERT INTO t SELECT i, randomblob(900) FROM c")
		order := []*database{first, second}
		if !ownerFirst {
			order = []*database{second, first}
		}
		for _, d := range order {
			mustRefresh(t, d)
			wantAll(t, p, d)
		}
		awaitHydrated(t, first)
		await(t, "the new history in the file", func() bool { return borrowed(second) })
		wantNoRequests(t, second, "reading the new history", func() { wantAll(t, p, second) })
		closeDB(t, second)
		closeDB(t, first)
	}
}

// clearClient deletes every file of a replica.
func clearClient(t *testing.T, client *hookClient) {
	t.Helper()
	for level := range view.Levels {
		it, err := client.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		files, err := ltx.SliceFileIterator(it)
		if err == nil {
			err = client.DeleteLTXFiles(t.Context(), files)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// saysNewest is a process that always says that nothing is newer.
type saysNewest struct{}

func (saysNewest) IsNewest(time.Duration) (time.Time, bool) { return time.Now(), true }
func (saysNewest) Polled(time.Time)                         {}

// A process that shares a local file looks by itself now and then: the owner may
// follow another replica.
func TestShare_OwnerFollowsAnother(t *testing.T) {
	looks := 0
	p := newPoller(time.Second, -1, task.NewGroup(), slog.New(slog.DiscardHandler), func(bool) error { looks++; return nil }, saysNewest{})
	for range 3*maxBelieved + 3 {
		if _, err := p.lookOrAsk(false); err != nil {
			t.Fatal(err)
		}
	}
	if looks != 3 {
		t.Errorf("it has looked %d times", looks)
	}
}

// A copy of the folder of a file that is in use may have a table and a record that are
// newer than the pages. Neither is believed.
func TestShare_CopyOfFolder(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	first, _ := openKeptDB(t, client, path, Options{})
	defer closeDB(t, first)
	awaitHydrated(t, first)
	awaitRecord(t, first, path) // the next one comes 10 seconds later
	dir := t.TempDir()
	pages, err := os.ReadFile(path) // before the news
	if err != nil {
		t.Fatal(err)
	}
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
	mustRefresh(t, first)
	awaitHydrated(t, first)
	copyFiles(t, filepath.Dir(path), dir) // with the news in the table
	copied := filepath.Join(dir, "local.db")
	if err := os.WriteFile(copied, pages, 0o600); err != nil {
		t.Fatal(err)
	}
	wantCopied(t, p, client, copied, "starts over")
}

// If the owner finds pages wrong that it has lent, the others forget what they have
// read, and so does SQLite.
func TestShare_WrongPages(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	first, _ := openKeptDB(t, client, path, Options{})
	defer closeDB(t, first)
	awaitHydrated(t, first)
	second, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, second)
	await(t, "the file of the other", func() bool { return borrowed(second) })
	wantAll(t, p, second)
	before := second.Current.Load().State.Counter.Load()
	f, err := pagefile.OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := pageshare.Claim(path+pageshare.Suffix, pageshare.FileID{Mark: f.ID(), Number: f.Identity().InBoot()})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	table.NoteWrong()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	await(t, "another state", func() bool { return second.Current.Load().State.Counter.Load() != before })
	if !strings.Contains(log.String(), "pages of the shared local file were wrong") {
		t.Error(log)
	}
	wantAll(t, p, second)
}
