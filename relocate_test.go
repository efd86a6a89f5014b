package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// TestRefresh_RacesPoll has a poll bring a file that is missing from the
// listing of a refresh, because the listing was made earlier.
func TestRefresh_RacesPoll(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 3)
	client.listed = func() {
		client.listed = nil
		count(p)
		if err := db.poller.poll(false); err != nil {
			t.Error(err)
		}
		p.DeleteLevelBelow(0, 4)
	}
	wantPages(t, p, db, v, 3)
	news := db.Current.Load()
	if news.TXID != 4 {
		t.Fatalf("the poll brought %s", news.TXID)
	}
	for _, f := range news.Files() {
		if f.Key() == (view.Key{Level: 0, MinTXID: 4, MaxTXID: 4}) && f.Gone.Load() {
			t.Errorf("%s is taken for gone", f)
		}
	}
	wantPages(t, p, db, v, 1, 2, 3)
	wantPages(t, p, db, news, 1, 2, 3)
}

// partialClient is a hookClient that leaves a file out where it lists all levels, as a
// store does that lists one level after the other while files are merged.
type partialClient struct {
	*hookClient
	hidden view.Key
}

func (c *partialClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.hookClient.AllLTXFiles(ctx, useMetadata)
	if err != nil {
		return nil, err
	}
	files, err := ltx.SliceFileIterator(itr)
	if err != nil {
		return nil, err
	}
	return ltx.NewFileInfoSliceIterator(slices.DeleteFunc(files, func(f *ltx.FileInfo) bool { return view.KeyOf(f) == c.hidden })), nil
}

// TestRefresh_Overtaken has a poll publish a transaction after a refresh has listed
// files that do not tell whether they have the newest one that was known then. The
// refresh lists again, and finds what has come since.
func TestRefresh_Overtaken(t *testing.T) {
	client := &partialClient{hookClient: newHookClient()}
	p := counterPrimary(t, client, 3)
	p.Compact(1, 1, 2)
	p.DeleteLevelBelow(0, 3)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	p.Snapshot() // its time does not tell that it has the same transaction 3
	count(p)
	client.hidden = view.Key{Level: 0, MinTXID: 3, MaxTXID: 3}
	client.listed = func() {
		client.listed = nil
		if err := db.poller.poll(false); err != nil || db.Current.Load().TXID != 4 {
			t.Errorf("the poll brings %s: %v", db.Current.Load().TXID, err)
		}
		count(p)
	}
	if err := db.refresh(t.Context()).err(); err != nil {
		t.Error(err)
	}
	cur := db.Current.Load()
	if cur.TXID != 5 || cur.Epoch != 0 {
		t.Errorf("the refresh brings %s of history %d, want 5 of the same", cur.TXID, cur.Epoch)
	}
	wantPages(t, p, db, cur, 1, 2, 3)
}

// TestFind_NoFileCanBeRead has every attempt to read the only file that still gives a
// state fail. The error of the read has the reason of each attempt.
func TestFind_NoFileCanBeRead(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	v := db.Current.Load()
	count(p)
	mustRefresh(t, db)
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 4)
	attempts := 0
	client.open = func(k view.Key, _ int64) error {
		if k.Level != 1 {
			return nil
		}
		attempts++
		return fmt.Errorf("attempt %d: %w", attempts, ErrCorrupt)
	}
	_, err := db.pages.Page(t.Context(), v, 2)
	if !errors.Is(err, errs.ErrStateGone) || attempts < 2 {
		t.Fatalf("after %d attempts: %v", attempts, err)
	}
	for n := 1; n <= attempts; n++ {
		if want := fmt.Sprintf("attempt %d:", n); !strings.Contains(err.Error(), want) {
			t.Errorf("of %d attempts, the error lacks %q: %v", attempts, want, err)
		}
	}
}

// TestFind_DespiteGap removes transactions that follow a state. The state
// itself is unaffected, because its files were compacted.
func TestFind_DespiteGap(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 5)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	lost := count(p)
	count(p)
	p.Delete(0, lost, lost)
	p.Compact(1, 1, 5)
	p.DeleteLevelBelow(0, 6)
	wantPages(t, p, db, v, 1, 2, 3)
	var missing *MissingError
	if err := db.refresh(t.Context()).err(); !errors.As(err, &missing) {
		t.Errorf("the gap is not reported: %v", err)
	}
}

// TestFind_DespiteCorruptNews damages the file that follows a state.
func TestFind_DespiteCorruptNews(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 5)
	db := openHere(t, client, Options{CacheSize: -1})
	v := db.Current.Load()
	news := count(p)
	client.open = func(k view.Key, _ int64) error {
		if k == (view.Key{Level: 0, MinTXID: news, MaxTXID: news}) {
			return fmt.Errorf("bit rot: %w", ErrCorrupt)
		}
		return nil
	}
	p.Compact(1, 1, 5)
	p.DeleteLevelBelow(0, news)
	wantPages(t, p, db, v, 1, 2, 3)
	if err := db.refresh(t.Context()).err(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the broken file is not reported: %v", err)
	}
}

