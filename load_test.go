package litestream

import (
	"io/fs"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/remote"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// TestPromise8_MuchNews finds far more files than may be held at a time, and
// the first takes longest: none can be applied before it.
func TestPromise8_MuchNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files = 10 * remote.LoadConcurrency
		client := newHookClient()
		putFile(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3, 1, pgnoRange(1, 3))
		db := openHere(t, client, Options{})
		for txid := ltx.TXID(2); txid <= files+1; txid++ {
			putFile(t, client, view.Key{Level: 0, MinTXID: txid, MaxTXID: txid}, 3, byte(txid), pgnoRange(2, 3))
		}
		before := client.opens.Load()
		var held atomic.Int64
		client.open = func(k view.Key, _ int64) error {
			if k.MinTXID == 2 {
				time.Sleep(time.Second) // the others get ahead as far as they can
				held.Store(client.opens.Load() - before)
			}
			return nil
		}
		if err := db.refresh(t.Context()).err(); err != nil {
			t.Fatal(err)
		}
		if n := held.Load(); n == 0 || n > remote.LoadConcurrency {
			t.Errorf("%d files are held at a time, want %d at most", n, remote.LoadConcurrency)
		}
		if got := db.Current.Load().TXID; got != files+1 {
			t.Errorf("the view is %s after %d files", got, files)
		}
	})
}

// TestPromise8_ListedSize has a listing say that a file is huge. Nothing is
// allocated for it on that word alone.
func TestPromise8_ListedSize(t *testing.T) {
	client := newHookClient()
	client.open = func(view.Key, int64) error { return fs.ErrPermission }
	s := &remote.Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.LoadFile(t.Context(), &ltx.FileInfo{Level: 0, MinTXID: 1, MaxTXID: 1, Size: 64 << 30})
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("a file that cannot be read is loaded")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*remote.MaxTailRead {
		t.Errorf("%d bytes allocated on the word of a listing", n)
	}
}
