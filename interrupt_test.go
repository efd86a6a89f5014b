package litestream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/memory"
)

// interruptible is a connection over storage that can hang, under a simulated
// clock.
type interruptible struct {
	*Conn
	store *decorate.Fault
	after time.Duration // from the call to the interrupt
	calls atomic.Int64  // looks whether there was one
}

// inHungBubble opens a database of four pages.
func inHungBubble(t *testing.T, opts Options, do func(t *testing.T, c *interruptible)) {
	t.Helper()
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		opts.Logger = slog.New(slog.DiscardHandler)
		opts.CacheSize = -1
		vfs := NewVFS(store, &opts)
		c, err := vfs.OpenConn("app.db", nil, OpenMode{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		do(t, &interruptible{Conn: c, store: store, after: 500 * time.Millisecond})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// hung makes a call while storage hangs, and checks that it ends at the interrupt.
func (c *interruptible) hung(t *testing.T, op string, call func() error) {
	t.Helper()
	c.calls.Store(0)
	start := time.Now()
	c.SetInterrupted(func() bool { c.calls.Add(1); return time.Since(start) >= c.after })
	defer c.store.Add(decorate.Rule{Hang: true})()
	err := call()
	took := time.Since(start)
	if !errors.Is(err, ErrInterrupted) || CodeOf(err) != CodeInterrupt {
		t.Errorf("%s: %v, code %d", op, err, CodeOf(err))
	}
	if took < c.after || took > c.after+interruptEvery {
		t.Errorf("%s ended after %s", op, took)
	}
	calls := c.calls.Load()
	time.Sleep(10 * interruptEvery)
	if c.calls.Load() != calls {
		t.Errorf("%s: looks for an interrupt after its end", op)
	}
	c.SetInterrupted(nil)
}

// TestInterrupt interrupts every call that waits for storage, and uses the
// connection afterwards.
func TestInterrupt(t *testing.T) {
	read := func(c *interruptible) error {
		p := make([]byte, 512)
		_, err := c.ReadAt(p, 2*512)
		if err == nil && p[100] != 1 {
			err = errors.New("wrong content")
		}
		return err
	}
	set := func(c *interruptible, name, value string) error { _, err := c.Pragma(name, &value); return err }

	t.Run("read", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: -1}, func(t *testing.T, c *interruptible) {
			if err := c.BeginRead(); err != nil {
				t.Fatal(err)
			}
			defer c.EndRead()
			c.hung(t, "read", func() error { return read(c) })
			if err := read(c); err != nil {
				t.Errorf("read afterwards: %v", err)
			}
		})
	})
	t.Run("wake-up", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: 2 * time.Second}, func(t *testing.T, c *interruptible) {
			time.Sleep(time.Hour)
			c.hung(t, "begin", c.BeginRead)
			if err := c.BeginRead(); err != nil {
				t.Fatal(err)
			}
			if err := read(c); err != nil {
				t.Errorf("read afterwards: %v", err)
			}
			c.EndRead()
		})
	})
	t.Run("pragma", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: -1}, func(t *testing.T, c *interruptible) {
			c.hung(t, "litestream_time", func() error { return set(c, "litestream_time", "1 hour ago") })
			c.hung(t, "litestream_history", func() error { _, err := c.Pragma("litestream_history", nil); return err })
			if err := set(c, "litestream_txid", "0000000000000001"); err != nil {
				t.Errorf("travel afterwards: %v", err)
			}
		})
	})
	t.Run("changes", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: -1}, func(t *testing.T, c *interruptible) {
			first := "0000000000000001"
			c.hung(t, "litestream_changes", func() error { _, err := c.Changes(nil, &first, nil); return err })
			goOn := c.store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Hang: true})
			for range 2 {
				rows, err := c.Changes(nil, &first, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.hung(t, "the next row", func() error { _, err := rows.Next(); return err })
				start := time.Now()
				if rows.Close(); time.Since(start) > 0 {
					t.Errorf("Close waits for storage, %s", time.Since(start))
				}
			}
			rows, err := c.Changes(nil, &first, nil)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := rows.Next(); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > DefaultReadTimeout+time.Second {
				t.Errorf("without an interrupt: %v after %s", err, time.Since(start))
			}
			rows.Close()
			goOn()
			if rows, err = c.Changes(nil, &first, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := rows.Next(); !errors.Is(err, ErrCorrupt) { // the pages are no tables
				t.Errorf("afterwards: %v", err)
			}
			rows.Close()
		})
	})
	t.Run("sync", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: -1, WriteEnabled: true, WriteSyncInterval: time.Hour}, func(t *testing.T, c *interruptible) {
			commitOne(t, c.Conn)
			if err := c.EndWrite(); err != nil {
				t.Fatal(err)
			}
			c.EndRead()
			c.hung(t, "litestream_sync", func() error { _, err := c.Pragma("litestream_sync", nil); return err })
			c.hung(t, "litestream_write_enabled", func() error { return set(c, "litestream_write_enabled", "0") })
			time.Sleep(time.Hour)
			if _, err := c.Pragma("litestream_sync", nil); err != nil {
				t.Errorf("sync afterwards: %v", err)
			}
		})
	})
	t.Run("sync on commit", func(t *testing.T) {
		inHungBubble(t, Options{PollInterval: -1, WriteEnabled: true, WriteSyncInterval: time.Hour, SyncOnCommit: true}, func(t *testing.T, c *interruptible) {
			goOn := c.store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Hang: true})
			commitOne(t, c.Conn) // starts the sync that EndWrite waits for
			c.hung(t, "commit", c.EndWrite)
			goOn()
			c.EndRead()
			time.Sleep(time.Hour)
			if txid, err := c.Pragma("litestream_sync", nil); err != nil || *txid != "0000000000000002" {
				t.Errorf("sync afterwards: %v", err) // the commit is not lost
			}
		})
	})
}

// TestInterrupt_FastPath reads a cached page, which neither asks for an interrupt nor allocates.
func TestInterrupt_FastPath(t *testing.T) {
	client := fourPages(t)
	c := openFile(t, newTestVFS(t, client), "app.db")
	c.SetInterrupted(func() bool { t.Error("asked for an interrupt"); return false })
	p := make([]byte, 512)
	if _, err := c.ReadAt(p, 512); err != nil {
		t.Fatal(err)
	}
	with := testing.AllocsPerRun(100, func() { _, _ = c.ReadAt(p, 512) })
	if with != 0 {
		t.Errorf("%v allocations for the read of a cached page", with)
	}
}

// fourPages returns a replica of a database of four pages.
func fourPages(t *testing.T) *memory.ReplicaClient {
	t.Helper()
	image := append(header(1, 4), bytes.Repeat([]byte{1}, 4*512-dbheader.Size)...)
	return storeImage(t, image, 512)
}

// commitOne commits a change of page 3, and keeps the writer slot.
func commitOne(t *testing.T, c *Conn) {
	t.Helper()
	begin(t, c)
	countUp(t, c, 4)
	writePage(t, c, 3, 7)
	if err := c.Commit(true); err != nil {
		t.Fatal(err)
	}
}
