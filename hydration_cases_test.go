package litestream

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/remote"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// A replica is replaced by a smaller one while a part of it is being copied.
func TestHydration_ReplacedBySmaller(t *testing.T) {
	client := newHookClient()
	bigPrimary(t, client)
	open := make(chan struct{})
	var hit atomic.Bool
	body := &bodyClient{hookClient: client, through: func(_ context.Context, off int64, r io.Reader) io.Reader {
		return readerFunc(func(b []byte) (int, error) {
			if off > 1_000_000 && off < 4_000_000 {
				hit.Store(true)
				<-open
			}
			return r.Read(b)
		})
	}}
	db, log := openKeptDB(t, body, filepath.Join(t.TempDir(), "local.db"), Options{HydrationConcurrency: 1})
	defer closeDB(t, db)
	await(t, "hydration", hit.Load)
	snapshot := keyOfLevel(t, client, SnapshotLevel)
	if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: SnapshotLevel, MinTXID: snapshot.MinTXID, MaxTXID: snapshot.MaxTXID}}); err != nil {
		t.Fatal(err)
	}
	p := ltxtest.New(t, client, ltxtest.Options{Start: time.Now()})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY)")
	p.Exec("INSERT INTO t VALUES (1)")
	mustRefresh(t, db)
	await(t, "the other replica", func() bool { return db.hydrator.View() == db.Current.Load() })
	close(open)
	awaitHydrated(t, db)
	if strings.Contains(log.String(), "panic") {
		t.Error(log)
	}
	wantLocal(t, p, db, db.Current.Load())
}

// recordHeader holds the fields that tests read from the record of a hydration
// file.
type recordHeader struct {
	TXID    ltx.TXID `json:"txid"`
	Samples []struct {
		Pgno uint32 `json:"pgno"`
	} `json:"samples"`
	Compared []byte `json:"compared"`
}

// readRecord reads the record of a hydration file, and counts the pages that it
// lists.
func readRecord(path string) (header recordHeader, pages int64, err error) {
	b, err := os.ReadFile(path + "-hydration")
	if err != nil {
		return header, 0, err
	}
	rest, ok := bytes.CutPrefix(b, []byte("litestream hydration 2\n"))
	if !ok || len(rest) < 8 || binary.BigEndian.Uint64(rest) > uint64(len(rest)-8) {
		return header, 0, errors.New("no record")
	}
	line, runs, _ := bytes.Cut(rest[8:][:binary.BigEndian.Uint64(rest)], []byte("\n"))
	if err := json.Unmarshal(line, &header); err != nil {
		return header, 0, err
	}
	for len(runs) > 0 {
		count, n := binary.Uvarint(runs)
		if n <= 0 {
			return header, 0, errors.New("no run of pages")
		}
		version, m := binary.Uvarint(runs[n:])
		if m <= 0 {
			return header, 0, errors.New("no version of a run")
		}
		if version != 0 {
			pages += int64(count)
		}
		runs = runs[n+m:]
	}
	return header, pages, nil
}

// awaitRecord waits until the record lists all pages of the newest view.
func awaitRecord(t *testing.T, db *database, path string) {
	t.Helper()
	await(t, "checkpoint", func() bool {
		rec, n, err := readRecord(path)
		return err == nil && rec.TXID == db.Current.Load().TXID && n == db.Current.Load().Pages.Len()
	})
}

// An append to the record fails. The next process does not trust the failed
// append, and loses nothing that was appended after it.
func TestHydration_FailedAppend(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			client := newHookClient()
			p := rowsPrimary(t, client)
			base := p.TXID()
			dir, crash := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, "local.db")
			var fail atomic.Bool
			synctest.Test(t, func(t *testing.T) {
				db, _ := openKeptDB(t, client, path, Options{onDisk: func(op string) error {
					if op == when+": append to record" && fail.Swap(false) {
						return fmt.Errorf("append: %w", syscall.ENOSPC)
					}
					return nil
				}})
				defer closeDB(t, db)
				awaitHydrated(t, db)
				awaitRecord(t, db, path)
				fail.Store(true)
				p.Exec("UPDATE t SET b = randomblob(1000) WHERE id = 304")
				mustRefresh(t, db)
				await(t, "failure", func() bool { return !fail.Load() })
				synctest.Wait()
				if got := db.hydrator.Progress(); got.Status != hydrate.Failed || !strings.Contains(got.Error, "no space") {
					t.Errorf("with a full disk: %+v", got)
				}
				time.Sleep(time.Minute)
				p.Exec("UPDATE t SET b = randomblob(1000) WHERE id = 604")
				mustRefresh(t, db)
				awaitHydrated(t, db)
				// The process is killed, and the replica returns to the state
				// at which the record began.
				synctest.Wait() // until the record is replaced, or is not
				copyDir(t, crash, dir)
			})
			for txid := base + 1; txid <= p.TXID(); txid++ {
				p.Delete(0, txid, txid)
			}
			db, _ := openKeptDB(t, client, filepath.Join(crash, "local.db"), Options{})
			defer closeDB(t, db)
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
		})
	}
}