// TestFind_SharesFailedRefresh has a read share a refresh that began while files
// were deleted, and that fails after they have come to rest.
func TestFind_SharesFailedRefresh(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	synctest.Test(t, func(t *testing.T) {
		db := openHere(t, client, Options{CacheSize: -1})
		v := db.Current.Load()
		count(p)
		misses, goOn := 0, make(chan struct{})
		client.open = func(view.Key, int64) error {
			if misses++; misses > planAttempts {
				return nil
			}
			if misses == planAttempts {
				<-goOn
			}
			return fs.ErrNotExist
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := db.refresh(t.Context()).err(); !errs.IsMissing(err) {
				t.Errorf("the refresh whose files are deleted ends with %v", err)
			}
		})
		synctest.Wait() // it is in its last attempt
		wg.Go(func() {
			if seen := db.refresh(t.Context()); seen.err() != nil || seen.files == nil {
				t.Errorf("a refresh that joined it ends with %v", seen.err())
			}
			wantPages(t, p, db, v, 1, 2, 3)
		})
		synctest.Wait()
		close(goOn)
		wg.Wait()
	})
}

// TestFind_EncodedAgain replaces a file by the same transactions in another
// encoding, so that frames lie at other offsets.
func TestFind_EncodedAgain(t *testing.T) {
	for _, polled := range []bool{false, true} {
		client := newHookClient()
		p := counterPrimary(t, client, 3)
		p.Compact(1, 1, 3)
		p.DeleteLevelBelow(0, 4)
		db := openHere(t, client, Options{CacheSize: -1})
		encodeAgain(t, client)
		if polled {
			if err := db.poller.poll(true); err != nil {
				t.Error(err)
			}
		}
		wantPages(t, p, db, db.Current.Load(), 1, 2, 3)
	}
}

// TestFind_ListedButMissing has a store that lists a file without having it.
// Reads report this soon and after a bounded number of requests.
func TestFind_ListedButMissing(t *testing.T) {
	client := newHookClient()
	counterPrimary(t, client, 3)
	synctest.Test(t, func(t *testing.T) {
		const readers, rounds = 16, 10
		db := openHere(t, client, Options{CacheSize: -1, ReadTimeout: -1})
		v := db.Current.Load()
		client.open = func(view.Key, int64) error { return fs.ErrNotExist }
		before := client.opens.Load()
		start := time.Now()
		var wg sync.WaitGroup
		for i := range uint32(readers) {
			wg.Go(func() {
				for range rounds {
					if _, err := db.pages.Page(t.Context(), v, i%3+1); !errs.IsMissing(err) && !errors.Is(err, errs.ErrStateGone) {
						t.Errorf("page %d: %v", i%3+1, err)
					}
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d > 0 {
			t.Errorf("reads waited for %v", d)
		}
		if n, most := client.opens.Load()-before, int64(readers*rounds*(planAttempts+1)); n > most {
			t.Errorf("%d requests for %d reads, want %d at most", n, readers*rounds, most)
		}
	})
}

// TestFind_LoadsOnce has many readers of an old state look for pages of a
// deleted file. All of these pages lie in one other file.
func TestFind_LoadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const commit, readers = 200, 64
		client := newHookClient()
		putFile(t, client, view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 2}, commit, 2, pgnoRange(1, commit))
		putFile(t, client, view.Key{Level: 0, MinTXID: 3, MaxTXID: 3}, commit, 3, pgnoRange(2, commit))
		putFile(t, client, view.Key{Level: 0, MinTXID: 4, MaxTXID: 4}, commit, 3, pgnoRange(1, 1))
		db := openHere(t, client, Options{CacheSize: -1})
		v := db.Current.Load()
		putFile(t, client, view.Key{Level: 1, MinTXID: 3, MaxTXID: 4}, commit, 3, pgnoRange(1, commit))
		putFile(t, client, view.Key{Level: 0, MinTXID: 5, MaxTXID: 5}, commit, 5, pgnoRange(1, commit))
		client.remove(t, view.Key{Level: 0, MinTXID: 3, MaxTXID: 3}, view.Key{Level: 0, MinTXID: 4, MaxTXID: 4})
		if err := db.refresh(t.Context()).err(); err != nil {
			t.Fatal(err)
		}

		var loads atomic.Int64
		client.open = func(k view.Key, offset int64) error {
			if k.Level == 1 && offset == 0 {
				loads.Add(1)
				time.Sleep(time.Second) // until all the others wait for it
			}
			return nil
		}
		var wg sync.WaitGroup
		for i := range uint32(readers) {
			wg.Go(func() {
				if page, err := db.pages.Page(t.Context(), v, i+2); err != nil || !bytes.Equal(page, fakePage(i+2, 3)) {
					t.Errorf("page %d: %v", i+2, err)
				}
			})
		}
		wg.Wait()
		if n := loads.Load(); n != 1 {
			t.Errorf("the file was loaded %d times", n)
		}
	})
}
