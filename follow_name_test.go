package litestream

import (
	"context"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// follower is a database under a simulated clock, and the primary that it follows.
type follower struct {
	p   *ltxtest.Primary
	db  *database
	log testlog.Buffer
}

// followIn opens a database that polls all the time, on a store of a few
// transactions. Its requests go through wrap, and a round trip takes delay.
func followIn(t *testing.T, opts Options, delay time.Duration, wrap func(ReplicaClient) ReplicaClient, do func(t *testing.T, f *follower)) {
	t.Helper()
	inner := memory.NewReplicaClient()
	f := &follower{p: ltxtest.New(t, inner, ltxtest.Options{})}
	f.p.Exec("CREATE TABLE t (x)")
	f.p.Exec("INSERT INTO t VALUES (0)")
	synctest.Test(t, func(t *testing.T) {
		opts.Logger, opts.PollIdleAfter = testlog.New(t, &f.log), -1
		client := decorate.NewLatency(wrap(inner), decorate.Latency{PerRequest: delay})
		db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.close(context.Background()) }()
		f.db = db
		useDB(db)
		do(t, f)
	})
}

func unchanged(c ReplicaClient) ReplicaClient { return c }

// delays makes a transaction after each pause, and returns how long each takes to
// be visible.
func (f *follower) delays(pauses []time.Duration) (delays []time.Duration) {
	const step = time.Millisecond
	for _, pause := range pauses {
		time.Sleep(pause)
		start, txid := time.Now(), f.p.Exec("UPDATE t SET x = x + 1")
		for f.db.Current.Load().TXID < txid {
			time.Sleep(step)
		}
		delays = append(delays, time.Since(start))
	}
	return delays
}

func mean(delays []time.Duration) (sum time.Duration) {
	for _, d := range delays {
		sum += d
	}
	return sum / time.Duration(len(delays))
}

// pausesOf returns n pauses that are spread evenly between two lengths, in an order
// that does not matter.
func pausesOf(n int, least, most time.Duration) (pauses []time.Duration) {
	for i := range n {
		pauses = append(pauses, least+(most-least)*time.Duration(2*(i*73%n)+1)/time.Duration(2*n))
	}
	return pauses
}

// TestPoll_Delay measures how long a transaction of one page takes to be visible.
// On average that is half the time between two polls, until a store sees the
// request of the next one, and the way back. The first transactions after a pause
// take another round trip. The store of this test answers at the end of a round
// trip, so that there is no way back.
func TestPoll_Delay(t *testing.T) {
	const (
		trip  = 20 * time.Millisecond
		cycle = DefaultPollInterval + trip // between two polls without news
		slack = 5 * time.Millisecond       // of the measurement
	)
	for _, tc := range []struct {
		name        string
		least, most time.Duration // between two transactions
		trips       time.Duration
	}{
		{"lively primary", 0, 2 * cycle, 1},
		{"primary with long pauses", 8 * time.Second, 8*time.Second + 12*cycle, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			followIn(t, Options{}, trip, unchanged, func(t *testing.T, f *follower) {
				got := mean(f.delays(pausesOf(200, tc.least, tc.most)))
				t.Logf("%v on average", got)
				if most := cycle/2 + (tc.trips-1)*trip + slack; got > most {
					t.Errorf("a transaction takes %v on average, want %v at most", got, most)
				}
			})
		})
	}
}

// TestPoll_CompactedUnseen compacts each transaction at once and deletes its file,
// so that the name of the next file is never there. Polls that list find it.
func TestPoll_CompactedUnseen(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 7 * time.Second, time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			followIn(t, Options{PollInterval: interval}, 0, unchanged, func(t *testing.T, f *follower) {
				most := max(min(fullPollEvery*interval, fullPollAfter+interval), interval)
				time.Sleep(interval / 3) // the transactions do not fall on the instants of polls
				for range 20 {
					start, txid := time.Now(), f.p.Exec("UPDATE t SET x = x + 1")
					f.p.Compact(1, 1, txid)
					f.p.DeleteLevelBelow(0, txid+1)
					for f.db.Current.Load().TXID < txid && time.Since(start) <= most {
						time.Sleep(interval / 7)
					}
					if got := f.db.Current.Load().TXID; got != txid {
						t.Fatalf("%v later the view is %s, want %s", time.Since(start), got, txid)
					}
				}
			})
		})
	}
}

