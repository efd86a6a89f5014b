package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/memory"
)

// wantAll reads every page of the newest view as a connection does.
func wantAll(t testing.TB, p *ltxtest.Primary, db *database) {
	t.Helper()
	v := db.Current.Load()
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		wantPage(t, p, db, v, pgno)
	}
}

// loseWritten fills the pages of a hydration file with zeros. Its mark stays.
func loseWritten(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(make([]byte, info.Size()-int64(pagefile.MarkSize)), 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}

// The disk is full for a while. Queries stay right, and hydration continues
// when there is room. A sync that fails loses what was written.
func TestHydration_DiskFull(t *testing.T) {
	for _, op := range []string{"write pages", "sync", "write record"} {
		t.Run(op, func(t *testing.T) {
			client := newHookClient()
			p := rowsPrimary(t, client)
			path := filepath.Join(t.TempDir(), "local.db")
			synctest.Test(t, func(t *testing.T) {
				var full atomic.Bool
				var n atomic.Int64
				db, _ := openKeptDB(t, client, path, Options{HydrationConcurrency: 1, onDisk: func(did string) error {
					if did != "before: "+op {
						return nil
					}
					if n.Add(1) == 2 {
						full.Store(true)
						if op == "sync" {
							loseWritten(t, path) // the first record lists no pages
						}
					}
					if full.Load() {
						return fmt.Errorf("write %s: %w", path, syscall.ENOSPC)
					}
					return nil
				}})
				defer closeDB(t, db)
				time.Sleep(5 * time.Second)
				p2 := db.hydrator.Progress()
				if op == "write pages" && (p2.Status != hydrate.Failed || !strings.Contains(p2.Error, "no space")) {
					t.Errorf("with a full disk: %+v", p2)
				}
				wantAll(t, p, db)
				full.Store(false)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if got := db.hydrator.Progress(); got.Status != hydrate.Complete || got.Error != "" {
					t.Fatalf("with room again: %+v", got)
				}
				wantLocal(t, p, db, db.Current.Load())
			})
		})
	}
}

// The disk fails. Nothing more is read from it.
func TestHydration_DiskFails(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	var n atomic.Int64
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1, onDisk: func(op string) error {
		if n.Add(1) == 5 {
			return syscall.EIO
		}
		return nil
	}})
	await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
	if got := db.hydrator.Progress(); !strings.Contains(got.Error, syscall.EIO.Error()) {
		t.Errorf("got %+v", got)
	}
	wantAll(t, p, db)
	if db.stats().LocalHits > 0 && db.hydrator.View() != nil {
		t.Error("it is still in use")
	}
}

// Another process truncates or removes the file while it is in use.
func TestHydration_FileChangedUnderUs(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	t.Run("cut off", func(t *testing.T) {
		db, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		defer closeDB(t, db)
		awaitHydrated(t, db)
		if err := os.Truncate(path, 4096); err != nil {
			t.Fatal(err)
		}
		wantAll(t, p, db)
		await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
		wantAll(t, p, db)
	})
	t.Run("removed", func(t *testing.T) {
		db, _ := openKeptDB(t, client, path, Options{})
		awaitHydrated(t, db)
		if err := errors.Join(os.Remove(path), os.Remove(path+"-hydration")); err != nil {
			t.Fatal(err)
		}
		wantAll(t, p, db)
		p.Exec("UPDATE t SET n = n + 1")
		mustRefresh(t, db)
		wantAll(t, p, db)
		closeDB(t, db)
		if _, err := os.Stat(path + "-hydration"); err == nil {
			t.Error("there is a record of a file that there is not")
		}
	})
}

func TestHydration_PathNotUsable(t *testing.T) {
	client := newHookClient()
	p := smallPrimary(t, client)
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none", "local.db"), "/proc/none"} {
		db := openHere(t, client, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: -1})
		await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
		if got := db.hydrator.Progress(); !strings.Contains(got.Error, path) {
			t.Errorf("%s: %+v", path, got)
		}
		wantAll(t, p, db)
	}
}

