package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// downClient is a client whose storage can be unreachable.
type downClient struct {
	*hookClient
	how   atomic.Pointer[func(context.Context) error] // nil: it answers
	inits atomic.Int64                                // successful calls of Init
}

func newDownClient() *downClient { return &downClient{hookClient: newHookClient()} }

func (c *downClient) set(how func(context.Context) error) {
	if how == nil {
		c.how.Store(nil)
		return
	}
	c.how.Store(&how)
}

func (c *downClient) ask(ctx context.Context) error {
	if how := c.how.Load(); how != nil {
		return (*how)(ctx)
	}
	return nil
}

func (c *downClient) Init(ctx context.Context) error {
	if err := c.ask(ctx); err != nil {
		return err
	}
	c.inits.Add(1)
	return nil
}

func (c *downClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	return c.hookClient.AllLTXFiles(ctx, useMetadata)
}

func (c *downClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	return c.hookClient.LTXFiles(ctx, level, seek, useMetadata)
}

func (c *downClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if err := c.ask(ctx); err != nil {
		return nil, err
	}
	return c.hookClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// empty deletes all files.
func (c *downClient) empty(t *testing.T) {
	t.Helper()
	itr, err := c.ReplicaClient.AllLTXFiles(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ltx.FileInfo
	for itr.Next() {
		files = append(files, itr.Item())
	}
	if err := errors.Join(itr.Close(), c.DeleteLTXFiles(t.Context(), files)); err != nil {
		t.Fatal(err)
	}
}

// hangs never answers.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

var errNoRoute = errors.New("dial tcp: no route to host")

func refuses(context.Context) error { return errNoRoute }

// offlineSoon is OfflineAfter of tests.
const offlineSoon = 20 * time.Millisecond

// keepCopy hydrates a database to a path, and closes it.
func keepCopy(t *testing.T, client ReplicaClient, path string) {
	t.Helper()
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	closeDB(t, db)
}

// openOffline opens a database whose storage does not answer.
func openOffline(t *testing.T, client *downClient, path string, how func(context.Context) error) (*database, *testlog.Buffer) {
	t.Helper()
	return openOfflineWith(t, client, path, how, Options{})
}

func openOfflineWith(t *testing.T, client *downClient, path string, how func(context.Context) error, opts Options) (*database, *testlog.Buffer) {
	t.Helper()
	client.set(how)
	client.inits.Store(0)
	opts.OfflineAfter = offlineSoon
	db, log := openKeptDB(t, client, path, opts)
	if s := db.stats(); !s.Offline {
		t.Errorf("it is not offline: %+v", s)
	}
	return db, log
}

// wantDatabase compares every page of the newest state with the primary.
func wantDatabase(t *testing.T, p *ltxtest.Primary, db *database) {
	t.Helper()
	v := db.Current.Load()
	if v.TXID != p.TXID() {
		t.Fatalf("it is at transaction %s, want %s", v.TXID, p.TXID())
	}
	wantView(t, p, db, v)
}

// wantView compares every page of a view with the primary.
func wantView(t *testing.T, p *ltxtest.Primary, db *database, v *view.View) {
	t.Helper()
	image := imageOf(p, v)
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		if _, ok := v.Lookup(pgno); !ok {
			continue
		}
		page, err := db.pages.Page(t.Context(), v, pgno)
		if err != nil {
			t.Fatalf("page %d as of %s: %v", pgno, v.TXID, err)
		}
		if want := image[int64(pgno-1)*int64(v.PageSize):][:v.PageSize]; !bytes.Equal(page, want) {
			t.Fatalf("page %d as of %s is not what was written", pgno, v.TXID)
		}
	}
}

// A database whose copy is complete opens without storage, and follows the
// replica from when storage answers, whatever has become of its files.
func TestOffline_Open(t *testing.T) {
	for name, tc := range map[string]struct {
		how      func(context.Context) error
		change   func(p *ltxtest.Primary)
		most     int64 // bytes that hydration reads when storage answers
		replaced bool
		gone     bool // the state of before cannot be had any more
	}{
		"nothing new": {how: hangs},
		"refused":     {how: refuses},
		"news": {how: hangs, most: 100_000, change: func(p *ltxtest.Primary) {
			p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 20")
			p.Exec("UPDATE t SET n = n + 1 WHERE id = 7")
		}},
		"news, all files merged": {how: hangs, most: 100_000, gone: true, change: func(p *ltxtest.Primary) {
			p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 20")
			p.Compact(1, 5, p.TXID()) // the transactions that are in files of level 0
			p.DeleteLevelBelow(0, p.TXID()+1)
		}},
		"a snapshot instead of all files": {how: hangs, change: func(p *ltxtest.Primary) {
			p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 20")
			p.Snapshot()
			for level := range replica.SnapshotLevel {
				p.DeleteLevelBelow(level, p.TXID()+1)
			}
			p.DeleteLevelBelow(replica.SnapshotLevel, p.TXID())
		}, most: 10 << 20, replaced: true, gone: true}, // nothing tells that it is the same history
	} {
		t.Run(name, func(t *testing.T) {
			client := newDownClient()
			p := rowsPrimary(t, client.hookClient)
			path := filepath.Join(t.TempDir(), "local.db")
			keepCopy(t, client, path)
			db, log := openOffline(t, client, path, tc.how)
			defer closeDB(t, db)
			wantDatabase(t, p, db)
			before := db.Current.Load()
			wantLocal(t, p, db, before)
			await(t, "status", func() bool { return db.hydrator.Progress().Status == "complete" })
			if tc.change != nil {
				tc.change(p)
			}
			client.set(nil)
			if err := db.poller.look(true); err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			if s := db.stats(); s.Offline || s.Lag != 0 {
				t.Errorf("when storage answers: offline %v, lag %d", s.Offline, s.Lag)
			}
			if client.inits.Load() != 1 {
				t.Errorf("the client was initialised %d times", client.inits.Load())
			}
			if other := db.Current.Load().Epoch != before.Epoch; other != tc.replaced {
				t.Errorf("another history: %v\n%s", other, log)
			}
			wantDatabase(t, p, db)
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
			if n := db.hydrator.Progress().Bytes; n > tc.most {
				t.Errorf("hydration reads %d bytes, want at most %d\n%s", n, tc.most, log)
			}
			if !tc.gone {
				wantView(t, p, db, before) // as of an open transaction
			}
		})
	}
}

// A poll and a page that the local file has lost give the error of storage while
// that does not answer, and the page is read from there later.
func TestOffline_PageLost(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	db, _ := openOfflineWith(t, client, path, refuses, Options{ReadTimeout: offlineSoon})
	db.hydrator.Tier.Drop()
	if _, err := db.pages.Page(t.Context(), db.Current.Load(), 3); !errors.Is(err, errNoRoute) {
		t.Errorf("a page that is not local: %v", err)
	}
	if err := db.poller.look(true); !errors.Is(err, errNoRoute) {
		t.Errorf("a poll: %v", err)
	}
	if s := db.stats(); !s.Offline || s.Lag < 0 || s.PollError == "" {
		t.Errorf("after a poll that failed: offline %v, lag %d, error %q", s.Offline, s.Lag, s.PollError)
	}
	closeDB(t, db)
	client.set(nil)
	keepCopy(t, client, path)
	db, _ = openOffline(t, client, path, refuses)
	defer closeDB(t, db)
	db.hydrator.Tier.Drop()
	client.set(nil)
	wantView(t, p, db, db.Current.Load())
}

// The replica that was replaced meanwhile is another database, and a page of the
// one before is never read as one of it.
func TestOffline_Replaced(t *testing.T) {
	client := newDownClient()
	rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	db, log := openOffline(t, client, path, hangs)
	defer closeDB(t, db)
	had := db.Current.Load()
	client.empty(t)
	p := ltxtest.New(t, client.hookClient, ltxtest.Options{Start: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB); CREATE INDEX i ON t (n)")
	for p.TXID() < had.TXID {
		p.Exec("INSERT INTO t (n, b) VALUES (random(), randomblob(3000))")
	}
	client.set(nil)
	if err := db.poller.look(true); err != nil {
		t.Fatal(err)
	}
	if db.Current.Load().Epoch == had.Epoch {
		t.Errorf("it is taken for the same history\n%s", log)
	}
	wantDatabase(t, p, db)
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
}

// The next process can open offline as well, with what this one has copied since.
func TestOffline_Again(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	for range 3 {
		db, _ := openOffline(t, client, path, hangs)
		closeDB(t, db)
		db, _ = openOffline(t, client, path, hangs)
		wantDatabase(t, p, db)
		client.set(nil)
		p.Exec("UPDATE t SET b = randomblob(1000) WHERE id = 8")
		if err := db.poller.look(true); err != nil {
			t.Fatal(err)
		}
		awaitHydrated(t, db)
		closeDB(t, db)
	}
}

// A second process that opens offline borrows the file of the first one.
func TestOffline_Borrow(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	owner, _ := openOffline(t, client, path, hangs)
	defer closeDB(t, owner)
	db, log := openOffline(t, client, path, hangs)
	defer closeDB(t, db)
	wantDatabase(t, p, db)
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 20")
	client.set(nil)
	for _, db := range []*database{db, owner} {
		if err := db.poller.look(true); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
	}
	wantDatabase(t, p, db)
	wantDatabase(t, p, owner)
	awaitHydrated(t, owner)
	await(t, "the shared copy", func() bool { return db.hydrator.Tier.IsComplete() })
	wantLocal(t, p, db, db.Current.Load())
	if n := db.store.Reads[remote.Hydrating].Load(); n > 0 {
		t.Errorf("the borrower copies by itself: %d reads", n)
	}
}

// A process that has borrowed the file of another one while storage did not answer
// goes on with the file when the other one is closed, and another process can open
// the database offline after that.
func TestOffline_OwnerEnds(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	owner, _ := openOffline(t, client, path, hangs)
	db, log := openOffline(t, client, path, hangs)
	wantDatabase(t, p, db)
	closeDB(t, owner)
	await(t, "the file to be taken over", func() bool {
		s := db.hydrator.Progress()
		if s.Status == hydrate.Failed {
			t.Fatalf("%+v\n%s", s, log)
		}
		return s.Owner == 0 && s.File == path && s.Progress == 100
	})
	wantDatabase(t, p, db)
	closeDB(t, db)
	db, _ = openOffline(t, client, path, hangs)
	wantDatabase(t, p, db)
	closeDB(t, db)
}

// Without proof that the local file has all pages of a state, an open waits for
// storage, and its error has the reason.
func TestOffline_NoProof(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	good := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, good)
	half := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, half, Options{HydrationMode: HydratePages})
	await(t, "a page", func() bool { return db.hydrator.Progress().Pages > 0 })
	closeDB(t, db)

	// A process that is killed after news has taken pages out of the record.
	killed := filepath.Join(t.TempDir(), "local.db")
	db, _ = openKeptDB(t, client, killed, Options{})
	awaitHydrated(t, db)
	awaitRecord(t, db, killed) // the next one comes 10 seconds later
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 20")
	if err := db.poller.look(true); err != nil {
		t.Fatal(err)
	}
	awaitHydrated(t, db)
	crash := t.TempDir()
	copyFiles(t, filepath.Dir(killed), crash)
	closeDB(t, db)

	record := func(path string, edit func(b []byte) []byte) {
		b, err := os.ReadFile(path + "-hydration")
		if err == nil {
			err = os.WriteFile(path+"-hydration", edit(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		from string
		edit func(path string)
		want string
	}{
		"no file":    {want: "no record"},
		"incomplete": {from: filepath.Dir(half), want: "does not list all pages"},
		"killed":     {from: crash, want: "have changed since"},
		"earlier version": {from: filepath.Dir(good), want: "checksum mismatch", edit: func(path string) {
			record(path, func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"complete":true`), []byte(`"complete":null`), 1)
			})
		}},
		"record of another version": {from: filepath.Dir(good), want: "not a file of this library", edit: func(path string) {
			record(path, func(b []byte) []byte { return bytes.Replace(b, []byte("hydration 2"), []byte("hydration 9"), 1) })
		}},
		"cut": {from: filepath.Dir(good), want: "bytes, and should have", edit: func(path string) {
			if err := os.Truncate(path, 8192); err != nil {
				t.Fatal(err)
			}
		}},
		"damaged": {from: filepath.Dir(good), want: "is not what was written", edit: func(path string) {
			b, err := os.ReadFile(path)
			if err == nil {
				clear(b[:len(b)-pagefile.MarkSize])
				err = os.WriteFile(path, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		"no record": {from: filepath.Dir(good), want: "no record", edit: func(path string) {
			if err := os.Remove(path + "-hydration"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "local.db")
			if tc.from != "" {
				copyFiles(t, tc.from, dir)
			}
			if tc.edit != nil {
				tc.edit(path)
			}
			client.set(hangs)
			defer client.set(nil)
			log := new(testlog.Buffer)
			opts := Options{
				HydrationEnabled: true, HydrationPath: path, PollInterval: -1, OfflineAfter: offlineSoon,
				Logger: slog.New(slog.NewTextHandler(log, nil)),
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*offlineSoon)
			defer cancel()
			_, err := openAlone(ctx, "app.db", client, opts.withDefaults(), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if !strings.Contains(log.String(), "cannot be opened offline") {
				t.Errorf("the log does not say it:\n%s", log)
			}
		})
	}
}

// An answer of storage counts, and write mode waits for one.
func TestOffline_NotWanted(t *testing.T) {
	client := newDownClient()
	rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	open := func(opts Options) error {
		opts.HydrationEnabled, opts.HydrationPath, opts.PollInterval = true, path, -1
		opts.Logger = slog.New(slog.DiscardHandler)
		ctx, cancel := context.WithTimeout(t.Context(), 5*offlineSoon)
		defer cancel()
		db, err := openAlone(ctx, "app.db", client, opts.withDefaults(), nil)
		if err == nil {
			closeDB(t, db)
		}
		return err
	}
	denied := fmt.Errorf("credentials: %w", fs.ErrPermission)
	client.set(func(context.Context) error { return denied })
	if err := open(Options{OfflineAfter: offlineSoon}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("storage that refuses: %v", err)
	}
	client.set(hangs)
	for name, opts := range map[string]Options{"write mode": {OfflineAfter: offlineSoon, WriteEnabled: true}, "not set": {}, "negative": {OfflineAfter: -1}} {
		if err := open(opts); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	client.set(nil)
	client.empty(t)
	if err := open(Options{OfflineAfter: time.Second, WaitForReplica: -1}); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("a replica that was emptied: %v", err)
	}
}

// copyFiles copies the files of a folder.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// News take pages out of the record. When they have come, the record is replaced
// even if nothing else happens, so that the file is of use offline again.
func TestOffline_AfterNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newDownClient()
		key := func(txid ltx.TXID) view.Key { return view.Key{MinTXID: txid, MaxTXID: txid} }
		putFile(t, client, key(1), 3, 'a', []uint32{1, 2, 3})
		path := filepath.Join(t.TempDir(), "local.db")
		db, _ := openKeptDB(t, client, path, Options{})
		awaitHydrated(t, db)
		putFile(t, client, key(2), 3, 'b', []uint32{2})
		if err := db.poller.look(true); err != nil {
			t.Fatal(err)
		}
		awaitHydrated(t, db)
		recalls := func() error {
			synctest.Wait() // nothing is written just now
			dir := t.TempDir()
			copyFiles(t, filepath.Dir(path), dir)
			_, err := hydrate.Recall(filepath.Join(dir, "local.db"), "")
			return err
		}
		if err := recalls(); err == nil {
			t.Error("the record lists pages that were replaced just now")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := recalls(); err != nil {
			t.Errorf("a minute after the news: %v", err)
		}
		closeDB(t, db)
	})
}

// TestOffline_Fresh opens a copy whose replica no poll has looked at since the copy was
// made. The copy is as old as its open was, and not newer.
func TestOffline_Fresh(t *testing.T) {
	client := newDownClient()
	rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	before := time.Now().Truncate(time.Millisecond)
	db, _ := openKeptDB(t, client, path, Options{})
	after := time.Now()
	awaitHydrated(t, db)
	closeDB(t, db)
	db, _ = openOffline(t, client, path, refuses)
	defer closeDB(t, db)
	if at := time.Unix(0, db.poller.fresh.Load()); at.Before(before) || at.After(after) {
		t.Errorf("the copy is of %s, and was opened between %s and %s", at, before, after)
	}
}

// A local file that turns out to be of no use leaves no trace in a database that then
// opens with storage: its first transaction does not wait for a poll, since the state
// was found just now, and not when the file was written.
func TestOffline_FileOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newDownClient()
		putFile(t, client, view.Key{MinTXID: 1, MaxTXID: 1}, 3, 'a', pgnoRange(1, 3))
		path := filepath.Join(t.TempDir(), "local.db")
		keepCopy(t, client, path)
		if err := os.Truncate(path, fakePageSize); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		client.set(func(context.Context) error {
			time.Sleep(2 * offlineSoon)
			return nil
		})
		log := new(testlog.Buffer)
		opts := Options{HydrationEnabled: true, HydrationPath: path, OfflineAfter: offlineSoon, Logger: slog.New(slog.NewTextHandler(log, nil))}
		db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeDB(t, db)
		if !strings.Contains(log.String(), "cannot be opened offline") || db.stats().Offline {
			t.Errorf("the file was of use:\n%s", log)
		}
		client.set(nil)
		lists, start := client.lists.Load(), time.Now()
		useDB(db)
		synctest.Wait()
		if n := client.lists.Load() - lists; n > 0 || time.Since(start) > 0 {
			t.Errorf("the first transaction lists files %d times, and waits for %s", n, time.Since(start))
		}
		db.poller.done()
		awaitHydrated(t, db)
	})
}
