//go:build cgo

package litestream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
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
