package litestream

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// TestOffline_Empty opens a replica that was emptied, and that waits for its first
// files. Storage has answered, so the copy is never shown.
func TestOffline_Empty(t *testing.T) {
	for name, comes := range map[string]bool{"nothing comes": false, "another database comes": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newDownClient()
				first := view.Key{MinTXID: 1, MaxTXID: 1}
				putFile(t, client, first, 3, 'a', pgnoRange(1, 3))
				path := filepath.Join(t.TempDir(), "local.db")
				keepCopy(t, client, path)
				client.empty(t)
				opts := Options{
					HydrationEnabled: true, HydrationPath: path, PollInterval: -1, OfflineAfter: offlineSoon,
					Logger: slog.New(slog.DiscardHandler),
				}
				var db *database
				opened := make(chan error, 1)
				go func() {
					var err error
					db, err = openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
					opened <- err
				}()
				time.Sleep(10 * offlineSoon)
				if comes {
					putFile(t, client, first, 5, 'b', pgnoRange(1, 5))
				}
				err := <-opened
				if err == nil {
					defer closeDB(t, db)
				}
				switch {
				case !comes:
					if !errors.Is(err, ErrNoDatabase) {
						t.Errorf("got %v, want ErrNoDatabase", err)
					}
				case err != nil:
					t.Error(err)
				default:
					if v := db.Current.Load(); db.stats().Offline || v.Commit != 5 {
						t.Errorf("it has %d pages, offline %v", v.Commit, db.stats().Offline)
					}
					awaitHydrated(t, db)
				}
			})
		})
	}
}

// TestOffline_Slow opens with storage that takes longer than OfflineAfter for the whole
// open, and not for any answer: the open goes on with it. Storage that falls silent
// after it has answered does not answer.
func TestOffline_Slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newDownClient()
		key := func(txid ltx.TXID) view.Key { return view.Key{MinTXID: txid, MaxTXID: txid} }
		putFile(t, client, key(1), 3, 'a', pgnoRange(1, 3))
		path := filepath.Join(t.TempDir(), "local.db")
		keepCopy(t, client, path)
		putFile(t, client, key(2), 3, 'b', []uint32{2})
		client.set(func(context.Context) error {
			time.Sleep(offlineSoon * 2 / 5)
			return nil
		})
		start := time.Now()
		db, log := openKeptDB(t, client, path, Options{OfflineAfter: offlineSoon})
		if d := time.Since(start); d <= offlineSoon {
			t.Errorf("the open took %s: storage was not slow", d)
		}
		if v := db.Current.Load(); db.stats().Offline || v.TXID != 2 {
			t.Errorf("it is at transaction %s, offline %v\n%s", v.TXID, db.stats().Offline, log)
		}
		client.set(nil)
		awaitHydrated(t, db)
		closeDB(t, db)

		var asked atomic.Int64
		client.set(func(ctx context.Context) error {
			if asked.Add(1) <= 2 { // Init and the listing
				return nil
			}
			return hangs(ctx)
		})
		start = time.Now()
		db, log = openKeptDB(t, client, path, Options{OfflineAfter: offlineSoon})
		defer closeDB(t, db)
		if d := time.Since(start); !db.stats().Offline || d > 2*offlineSoon {
			t.Errorf("storage that falls silent: offline %v after %s\n%s", db.stats().Offline, d, log)
		}
	})
}
