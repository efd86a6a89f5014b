package litestream

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
)

// slowOnce opens a database of a hundred pages, none of which is cached. After
// slow is called, the next request of its client takes a minute, even if its
// context ends.
func slowOnce(t *testing.T, opts Options) (db *database, client *hookClient, slow func()) {
	client = newHookClient()
	putFile(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 100, 7, pgnoRange(1, 100))
	opts.PollInterval = -1
	db = openHere(t, client, opts)
	db.pages.Reset(fakePageSize)
	return db, client, func() {
		var once sync.Once
		client.open = func(view.Key, int64) error {
			sleep := time.Millisecond
			once.Do(func() { sleep = time.Minute })
			time.Sleep(sleep)
			return nil
		}
	}
}

// TestHedge_CloseWaits closes a database while the slower of two requests has
// not yet noticed that it is cancelled.
func TestHedge_CloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, client, slow := slowOnce(t, Options{HedgeRequests: true})
		v := db.Current.Load()
		// The loop makes enough requests for hedging to begin. The slowest of
		// them take 10 ms.
		reads := 0
		client.open = func(view.Key, int64) error {
			if reads++; reads <= 2 {
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		}
		for pgno := range uint32(40) {
			if _, err := db.pages.Page(t.Context(), v, 2+pgno); err != nil {
				t.Fatal(err)
			}
		}
		slow()
		opens, start := client.opens.Load(), time.Now()
		page, err := db.pages.Page(t.Context(), v, 99)
		if err != nil || len(page) == 0 || page[0] != 7 {
			t.Errorf("page 99: %v", err)
		}
		if d := time.Since(start); d != 11*time.Millisecond || client.opens.Load() != opens+2 || db.stats().Hedges != 1 {
			t.Errorf("%d requests took %v", client.opens.Load()-opens, d)
		}
		if err := db.close(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("closed after %v", d)
		}
		if _, err := db.pages.Page(t.Context(), v, 98); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestHedge_OffByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, client, slow := slowOnce(t, Options{})
		v := db.Current.Load()
		for pgno := range uint32(40) {
			if _, err := db.pages.Page(t.Context(), v, 2+pgno); err != nil {
				t.Fatal(err)
			}
		}
		slow()
		opens, start := client.opens.Load(), time.Now()
		if _, err := db.pages.Page(t.Context(), v, 99); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != time.Minute || client.opens.Load() != opens+1 || db.store.Hedge != nil {
			t.Errorf("%d requests took %v", client.opens.Load()-opens, d)
		}
	})
}
