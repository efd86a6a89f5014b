package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// TestTravel_SharesNoEarlierLook travels in a replica that was rolled back and
// written to, while a poll with an older listing is in flight. The state that
// travel returns does not belong to the epoch of the old history, whose pages
// have the same numbers.
func TestTravel_SharesNoEarlierLook(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 20)
	p.Compact(1, 1, 10)
	q := forkOf(t, 10, 12)
	synctest.Test(t, func(t *testing.T) {
		db := openHere(t, client, Options{PollInterval: -1})
		old := db.Current.Load()
		polled := make(chan struct{})
		poll := make(chan error, 1)
		client.listed = func() {
			client.listed = nil
			<-polled
		}
		go func() { poll <- db.poller.poll(true) }()
		synctest.Wait() // the poll has listed
		become(t, client, q, 1, 0, 0)
		var past *view.View
		travelled := make(chan error, 1)
		go func() {
			var err error
			past, err = db.travelTo(t.Context(), 18)
			travelled <- err
		}()
		synctest.Wait() // the travel waits for the poll
		close(polled)
		if err := errors.Join(<-poll, <-travelled); err != nil {
			t.Fatal(err)
		}
		if past.Epoch == old.Epoch {
			t.Error("the state has the epoch of another history")
		}
		wantPages(t, q, db, past, 1, 2, 3)
		wantOwn(t, p, db, old, 1, 2, 3)
	})
}

// bridged returns a database whose replica was rolled back to transaction 10
// and written to. Nothing reveals this, because one file covers all that a poll
// missed. The view past is the state after transaction 15 of the old history,
// and first the one after 20.
func bridged(t *testing.T, client *hookClient) (db *database, past, first *view.View) {
	t.Helper()
	db = openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	first = db.Current.Load()
	past, err := db.travelTo(t.Context(), 15)
	if err != nil {
		t.Fatal(err)
	}
	become(t, client, forkOf(t, 10, 12), 23, 11, 22)
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	if cur := db.Current.Load(); cur.TXID != 22 || cur.Epoch != first.Epoch || !cur.IsDoubtful(15) {
		t.Fatalf("a poll leads to %s, epoch %d", cur.TXID, cur.Epoch)
	}
	return db, past, first
}

// putFork stores the file of level 1 that holds the transactions of the fork
// from 11 on.
func putFork(t *testing.T, client *hookClient, last ltx.TXID) {
	t.Helper()
	q := forkOf(t, 10, 12)
	size := q.PageSize()
	pages := make(map[uint32][]byte)
	for i, image := 0, q.Image(last); i < len(image); i += size {
		if was := q.Image(10); i >= len(was) || !bytes.Equal(image[i:][:size], was[i:][:size]) {
			pages[uint32(i/size+1)] = image[i:][:size]
		}
	}
	putLTX(t, client, view.Key{Level: 1, MinTXID: 11, MaxTXID: last}, ltx.Header{
		PageSize: uint32(size), Commit: uint32(len(q.Image(last)) / size), Timestamp: q.Time(last).UnixMilli(),
	}, pages)
}

// TestTravel_DoubtEndsEpoch travels to a doubtful transaction while an earlier
// listing is in flight. That listing cannot resolve the doubt. After another
// epoch has begun, no other listing of the old epoch can either.
func TestTravel_DoubtEndsEpoch(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 20).Compact(1, 1, 10)
	q := forkOf(t, 10, 12)
	synctest.Test(t, func(t *testing.T) {
		db, _, first := bridged(t, client)
		putFork(t, client, 18)
		looked := make(chan struct{})
		go db.share(t.Context(), "refresh", func(context.Context) (any, error) {
			turn := db.turns.Add(1)
			<-looked
			return refreshed{turn: turn}, nil
		})
		synctest.Wait()
		var past *view.View
		travelled := make(chan error, 1)
		go func() {
			var err error
			past, err = db.travelTo(t.Context(), 18)
			travelled <- err
		}()
		synctest.Wait()
		close(looked)
		if err := <-travelled; err != nil {
			t.Fatal(err)
		}
		if past.Epoch == first.Epoch {
			t.Error("the state has the epoch of another history")
		}
		wantPages(t, q, db, past, 1, 2, 3)
		if err := db.poller.poll(true); err != nil {
			t.Fatal(err)
		}
		if cur := db.Current.Load(); cur.Epoch != past.Epoch {
			t.Errorf("a poll begins epoch %d, after %d", cur.Epoch, past.Epoch)
		}
	})
}

// TestTravel_DoubtfulPast travels to a transaction whose old state another
// connection has pinned. The replica no longer holds that state.
func TestTravel_DoubtfulPast(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 20).Compact(1, 1, 10)
	db, past, _ := bridged(t, client)
	if v, err := db.travelTo(t.Context(), past.TXID); !errors.Is(err, ErrTxNotAvailable) {
		t.Errorf("got a state of the old history: %v, %v", v == past, err)
	}
}

// TestFind_NotInDoubt looks for pages of the old history where files of the new
// history end at the same transactions.
func TestFind_NotInDoubt(t *testing.T) {
	for _, last := range []ltx.TXID{15, 20} {
		client := newHookClient()
		p := counterPrimary(t, client, 20)
		p.Compact(1, 1, 10)
		db, past, first := bridged(t, client)
		putFork(t, client, last)
		wantOwn(t, p, db, past, 1, 2, 3)
		wantOwn(t, p, db, first, 1, 2, 3)
	}
}

