//go:build cgo

package litestream

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// TestWait waits for transactions of a primary, with and without polling.
func TestWait(t *testing.T) {
	for name, opts := range map[string]Options{
		"polling":    {PollInterval: time.Second},
		"no polling": {PollInterval: -1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, opts, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
				start := time.Now()
				wait := func(txid ltx.TXID, limit time.Duration) error {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					return db.awaitTXID(ctx, txid)
				}
				last := p.TXID()
				if err := wait(last, time.Nanosecond); err != nil || client.lists.Load() > 0 && time.Since(start) > 0 {
					t.Errorf("wait for what is there: %v after %s", err, time.Since(start))
				}
				err := wait(last+1, 2500*time.Millisecond)
				if !errors.Is(err, ErrTxNotAvailable) || !strings.Contains(err.Error(), "the newest is "+last.String()) {
					t.Errorf("wait for what never comes: %v", err)
				}
				if d := time.Since(start); d != 2500*time.Millisecond {
					t.Errorf("that took %s", d)
				}
				go func() {
					time.Sleep(1500 * time.Millisecond)
					p.Exec("INSERT INTO t VALUES (1)")
				}()
				start = time.Now()
				if err := wait(last+1, time.Minute); err != nil || db.Current.Load().TXID != last+1 {
					t.Errorf("wait for the next transaction: %v", err)
				}
				if d := time.Since(start); d > 1500*time.Millisecond+DefaultPollInterval+100*time.Millisecond {
					t.Errorf("it was seen after %s", d)
				}
				client.down.Store(true)
				if err := wait(last+2, time.Minute); err == nil || !strings.Contains(err.Error(), "storage is down") {
					t.Errorf("wait while storage is down: %v", err)
				}
			})
		})
	}
}

// A transaction whose file was merged and deleted is seen well before the limit,
// although polls read the next file by its name.
func TestWait_Merged(t *testing.T) {
	for _, interval := range []time.Duration{-1, time.Second, time.Hour} {
		for _, limit := range []time.Duration{5 * time.Second, time.Hour} {
			t.Run(fmt.Sprint(interval, " ", limit), func(t *testing.T) {
				inBubble(t, Options{PollInterval: interval}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
					p.Exec("INSERT INTO t VALUES (1)")
					p.Exec("INSERT INTO t VALUES (2)")
					p.Snapshot()
					p.DeleteLevelBelow(0, p.TXID())
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					start, lists := time.Now(), client.lists.Load()
					if err := db.awaitTXID(ctx, p.TXID()); err != nil {
						t.Error(err)
					}
					if d := time.Since(start); d > limit/2+time.Second {
						t.Errorf("it was seen after %s of %s", d, limit)
					}
					if n := client.lists.Load() - lists; n == 0 {
						t.Error("nothing was listed")
					}
				})
			})
		}
	}
}

// A wait for any news, of which nothing is known to exist, polls at every interval
// only, however soon it ends.
func TestWait_ForAnyNews(t *testing.T) {
	inBubble(t, Options{PollInterval: time.Minute}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		last := p.TXID()
		done := make(chan bool)
		go func() {
			ok, _ := db.awaitView(ctx, awaited{wanted: func(v *view.View) bool { return v.TXID > last }})
			done <- ok
		}()
		time.Sleep(time.Second)
		asked := client.requests()
		time.Sleep(58 * time.Second)
		if n := client.requests() - asked; n != 0 {
			t.Errorf("%d requests within an interval", n)
		}
		p.Exec("INSERT INTO t VALUES (1)")
		if !<-done {
			t.Error("the news of an interval are not seen after it")
		}
	})
}

// TestWait_Pragma gives the PRAGMA good and bad values.
func TestWait_Pragma(t *testing.T) {
	c := openFile(t, newTestVFS(t, fourPages(t)), "app.db")
	for value, want := range map[string]string{
		"0000000000000001":         "",
		" 0000000000000001 0 ":     "",
		"0000000000000001 0.5":     "",
		"0000000000000001 100ms":   "",
		"0000000000000002 0":       "wait for transaction 0000000000000002: the newest is 0000000000000001",
		"2":                        "is no transaction id",
		"0000000000000000":         "is no transaction id",
		"0000000000000001 soon":    `limit "soon", want`,
		"0000000000000001 -1":      `limit "-1", want`,
		"":                         "is no transaction id",
		"0000000000000001 1 extra": `limit "1 extra", want`,
	} {
		_, err := c.Pragma("litestream_wait", &value)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || CodeOf(err) != CodeError) {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
	if newest, err := c.Pragma("litestream_wait", nil); err != nil || *newest != "0000000000000001" {
		t.Errorf("newest transaction: %v, %v", newest, err)
	}
	if err := c.BeginRead(); err != nil {
		t.Fatal(err)
	}
	defer c.EndRead()
	value := "0000000000000001"
	if _, err := c.Pragma("litestream_wait", &value); !errors.Is(err, ErrInTransaction) {
		t.Errorf("in a transaction: %v", err)
	}
}

// A borrower that waits for a transaction gets it when the owner knows of it, however
// long its own interval is, and does not believe that the last poll of the owner found
// everything.
func TestShare_Wait(t *testing.T) {
	if pageshare.Supported() != nil {
		t.Skip("files are not shared here")
	}
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	first := openHere(t, client, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: 50 * time.Millisecond})
	awaitHydrated(t, first)
	second := openHere(t, client, Options{HydrationEnabled: true, HydrationPath: path, PollInterval: time.Hour})
	await(t, "the file of the first", func() bool { return borrowed(second) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	// The owner has polled, and does not poll again.
	if err := first.poller.look(false); err != nil {
		t.Fatal(err)
	}
	first.hydrator.Polled(first.Current.Load().TXID, time.Now())
	p.Exec("UPDATE t SET n = n + 1 WHERE id < 20")
	if err := second.awaitTXID(ctx, p.TXID()); err != nil {
		t.Error(err)
	}

	// The owner polls while the borrower waits.
	asked := func() int64 { return second.store.Lists.Load() + second.store.NameReads.Load() }
	before, done := asked(), make(chan error, 1)
	go func() { done <- second.awaitTXID(ctx, p.TXID()+1) }()
	await(t, "the first poll of the wait", func() bool { return asked() > before })
	p.Exec("UPDATE t SET n = n + 1 WHERE id < 20")
	if err := first.poller.use(func(d time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(t.Context(), d)
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