// forgetful is a store that remembers for half a minute that a file is missing.
// Its listings are true.
type forgetful struct {
	ReplicaClient
	mu struct {
		sync.Mutex
		missing map[view.Key]time.Time // when the store was asked for a file that did not exist
	}
}

func (c *forgetful) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	k := view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.mu.missing[k]; ok && time.Since(at) < 30*time.Second {
		return nil, fs.ErrNotExist
	}
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		c.mu.missing[k] = time.Now()
	}
	return r, err
}

// TestPoll_StaleMisses follows on a store that remembers that a file was missing.
// Once a poll has listed a file that the store does not find, polls go by listings
// only, and transactions show without delay.
func TestPoll_StaleMisses(t *testing.T) {
	stale := func(c ReplicaClient) ReplicaClient {
		f := &forgetful{ReplicaClient: c}
		f.mu.missing = make(map[view.Key]time.Time)
		return f
	}
	followIn(t, Options{}, 20*time.Millisecond, stale, func(t *testing.T, f *follower) {
		first := f.delays(pausesOf(10, 0, 30*time.Second))
		t.Logf("at first: %v", first)
		for _, d := range first {
			if d > time.Minute {
				t.Errorf("a transaction takes %v", d)
			}
		}
		for _, d := range f.delays(pausesOf(20, 0, 30*time.Second)) {
			if d > DefaultPollInterval+100*time.Millisecond {
				t.Errorf("a transaction takes %v once polls list", d)
			}
		}
		if n := strings.Count(f.log.String(), "are looked for by listings from now on"); n != 1 {
			t.Errorf("%d lines of the log tell that polls list", n)
		}
	})
}

// strict is a store that refuses reads of files that do not exist.
type strict struct{ ReplicaClient }

func (c strict) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		err = fs.ErrPermission
	}
	return r, err
}

// silent is a store that does not tell which version of a file a read returns.
type silent struct{ ReplicaClient }

func (c silent) OpenLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.ReplicaClient.OpenLTXFile(context.Background(), level, minTXID, maxTXID, offset, size)
}

// TestPoll_NamesOfNoUse follows on stores where reads by name do not work. Polls
// list, and nothing fails.
func TestPoll_NamesOfNoUse(t *testing.T) {
	for _, tc := range []struct {
		name  string
		wrap  func(ReplicaClient) ReplicaClient
		lines int // of the log
	}{
		{"refused", func(c ReplicaClient) ReplicaClient { return strict{c} }, 1},
		{"versions not told by reads", func(c ReplicaClient) ReplicaClient { return silent{c} }, 1},
		{"no versions", func(c ReplicaClient) ReplicaClient { return unversioned{c.(*memory.ReplicaClient)} }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			followIn(t, Options{}, 20*time.Millisecond, tc.wrap, func(t *testing.T, f *follower) {
				f.delays(pausesOf(2, 0, 20*time.Second))
				reads := f.db.store.NameReads.Load()
				for _, d := range f.delays(pausesOf(20, 0, 20*time.Second)) {
					if d > DefaultPollInterval+100*time.Millisecond {
						t.Errorf("a transaction takes %v", d)
					}
				}
				if n := f.db.store.NameReads.Load() - reads; n != 0 {
					t.Errorf("%d reads by name", n)
				}
				if n := strings.Count(f.log.String(), "are looked for by listings from now on"); n != tc.lines {
					t.Errorf("%d lines of the log tell that polls list, want %d", n, tc.lines)
				}
				if strings.Contains(f.log.String(), "failed") {
					t.Errorf("something fails: %s", f.log.String())
				}
			})
		})
	}
}