// TestFollow_BridgeBeginsTooLate has a file that covers what a poll missed, but
// not everything that the new history changed before.
func TestFollow_BridgeBeginsTooLate(t *testing.T) {
	client := newHookClient()
	putFile(t, client, view.Key{Level: 1, MinTXID: 1, MaxTXID: 10}, 3, 'a', pgnoRange(1, 3))
	putFile(t, client, view.Key{Level: 0, MinTXID: 11, MaxTXID: 11}, 3, 'b', []uint32{2})
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	before := db.Current.Load()
	client.remove(t, view.Key{Level: 0, MinTXID: 11, MaxTXID: 11})
	putFile(t, client, view.Key{Level: 1, MinTXID: 11, MaxTXID: 11}, 3, 'c', []uint32{3})
	putFile(t, client, view.Key{Level: 1, MinTXID: 12, MaxTXID: 13}, 3, 'd', []uint32{2})
	// The file of transaction 11 reveals nothing.
	client.open = func(k view.Key, _ int64) error {
		if k == (view.Key{Level: 1, MinTXID: 11, MaxTXID: 11}) {
			client.open = nil
			return ltxio.ErrCorrupt
		}
		return nil
	}
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	cur := db.Current.Load()
	for pgno, fill := range []byte{'a', 'd', 'c'} {
		page, err := db.pages.Page(t.Context(), cur, uint32(pgno+1))
		if err != nil || !bytes.Equal(page, fakePage(uint32(pgno+1), fill)) {
			t.Errorf("page %d as of %s, epoch %d (before: %d): %.40q, %v", pgno+1, cur.TXID, cur.Epoch, before.Epoch, page, err)
		}
	}
}

// TestFollow_DamagedDelaysNoNews damages the only file that could confirm that
// the replica still has the known transactions. Nothing speaks against it, so
// the follower continues.
func TestFollow_DamagedDelaysNoNews(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 20)
	p.Compact(1, 1, 10)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	old := db.Current.Load()
	p.Compact(1, 11, 20)
	p.DeleteLevelBelow(0, 21)
	count(p)
	client.open = func(k view.Key, _ int64) error {
		if k == (view.Key{Level: 1, MinTXID: 11, MaxTXID: 20}) {
			return ltxio.ErrCorrupt
		}
		return nil
	}
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	cur := db.Current.Load()
	if cur.TXID != 21 || cur.Epoch != old.Epoch {
		t.Errorf("a poll leads to %s, epoch %d", cur.TXID, cur.Epoch)
	}
	wantPages(t, p, db, cur, 1, 2, 3)
}

// TestPoll_SeesOtherFileThatIsNoNews ends a new history at the same transaction
// as the old one. The file of level 0 that a poll lists differs from the file
// from which the newest transaction is known. A poll by name does not see that
// file. Until a listing shows it, reads give pages of the old history or fail.
func TestPoll_SeesOtherFileThatIsNoNews(t *testing.T) {
	for _, byName := range []bool{false, true} {
		t.Run(fmt.Sprintf("by name=%v", byName), func(t *testing.T) {
			client := newHookClient()
			p := counterPrimary(t, client, 20)
			p.Compact(1, 1, 10)
			p.Compact(1, 11, 20)
			db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
			if !byName {
				db.store.AvoidNames("the test lists")
			}
			old := db.Current.Load()
			if old.Last.Level != 1 {
				t.Fatalf("transaction 20 is known by %s", old.Last)
			}
			lists := client.lists.Load()
			if err := db.poller.poll(false); err != nil {
				t.Fatal(err)
			}
			if n := client.lists.Load() - lists; n != 0 {
				t.Errorf("a poll without news lists all levels %d times", n)
			}
			q := forkOf(t, 10, 10)
			become(t, client, q, 1, 0, 0)
			for n := 1; ; n++ {
				if err := db.poller.poll(false); err != nil {
					t.Fatal(err)
				}
				if db.Current.Load() != old {
					break
				}
				if !byName || n == fullPollEvery {
					t.Fatalf("%d polls do not notice the other history", n)
				}
			}
			cur := db.Current.Load()
			if cur.Epoch == old.Epoch {
				t.Error("the other history has the same epoch")
			}
			wantPages(t, q, db, cur, 1, 2, 3)
			wantOwn(t, p, db, old, 1, 2, 3)
		})
	}
}

// TestPoll_Overtaken has a refresh begin another epoch while a poll reads a
// file with new transactions. The file belongs to the old epoch, so the poll
// drops it and follows the new epoch. The poll does not fail.
func TestPoll_Overtaken(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 20)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	old := db.Current.Load()
	news := count(p)
	client.fetch = func(k view.Key, _ int64) {
		if k != (view.Key{Level: 0, MinTXID: news, MaxTXID: news}) {
			return
		}
		client.fetch = nil
		// No file that ends at a known transaction remains.
		p.Compact(2, 1, count(p))
		p.DeleteLevelBelow(0, p.TXID()+1)
		if err := db.refresh(t.Context()).err(); err != nil {
			t.Error(err)
		}
		if cur := db.Current.Load(); cur.Epoch == old.Epoch {
			t.Errorf("the refresh leads to %s in the same epoch", cur.TXID)
		}
	}
	if err := db.poller.poll(false); err != nil {
		t.Errorf("poll: %v", err)
	}
	if client.fetch != nil {
		t.Fatal("the poll reads no news")
	}
	cur := db.Current.Load()
	if cur.TXID != p.TXID() || cur.Epoch != old.Epoch+1 {
		t.Errorf("the poll leads to %s, epoch %d", cur.TXID, cur.Epoch)
	}
	wantPages(t, p, db, cur, 1, 2, 3)
}