// Storage does not answer when the file should be compared with the replica.
// The file is kept, and the comparison is repeated later.
func TestHydration_ResumeWithoutAnAnswer(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	closeDB(t, db)
	synctest.Test(t, func(t *testing.T) {
		db, log := openKeptDB(t, &deniedClient{hookClient: client}, path, Options{})
		defer closeDB(t, db)
		time.Sleep(time.Second)
		if got := db.hydrator.Progress(); !strings.Contains(got.Error, "denied") {
			t.Errorf("it does not say why it waits: %+v", got)
		}
		wantAll(t, p, db)
		time.Sleep(time.Hour)
		awaitHydrated(t, db)
		wantLocal(t, p, db, db.Current.Load())
		if strings.Contains(log.String(), "starts over") || !strings.Contains(log.String(), "goes on with what") {
			t.Error(log)
		}
	})
}

// deniedClient fails the second listing, which is that of a starting hydration.
type deniedClient struct {
	*hookClient
	n atomic.Int64
}

func (c *deniedClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if c.n.Add(1) == 2 {
		return nil, fmt.Errorf("denied: %w", os.ErrPermission)
	}
	return c.hookClient.AllLTXFiles(ctx, useMetadata)
}

// A query does not wait for a rate-limited hydration, however few requests may
// be in flight.
func TestHydration_FewPlaces(t *testing.T) {
	client := newHookClient()
	p := bigPrimary(t, client)
	for _, n := range []int{1, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			opts := Options{HydrationEnabled: true, PollInterval: -1, HydrationRateLimit: 100_000, CacheSize: -1, ReadAheadSize: -1}
			db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), remote.NewLimiter(n))
			if err != nil {
				t.Fatal(err)
			}
			defer closeDB(t, db)
			time.Sleep(2 * time.Second)
			start := time.Now()
			wantPage(t, p, db, db.Current.Load(), 1000)
			if d := time.Since(start); d > time.Second {
				t.Errorf("%d places: a read takes %v", n, d)
			}
			start = time.Now()
			if err := db.refresh(t.Context()).err(); err != nil || time.Since(start) > 2*time.Second {
				t.Errorf("%d places: a poll takes %v: %v", n, time.Since(start), err)
			}
		})
	}
}

// The record is not rewritten for every transaction, even if each transaction
// grows the database.
func TestHydration_RecordsAreFew(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		db, _ := openKeptDB(t, client, path, Options{onDisk: func(op string) error {
			if op == "before: write record" {
				n.Add(1)
			}
			return nil
		}})
		defer closeDB(t, db)
		awaitHydrated(t, db)
		awaitRecord(t, db, path)
		before := n.Load()
		for range 50 {
			p.Exec("INSERT INTO t VALUES (NULL, 1, randomblob(9000))")
			mustRefresh(t, db)
			awaitHydrated(t, db)
			time.Sleep(time.Second)
		}
		if got := n.Load() - before; got > 6 || got < 3 {
			t.Errorf("%d records are written in 50 seconds", got)
		}
	})
}

// OnHydrationProgress panics: hydration ends, but the process does not.
func TestHydration_CallbackPanics(t *testing.T) {
	client := newHookClient()
	p := smallPrimary(t, client)
	db := openHere(t, client, Options{HydrationEnabled: true, PollInterval: -1, OnHydrationProgress: func(HydrationProgress) { panic("boom") }})
	awaitHydrated(t, db)
	wantAll(t, p, db)
}

// The replica is recreated with a shorter file of the same name, while
// hydration repeats its request for a part of the old file.
func TestHydration_ReplacedByShorter(t *testing.T) {
	for _, polls := range []bool{true, false} {
		t.Run(fmt.Sprintf("polls=%v", polls), func(t *testing.T) {
			client := newHookClient()
			var fails atomic.Bool
			client.open = func(view.Key, int64) error {
				if fails.Load() {
					return errors.New("storage does not answer")
				}
				return nil
			}
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			old := ltxtest.New(t, client, ltxtest.Options{Start: start})
			old.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(3000000))")
			path := filepath.Join(t.TempDir(), "local.db")
			synctest.Test(t, func(t *testing.T) {
				var once sync.Once
				db, log := openKeptDB(t, client, path, Options{onDisk: func(string) error {
					once.Do(func() { fails.Store(true) })
					return nil
				}})
				defer closeDB(t, db)
				time.Sleep(10 * time.Second)
				if db.hydrator.Progress().Error == "" {
					t.Error("no read has failed")
				}
				old.DeleteLevelBelow(0, old.TXID()+1)
				p := ltxtest.New(t, client, ltxtest.Options{Start: start.Add(time.Hour)})
				p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(1000000))")
				fails.Store(false)
				if polls {
					if err := db.poller.poll(true); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(2 * time.Minute)
				if got := db.hydrator.Progress(); got.Status != hydrate.Complete || got.Error != "" {
					t.Fatalf("%+v\n%s", got, log)
				}
				wantLocal(t, p, db, db.Current.Load())
			})
		})
	}
}
