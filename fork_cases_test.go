package litestream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// forkOf is a primary with the first n transactions of counterPrimary, followed
// by different ones.
func forkOf(t *testing.T, n, more int) *ltxtest.Primary {
	t.Helper()
	p := counterPrimary(t, memory.NewReplicaClient(), n)
	p.Advance(time.Hour)
	for range more {
		p.Exec("UPDATE t SET x = x + 1000; INSERT INTO still VALUES (1)")
	}
	return p
}

// become makes a replica hold a state of a primary: files of level 0 from a
// given transaction on, and one file of level 1 for a given range.
func become(t *testing.T, client *hookClient, p *ltxtest.Primary, level0From, level1From, level1To ltx.TXID) {
	t.Helper()
	for level := range view.Levels {
		itr, err := client.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err == nil {
			err = client.DeleteLTXFiles(t.Context(), infos)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(level int, first, last ltx.TXID) {
		pages := make(map[uint32][]byte)
		image, was, size := p.Image(last), p.Image(first-1), p.PageSize()
		for i := 0; i < len(image); i += size {
			if i >= len(was) || !bytes.Equal(image[i:][:size], was[i:][:size]) {
				pages[uint32(i/size+1)] = image[i:][:size]
			}
		}
		b := ltxtest.EncodeLTX(ltx.Header{
			PageSize: uint32(size), Commit: uint32(len(image) / size), MinTXID: first, MaxTXID: last, Timestamp: p.Time(last).UnixMilli(),
		}, pages, false)
		if _, err := client.WriteLTXFile(t.Context(), level, first, last, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	if level1From > 0 {
		put(1, 1, level1From-1)
		put(1, level1From, level1To)
	}
	for txid := level0From; txid <= p.TXID(); txid++ {
		put(0, txid, txid)
	}
}

// TestPromise7_RolledBackAndForked rolls a replica back to transaction 10 while
// a follower is at 20. Another writer then passes 20. The cases are the ways in
// which the follower can find the replica.
func TestPromise7_RolledBackAndForked(t *testing.T) {
	for _, tc := range []struct {
		name                             string
		level0From, level1From, level1To ltx.TXID
		more                             int
	}{
		{"not passed yet", 1, 0, 0, 5},
		{"level 0", 1, 0, 0, 12},
		{"compacted to 20", 21, 11, 20, 12},
		{"compacted to 22", 23, 11, 22, 12},
		{"compacted to 22, level 0 is there", 11, 11, 22, 12},
		{"compacted to 21", 22, 11, 21, 12},
	} {
		for _, full := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				client := newHookClient()
				p := counterPrimary(t, client, 20)
				p.Compact(1, 1, 10)
				db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
				old := db.Current.Load()
				past, err := db.travelTo(t.Context(), 15)
				if err != nil {
					t.Fatal(err)
				}
				q := forkOf(t, 10, tc.more)
				become(t, client, q, tc.level0From, tc.level1From, tc.level1To)
				if err := db.poller.poll(full); err != nil {
					t.Fatal(err)
				}
				if db.Current.Load() == old && !full { // the new history does not have the name of the next file
					for _, v := range []*view.View{old, past} {
						wantOwn(t, p, db, v, 1, 2, 3)
					}
					if err := db.poller.poll(true); err != nil {
						t.Fatal(err)
					}
				}
				cur := db.Current.Load()
				// If one file covers everything, nothing need reveal that it
				// belongs to another history.
				covered := tc.level1To > 20 && tc.level0From > 20
				if cur.TXID != q.TXID() || cur.Epoch == old.Epoch && !covered {
					t.Fatalf("a poll leads to %s, epoch %d, want %s of another", cur.TXID, cur.Epoch, q.TXID())
				}
				if covered && cur.Epoch == old.Epoch {
					// This holds until a connection reads a doubtful page.
					if v, err := db.travelTo(t.Context(), tc.level1To); err != nil || v.TXID != tc.level1To {
						t.Fatal(err)
					} else {
						wantPages(t, q, db, v, 1, 2, 3)
					}
				}
				wantPages(t, q, db, cur, 1, 2, 3)
				wantOwn(t, p, db, old, 1, 2, 3)
				wantOwn(t, p, db, past, 1, 2, 3)
			})
		}
	}
}

// TestRead_ReplacedInPlace replaces a file by one of the same name, size,
// layout and time while a view is open and before any poll. A read returns the
// content of the view or fails.
func TestRead_ReplacedInPlace(t *testing.T) {
	client := newHookClient()
	k := view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}
	putFile(t, client, k, 400, 'a', pgnoRange(1, 400))
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1, ReadAheadSize: -1})
	v := db.Current.Load()
	size := v.Last.Size
	putFile(t, client, k, 400, 'b', pgnoRange(1, 400))
	for _, pgno := range []uint32{2, 200, 400} {
		page, err := db.pages.Page(t.Context(), v, pgno)
		if err == nil && !bytes.Equal(page, fakePage(pgno, 'a')) {
			t.Errorf("page %d is of the other file: %q", pgno, page[:4])
		}
	}
	infos, err := db.store.ListAll(t.Context(), false)
	if err != nil || infos[0].Size != size {
		t.Fatalf("%d bytes, not %d: %v", infos[0].Size, size, err)
	}
}