// TestPoll_LateFile has a writer create the file of a transaction after another
// writer has made that transaction, compacted it and deleted its file. A poll sees
// the late file before the writer takes it back, by name and in a listing. What it
// publishes is the transaction of the other writer.
func TestPoll_LateFile(t *testing.T) {
	for _, tc := range []struct {
		name   string
		levels [][2]ltx.TXID // files of level 1
		delete ltx.TXID      // files of level 0 before this transaction are deleted
	}{
		{"in one file", [][2]ltx.TXID{{1, 21}}, 22},
		{"in a file of its own", [][2]ltx.TXID{{1, 20}, {21, 21}}, 22},
		{"with known transactions", [][2]ltx.TXID{{1, 18}, {19, 21}}, 22},
		{"with later ones", [][2]ltx.TXID{{1, 20}, {21, 22}}, 23},
	} {
		for _, full := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				client := newHookClient()
				p := counterPrimary(t, client, 20)
				db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
				old := db.Current.Load()
				count(p)
				count(p)
				for _, txids := range tc.levels {
					p.Compact(1, txids[0], txids[1])
				}
				p.DeleteLevelBelow(0, tc.delete)
				late := forkOf(t, 20, 1)
				pages, image, size := make(map[uint32][]byte), late.Image(21), late.PageSize()
				for i := 0; i < len(image); i += size {
					pages[uint32(i/size+1)] = image[i:][:size]
				}
				putLTX(t, client, view.Key{Level: 0, MinTXID: 21, MaxTXID: 21},
					ltx.Header{PageSize: uint32(size), Commit: uint32(len(pages)), Timestamp: late.Time(21).UnixMilli()}, pages)
				for range 2 {
					if err := db.poller.poll(full); err != nil {
						t.Fatal(err)
					}
					cur := db.Current.Load()
					if cur.TXID != p.TXID() {
						t.Errorf("a poll leads to %s, want %s", cur.TXID, p.TXID())
					}
					wantPages(t, p, db, cur, 1, 2, 3)
					wantOwn(t, p, db, old, 1, 2, 3)
					client.remove(t, view.Key{Level: 0, MinTXID: 21, MaxTXID: 21})
				}
			})
		}
	}
}

// TestPoll_NewsAfterFilesOfHigherLevels polls after an open that has found no file of
// level 0. A listing of level 0 could not show that the next transaction continues the
// known ones, so the poll makes none: it reads the next file by its name, and lists all
// levels.
func TestPoll_NewsAfterFilesOfHigherLevels(t *testing.T) {
	for name, compact := range map[string]func(p *ltxtest.Primary){
		"level 1":  func(p *ltxtest.Primary) { p.Compact(1, 1, p.TXID()) },
		"snapshot": func(p *ltxtest.Primary) { p.Snapshot() },
	} {
		t.Run(name, func(t *testing.T) {
			client := newHookClient()
			p := counterPrimary(t, client, 20)
			compact(p)
			p.DeleteLevelBelow(0, p.TXID()+1)
			trace := decorate.NewTrace(client)
			db := openHere(t, trace, Options{PollInterval: -1, CacheSize: -1})
			count(p)
			trace.Reset()
			all := client.lists.Load()
			if err := db.poller.poll(false); err != nil {
				t.Fatal(err)
			}
			if all = client.lists.Load() - all; all != 1 || trace.Counts().Lists != 1 {
				t.Errorf("the poll lists %d times, and all levels %d times", trace.Counts().Lists, all)
			}
			cur := db.Current.Load()
			if cur.TXID != p.TXID() || cur.Epoch != 0 {
				t.Errorf("the poll leads to %s of history %d", cur.TXID, cur.Epoch)
			}
			wantPages(t, p, db, cur, 1, 2, 3)
		})
	}
}

// lateList is a store whose listings of level 0 lack the newest files.
type lateList struct {
	*hookClient
	lacks ltx.TXID // this transaction and later ones
	lists int      // listings of level 0
}

func (c *lateList) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if level == 0 {
		c.lists++
	}
	itr, err := c.hookClient.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil || level != 0 {
		return itr, err
	}
	var files []*ltx.FileInfo
	for itr.Next() {
		if info := itr.Item(); info.MaxTXID < c.lacks {
			files = append(files, info)
		}
	}
	return ltx.NewFileInfoSliceIterator(files), itr.Close()
}

// TestPoll_ListedLate has listings of a store lack a file for a while that a read by
// name finds. A poll that has read the file before it lists does not list again: it
// publishes nothing that no listing confirms, and leaves the rest to the next poll.
func TestPoll_ListedLate(t *testing.T) {
	client := &lateList{hookClient: newHookClient(), lacks: 22}
	p := counterPrimary(t, client.hookClient, 20)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	count(p)
	poll := func(what string, want ltx.TXID, lists int) {
		t.Helper()
		client.lists = 0
		if err := db.poller.poll(false); err != nil {
			t.Fatal(err)
		}
		if got := db.Current.Load().TXID; got != want || client.lists != lists {
			t.Errorf("%s: a poll leads to %s with %d listings, want %s with %d", what, got, client.lists, want, lists)
		}
	}
	poll("the listing has the transaction", 21, 1)
	for range livelyPolls {
		poll("no news", 21, 1)
	}
	count(p)
	poll("the listing lacks the transaction", 21, 1)
	client.lacks = 23
	poll("the listing has it", 22, 1)
}