// Storage fails for minutes, hangs, or cuts bodies off.
func TestHydration_StorageFails(t *testing.T) {
	for name, fault := range map[string]func(ctx context.Context, r io.Reader) io.Reader{
		"errors":  func(context.Context, io.Reader) io.Reader { return iotest.ErrReader(errors.New("connection reset")) },
		"cut off": func(_ context.Context, r io.Reader) io.Reader { return io.LimitReader(r, 1+rand.Int64N(5000)) },
		"hangs": func(ctx context.Context, _ io.Reader) io.Reader {
			return readerFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
		},
		"one byte": func(_ context.Context, r io.Reader) io.Reader { return r },
	} {
		t.Run(name, func(t *testing.T) {
			mem := newHookClient()
			p := rowsPrimary(t, mem)
			synctest.Test(t, func(t *testing.T) {
				client := &bodyClient{hookClient: mem}
				var bad atomic.Bool
				client.through = func(ctx context.Context, _ int64, r io.Reader) io.Reader {
					if bad.Load() {
						return fault(ctx, r)
					}
					return r
				}
				open := make(chan struct{})
				mem.open = func(k view.Key, off int64) error {
					if k.Level == SnapshotLevel && off == 0 {
						select {
						case <-open:
						default:
							return nil // the open's own reads succeed
						}
						if bad.Load() && name == "errors" {
							return errors.New("service unavailable")
						}
					}
					return nil
				}
				db := openHere(t, client, Options{HydrationEnabled: true, HydrationRateLimit: 100_000, PollInterval: -1})
				bad.Store(name != "one byte")
				close(open)
				time.Sleep(5 * time.Minute)
				if got := db.hydrator.Progress(); name != "one byte" && (got.Status != hydrate.Restoring || got.Error == "") {
					t.Errorf("while storage fails: %+v", got)
				}
				bad.Store(false)
				time.Sleep(5 * time.Minute)
				if got := db.hydrator.Progress(); got.Status != hydrate.Complete || got.Error != "" {
					t.Errorf("after it works again: %+v", got)
				}
				wantLocal(t, p, db, db.Current.Load())
			})
		})
	}
}

// A file whose checksum is wrong ends hydration. The error names the file, and
// the pages that came from it are removed. No view serves any of them again,
// because it is unknown which are right. Pages of other files are still served.
func TestHydration_ChecksumMismatch(t *testing.T) {
	client := newHookClient()
	p := bigPrimary(t, client)
	snapshot := keyOfLevel(t, client, SnapshotLevel)
	damageTrailer(t, client, snapshot)
	p.Exec("UPDATE t SET n = 0 WHERE id BETWEEN 300 AND 400")
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, Options{})
	before := db.Current.Load()
	past, err := db.travelTo(t.Context(), snapshot.MaxTXID)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
	if got := db.hydrator.Progress(); !strings.Contains(got.Error, snapshot.String()) || !strings.Contains(got.Error, "checksum") {
		t.Errorf("got %+v", got)
	}
	v := db.Current.Load()
	if v.State.Counter.Load() == before.State.Counter.Load() {
		t.Error("SQLite goes on with what it has cached")
	}
	again, err := db.travelTo(t.Context(), snapshot.MaxTXID)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*view.View{v, before, past, again} {
		right := 0
		for pgno := uint32(1); pgno <= v.Commit; pgno++ {
			if loc, _ := v.Lookup(pgno); loc.File.Key() != snapshot {
				wantPage(t, p, db, v, pgno)
				right++
				continue
			}
			c := connOf(db, v)
			if _, err := c.ReadAt(make([]byte, v.PageSize), int64(pgno-1)*int64(v.PageSize)); err == nil || !strings.Contains(c.lastErr.Load().Text, snapshot.String()) {
				t.Fatalf("page %d as of %s: error %v, %+v", pgno, v.TXID, err, c.lastErr.Load())
			}
		}
		if v.TXID != snapshot.MaxTXID && right == 0 {
			t.Errorf("no page as of %s is right", v.TXID)
		}
	}
	closeDB(t, db)
	if _, pages, err := readRecord(path); err != nil || pages > 0 {
		t.Errorf("the record still lists %d pages, error %v", pages, err)
	}
}