// TestLoad_ReplacedBetweenHeadAndTail replaces a file between the reads of its
// head and its tail.
func TestLoad_ReplacedBetweenHeadAndTail(t *testing.T) {
	client := newHookClient()
	page := func(seed byte) []byte { // hard to compress
		b := make([]byte, fakePageSize)
		x := uint32(seed) + 1
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
		return b
	}
	put := func(seed byte, at int64) {
		pages := make(map[uint32][]byte)
		for pgno := range uint32(1000) {
			pages[pgno+1] = page(seed)
		}
		copy(pages[1], fakePage(1, 0)[:32])
		b := ltxtest.EncodeLTX(ltx.Header{PageSize: fakePageSize, Commit: 1000, MinTXID: 1, MaxTXID: 1, Timestamp: at}, pages, false)
		if _, err := client.WriteLTXFile(context.Background(), 0, 1, 1, bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	}
	put(1, 1000)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1, ReadAheadSize: -1})
	infos, err := db.store.ListAll(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	client.fetch = func(_ view.Key, off int64) {
		client.fetch = nil
		put(2, 1000)
	}
	db.store.Limit = remote.NewLimiter(1) // one read after the other
	if l, err := db.store.LoadFile(t.Context(), infos[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file whose parts are of two was loaded: %v, %v", l != nil, err)
	}
	if client.fetch != nil {
		t.Fatal("the file was not replaced")
	}
}

// mislisted is a client whose listings report a version other than the one that
// it reads.
type mislisted struct{ *hookClient }

func (c mislisted) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return c.hookClient.AllLTXFiles(clientio.WithVersionNoter(ctx, func(info *ltx.FileInfo, v string) {
		clientio.NoteVersion(ctx, info, "listed "+v)
	}), useMetadata)
}

// TestOpen_VersionsOfNoUse opens a replica on a store whose listings report
// other versions than its answers to reads.
func TestOpen_VersionsOfNoUse(t *testing.T) {
	client := mislisted{newHookClient()}
	p := counterPrimary(t, client, 3)
	var log testlog.Buffer
	opts := Options{PollInterval: -1, CacheSize: -1, Logger: testlog.New(t, &log)}
	db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close(context.Background())
	wantPages(t, p, db, db.Current.Load(), 1, 2, 3)
	count(p)
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	wantPages(t, p, db, db.Current.Load(), 1, 2, 3)
	if !strings.Contains(log.String(), "another version than it reads") {
		t.Errorf("nothing in the log tells: %s", log.String())
	}
}

// failingClient is a client whose listings and reads fail while the test wants it.
type failingClient struct {
	*hookClient
	fail atomic.Bool
}

var errNoAnswer = errors.New("no answer today")

