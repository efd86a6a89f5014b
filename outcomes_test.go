package litestream

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
)

// TestOutcomes breaks reads, polls and uploads of a database in turn. Statistics,
// litestream_status and health say which of them fail, since when, and when they
// last worked.
func TestOutcomes(t *testing.T) {
	client := fourPages(t)
	down := errors.New("storage is down")
	for _, c := range []struct {
		name     string
		ops      []decorate.Op
		text     string // of the error of Health
		opts     Options
		use      func(t *testing.T, c *Conn) error
		pick     func(Stats) Outcome
		inStatus string
	}{
		{
			name: "reads", ops: []decorate.Op{decorate.OpRead}, text: "reads fail since ",
			opts: Options{ReadTimeout: time.Second},
			use: func(t *testing.T, c *Conn) error {
				if err := c.BeginRead(); err != nil {
					return err
				}
				defer c.EndRead()
				_, err := c.ReadAt(make([]byte, 512), 2*512)
				return err
			},
			pick: func(s Stats) Outcome { return s.LastRead }, inStatus: "last_read",
		},
		{
			name: "polls", ops: []decorate.Op{decorate.OpList, decorate.OpListAll, decorate.OpRead}, text: "polls fail since ",
			use: func(t *testing.T, c *Conn) error {
				if err := c.BeginRead(); err != nil {
					return err
				}
				c.EndRead()
				time.Sleep(2500 * time.Millisecond)
				return c.db.poller.look(false)
			},
			pick: func(s Stats) Outcome { return s.LastPoll }, inStatus: "last_poll",
		},
		{
			name: "syncs", ops: []decorate.Op{decorate.OpCreate}, text: "write mode: syncs fail since ",
			opts: Options{WriteEnabled: true, WriteSyncInterval: -1, ReadTimeout: time.Second},
			use: func(t *testing.T, c *Conn) error {
				begin(t, c)
				countUp(t, c, 4)
				if err := c.Commit(true); err != nil {
					return err
				}
				end(t, c)
				ctx, cancel := c.waiting(5 * time.Second)
				defer cancel()
				return c.db.sync(ctx)
			},
			pick: func(s Stats) Outcome { return s.LastSync }, inStatus: "last_sync",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := decorate.NewFault(client)
				c.opts.Logger, c.opts.CacheSize = slog.New(slog.DiscardHandler), -1
				vfs := NewVFS(store, &c.opts)
				conn, err := vfs.OpenConn("app.db", nil, OpenMode{})
				if err != nil {
					t.Fatal(err)
				}
				if o := c.pick(conn.db.stats()); o.Failure != (time.Time{}) || o.Error != "" {
					t.Errorf("at first: %+v", o)
				}
				if err := c.use(t, conn); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				works := c.pick(conn.db.stats())
				if time.Since(works.Success) > 3*time.Second || works.Error != "" {
					t.Errorf("while it works: %+v", works)
				}
				if err := vfs.Health(t.Context(), "app.db"); err != nil {
					t.Errorf("while it works: %v", err)
				}

				time.Sleep(100 * time.Millisecond)
				remove := store.Add(decorate.Rule{Match: decorate.Ops(c.ops...), Err: down})
				if err := c.use(t, conn); !errors.Is(err, down) {
					t.Errorf("error is %v, want %v", err, down)
				}
				synctest.Wait()
				fails := c.pick(conn.db.stats())
				if !fails.Failure.After(fails.Success) || fails.Success.Before(works.Success) || !strings.Contains(fails.Error, down.Error()) {
					t.Errorf("while it fails: %+v, before: %+v", fails, works)
				}
				err = vfs.Health(t.Context(), "app.db")
				if !errors.Is(err, down) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "last worked at "+formatTime(fails.Success)) {
					t.Errorf("health is %v, want %s... and last worked at %s", err, c.text, formatTime(fails.Success))
				}
				text, err := conn.Pragma("litestream_status", nil)
				if err != nil {
					t.Fatal(err)
				}
				var status map[string]json.RawMessage
				var shown Outcome
				if err := errors.Join(json.Unmarshal([]byte(*text), &status), json.Unmarshal(status[c.inStatus], &shown)); err != nil || !shown.Failure.Equal(fails.Failure) || shown.Error != fails.Error {
					t.Errorf("litestream_status has %s, %v", status[c.inStatus], err)
				}

				remove()
				time.Sleep(time.Minute) // polls are made again after 30s at most
				if err := c.use(t, conn); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if again := c.pick(conn.db.stats()); !again.Success.After(again.Failure) || again.Error != fails.Error {
					t.Errorf("after it: %+v", again)
				}
				if err := vfs.Health(t.Context(), "app.db"); err != nil {
					t.Errorf("after it: %v", err)
				}
				if err := errors.Join(conn.Close(), vfs.Close(t.Context())); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOutcomes_Asleep lets a database fall asleep after a read has failed. That is
// no reason to restart the program.
func TestOutcomes_Asleep(t *testing.T) {
	client := fourPages(t)
	for _, interval := range []time.Duration{time.Second, -1} {
		synctest.Test(t, func(t *testing.T) {
			store := decorate.NewFault(client)
			vfs := NewVFS(store, &Options{PollInterval: interval, ReadTimeout: time.Second, CacheSize: -1, Logger: slog.New(slog.DiscardHandler)})
			conn, err := vfs.OpenConn("app.db", nil, OpenMode{})
			if err != nil {
				t.Fatal(err)
			}
			store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: errors.New("storage is down")})
			if err := conn.BeginRead(); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ReadAt(make([]byte, 512), 2*512); err == nil {
				t.Error("the read works")
			}
			conn.EndRead()
			if err := vfs.Health(t.Context(), "app.db"); err == nil {
				t.Error("it is healthy right after the read")
			}
			time.Sleep(DefaultPollIdleAfter + 1500*time.Millisecond)
			if err := vfs.Health(t.Context(), "app.db"); err != nil {
				t.Errorf("asleep: %v", err)
			}
			if err := errors.Join(conn.Close(), vfs.Close(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}