// damageTrailer makes the checksum of a file wrong, and returns its size.
func damageTrailer(t testing.TB, client ReplicaClient, k view.Key) (size int64) {
	t.Helper()
	r, err := client.OpenLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)-1] ^= 1
	if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	return int64(len(body))
}

func keyOfLevel(t testing.TB, client ReplicaClient, level int) view.Key {
	t.Helper()
	itr, err := client.LTXFiles(t.Context(), level, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer itr.Close()
	if !itr.Next() {
		t.Fatalf("no file of level %d", level)
	}
	return view.KeyOf(itr.Item())
}

// The primary deletes files while hydration reads them.
func TestHydration_FilesDeleted(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	var deleted atomic.Bool
	client.open = func(k view.Key, off int64) error {
		if k.Level == SnapshotLevel && off > 300_000 && off < 1_300_000 && !deleted.Swap(true) {
			from := p.TXID()
			p.Exec("UPDATE t SET n = n + 1 WHERE id = 7")
			p.Snapshot()
			p.Delete(SnapshotLevel, 1, keyOfLevel(t, client, SnapshotLevel).MaxTXID)
			p.DeleteLevelBelow(1, from)
			p.DeleteLevelBelow(0, from)
		}
		return nil
	}
	db := openHere(t, client, Options{HydrationEnabled: true, HydrationConcurrency: 1, PollInterval: -1})
	awaitHydrated(t, db)
	if !deleted.Load() {
		t.Error("nothing was deleted")
	}
	wantLocal(t, p, db, db.Current.Load())
}

// bigPrimary is a primary with a snapshot of 5 MB, and nothing else.
func bigPrimary(t testing.TB, store ltxtest.Store) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO t SELECT i, i, randomblob(1000) FROM c")
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	return p
}

// Only the newest version of a page is read: a third of the snapshot's pages
// are superseded.
func TestHydration_NewestVersionsOnly(t *testing.T) {
	for name, change := range map[string]string{
		"one stretch": "UPDATE t SET b = randomblob(1000) WHERE id BETWEEN 500 AND 2000",
		"scattered":   "UPDATE t SET b = randomblob(1000) WHERE id % 9 = 1",
	} {
		t.Run(name, func(t *testing.T) {
			client := newHookClient()
			p := bigPrimary(t, client)
			p.Exec(change)
			db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1})
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
			least, superseded := int64(0), 0
			v := db.Current.Load()
			for pgno := uint32(1); pgno <= v.Commit; pgno++ {
				if loc, ok := v.Lookup(pgno); ok {
					least += int64(loc.Size)
					if loc.File.Level == 0 {
						superseded++
					}
				}
			}
			if share := float64(superseded) / float64(v.Commit); share < 0.25 || share > 0.5 {
				t.Fatalf("%.0f %% are superseded", 100*share)
			}
			got := db.stats().HydrationReadBytes
			t.Logf("%d bytes, %d at least, %d requests", got, least, db.stats().HydrationReads)
			if float64(got) > 1.05*float64(least) {
				t.Errorf("%d bytes are read, %d would do", got, least)
			}
		})
	}
}

// The pages near one that a query waits for are read next, however many
// processors decode pages.
func TestHydration_HotRegionsNext(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16))
	client := newHookClient()
	p := bigPrimary(t, client)
	synctest.Test(t, func(t *testing.T) {
		db := openHere(t, client, Options{
			HydrationEnabled: true, HydrationConcurrency: 1, HydrationRateLimit: 200_000, PollInterval: -1, CacheSize: -1, ReadAheadSize: -1,
		})
		time.Sleep(time.Second) // the first part is in flight
		v := db.Current.Load()
		hot := v.Commit - 20
		wantPage(t, p, db, v, hot)
		wantPage(t, p, db, v, hot-1)
		near := func() bool {
			for pgno := hot - 10; pgno <= hot+10; pgno++ {
				if !isLocal(db, v, pgno) {
					return false
				}
			}
			return true
		}
		for !near() {
			time.Sleep(10 * time.Millisecond)
		}
		if p := db.hydrator.Progress(); p.Pages == p.TotalPages {
			t.Error("everything is local before what is near the query")
		}
		reads := db.stats().PageReads
		wantPage(t, p, db, v, hot)
		if n := db.stats().PageReads - reads; n != 0 {
			t.Errorf("%d requests for a page that was fetched", n)
		}
	})
}