func (c *failingClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if c.fail.Load() {
		return nil, errNoAnswer
	}
	return c.hookClient.LTXFiles(ctx, level, seek, useMetadata)
}

func (c *failingClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if c.fail.Load() {
		return nil, errNoAnswer
	}
	return c.hookClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestPoll_ErrorShows makes polls fail. Statistics, and the status of
// connections without errors of their own, report the reason until polls
// succeed again.
func TestPoll_ErrorShows(t *testing.T) {
	client := &failingClient{hookClient: newHookClient()}
	counterPrimary(t, client, 2)
	db := openHere(t, client, Options{PollInterval: time.Millisecond, PollIdleAfter: -1})
	c := connOf(db, nil)
	c.pinNewest()
	await := func(what string, cond func(status, stats string) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			status, err := c.status()
			if err != nil {
				t.Fatal(err)
			}
			if cond(status, db.stats().PollError) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", what, status)
			}
		}
	}
	client.fail.Store(true)
	useDB(db)
	await("no error shows", func(status, stats string) bool {
		return strings.Contains(status, `"last_error":{`) && strings.Contains(status, "no answer today") && strings.Contains(stats, "no answer today")
	})
	client.fail.Store(false)
	await("the error stays", func(status, stats string) bool {
		return strings.Contains(status, `"last_error":null`) && stats == ""
	})
}

// TestCompaction_MovesToOwnHistoryOnly compacts a replica that another writer
// has rolled back and continued, before any poll has noticed. The newest view
// keeps its pages.
func TestCompaction_MovesToOwnHistoryOnly(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 20)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	old := db.Current.Load()
	q := forkOf(t, 10, 12)
	become(t, client, q, 21, 11, 20)
	l, err := db.store.LoadFile(t.Context(), &ltx.FileInfo{Level: 1, MinTXID: 11, MaxTXID: 20, Size: sizeOf(t, client, 1, 11)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.relocateIfKnown(l, db.Current.Load()); err != nil {
		t.Fatal(err)
	}
	if db.Current.Load() != old {
		t.Error("pages are moved to a file of another history")
	}
	wantOwn(t, p, db, old, 1, 2, 3)
}

func sizeOf(t *testing.T, client ReplicaClient, level int, minTXID ltx.TXID) int64 {
	t.Helper()
	itr, err := client.LTXFiles(t.Context(), level, minTXID, false)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := ltx.SliceFileIterator(itr)
	if err != nil || len(infos) == 0 {
		t.Fatal(err)
	}
	return infos[0].Size
}

// TestRefresh_ForkAfterKnownFile rolls a replica back to the end of a file that stays,
// and forks it there. A merged file of the fork covers everything that the follower had,
// so that only the header of the newest known transaction tells that it is another one.
func TestRefresh_ForkAfterKnownFile(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 20)
	p.Compact(1, 1, 10)
	p.DeleteLevelBelow(0, 11)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	old := db.Current.Load()

	fork := memory.NewReplicaClient()
	q := counterPrimary(t, fork, 10)
	q.Advance(time.Hour)
	for range 12 {
		q.Exec("UPDATE t SET x = x + 1000; INSERT INTO still VALUES (1)")
	}
	q.Compact(1, 11, 22)
	p.DeleteLevelBelow(0, 21)
	keys := []view.Key{{Level: 1, MinTXID: 11, MaxTXID: 22}}
	for txid := ltx.TXID(11); txid <= 22; txid++ {
		keys = append(keys, view.Key{Level: 0, MinTXID: txid, MaxTXID: txid})
	}
	for _, k := range keys {
		r, err := fork.OpenLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, 0, 0)
		if err == nil {
			_, err = client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	cur := db.Current.Load()
	if cur.TXID != 22 || cur.Epoch == old.Epoch {
		t.Errorf("a poll leads to %s of history %d", cur.TXID, cur.Epoch)
	}
	wantPages(t, q, db, cur, 1, 2, 3)
	wantOwn(t, p, db, old, 1, 2, 3)
}