// The 99th percentile of the time that a query waits grows little while the
// database is hydrated over the same link.
func TestHydration_QueryLatency(t *testing.T) {
	mem := memory.NewReplicaClient()
	p := ltxtest.New(t, mem, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) INSERT INTO t SELECT i, randomblob(1000) FROM c")
	p.Snapshot()
	p99 := func(rate float64, hydrating bool) (d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			client := newSlowLink(mem, 20*time.Millisecond, rate)
			opts := Options{HydrationEnabled: hydrating, PollInterval: -1, CacheSize: -1, ReadAheadSize: -1}
			opts = opts.withDefaults()
			db, err := openAlone(t.Context(), "app.db", client, opts, remote.NewLimiter(DefaultMaxConcurrentRequests))
			if err != nil {
				t.Fatal(err)
			}
			defer closeDB(t, db)
			v := db.Current.Load()
			rng := rand.New(rand.NewPCG(1, 1))
			var all []time.Duration
			for range 100 {
				if hydrating && db.hydrator.Progress().Status == hydrate.Complete {
					t.Errorf("hydration was over too soon: %+v", db.hydrator.Progress())
				}
				pgno := 1 + rng.Uint32N(v.Commit)
				start := time.Now()
				if _, err := db.pages.Page(t.Context(), v, pgno); err != nil {
					t.Fatal(err)
				}
				all = append(all, time.Since(start))
				time.Sleep(5 * time.Millisecond)
			}
			slices.Sort(all)
			d = all[98]
		})
		return d
	}
	for _, rate := range []float64{5e6, 8e6} {
		without, with := p99(rate, false), p99(rate, true)
		t.Logf("%v bytes a second: p99 %v without hydration, %v with", rate, without, with)
		if with > without*3/2 {
			t.Errorf("%v bytes a second: p99 %v without hydration, %v with", rate, without, with)
		}
	}
}

// slowLink delays requests, and makes their bodies share one link.
type slowLink struct {
	*memory.ReplicaClient
	delay time.Duration
	link  chan struct{} // held while a piece of a body passes
	rate  float64       // in bytes a second
}

func newSlowLink(c *memory.ReplicaClient, delay time.Duration, rate float64) *slowLink {
	return &slowLink{c, delay, make(chan struct{}, 1), rate}
}

func (c *slowLink) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	time.Sleep(c.delay)
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p[:min(len(p), 16<<10)])
		c.link <- struct{}{}
		time.Sleep(time.Duration(float64(n) / c.rate * 1e9))
		<-c.link
		return n, err
	})), nil
}

// A file proves to be damaged while the disk is full. Pages that the record
// lists from it are served neither now nor by the next process.
func TestHydration_DamageAndDiskFull(t *testing.T) {
	client := newHookClient()
	bigPrimary(t, client)
	size := damageTrailer(t, client, keyOfLevel(t, client, SnapshotLevel))
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		opts := Options{HydrationRateLimit: size / 60, onDisk: func(op string) error {
			if full.Load() && op == "before: write record" {
				return fmt.Errorf("write: %w", syscall.ENOSPC)
			}
			return nil
		}}
		db, log := openKeptDB(t, client, path, opts)
		time.Sleep(58 * time.Second) // the record lists pages by now
		full.Store(true)
		time.Sleep(40 * time.Second)
		full.Store(false)
		time.Sleep(5 * time.Minute)
		if got := db.hydrator.Progress(); got.Status != hydrate.Failed {
			t.Errorf("%+v\n%s", got, log)
		}
		closeDB(t, db)
		db, log = openKeptDB(t, client, path, opts)
		time.Sleep(time.Second)
		if got := db.hydrator.Progress(); got.Pages > 100 || strings.Contains(log.String(), "goes on with") {
			t.Errorf("%+v\n%s", got, log)
		}
		closeDB(t, db)
	})
}
