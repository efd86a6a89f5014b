package litestream

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
)

// shutdown is the end of a program that has commits which are not on the replica,
// while storage is down.
type shutdown struct {
	rule  decorate.Rule
	down  time.Duration // how long storage has been down
	temp  bool          // there is no WriteBufferPath
	order string
	limit time.Duration // of VFS.Close
	want  time.Duration // for all of it
}

const (
	vfsFirst        = "vfs first"
	connectionFirst = "connection first"
	bothAtOnce      = "both at once"
	onlyConnection  = "only the connection"
)

// TestShutdown ends programs while storage is down, with commits that are not on the
// replica. VFS.Close keeps to the limit of its context. The close of the last
// connection gives up after 5s without an upload, and VFS.Close has the error of that
// close. The error says where the commits are kept, and the next process syncs them
// from there.
func TestShutdown(t *testing.T) {
	for name, rule := range map[string]decorate.Rule{"fails": {Err: errors.New("storage is down")}, "hangs": {Hang: true}, "hangs on": {}} {
		for _, down := range []time.Duration{0, time.Minute} {
			for _, temp := range []bool{false, true} {
				buffer := "buffer"
				if temp {
					buffer = "temporary buffer"
				}
				for _, s := range []shutdown{
					{order: vfsFirst, limit: 10 * time.Second, want: 10 * time.Second},
					{order: vfsFirst, limit: 3 * time.Second, want: 3 * time.Second},
					{order: connectionFirst, limit: 10 * time.Second, want: 5 * time.Second},
					{order: bothAtOnce, limit: 10 * time.Second, want: 5 * time.Second},
					{order: bothAtOnce, limit: 3 * time.Second, want: 3 * time.Second},
					{order: onlyConnection, want: 5 * time.Second},
				} {
					s.rule, s.down, s.temp = rule, down, temp
					if s.want == 5*time.Second && name == "hangs on" {
						s.want += hurryTime
					}
					t.Run(strings.Join([]string{name, down.String(), buffer, s.order, s.limit.String()}, "/"), func(t *testing.T) {
						state := t.TempDir()
						t.Setenv("XDG_STATE_HOME", state)
						client := fourPages(t)
						synctest.Test(t, func(t *testing.T) { s.run(t, client, state) })
					})
				}
			}
		}
	}
}

var keptPattern = regexp.MustCompile(`kept in (\S+), which`)

func (s shutdown) run(t *testing.T, client *memory.ReplicaClient, state string) {
	var log testlog.Buffer
	fault := decorate.NewFault(client)
	opts := &Options{WriteEnabled: true, Logger: testlog.New(t, &log)}
	if !s.temp {
		opts.WriteBufferPath = filepath.Join(state, "buffer")
	}
	vfs := NewVFS(fault, opts)
	c, err := vfs.OpenConn("app.db", nil, OpenMode{})
	if err != nil {
		t.Fatal(err)
	}
	commitOne(t, c)
	end(t, c)
	time.Sleep(3 * time.Second)
	if s.rule.Err == nil && !s.rule.Hang { // it does not know contexts
		up := make(chan struct{})
		s.rule.Before = func(decorate.Call) { <-up }
		defer close(up)
	}
	fault.Add(s.rule)
	commitOne(t, c)
	end(t, c)
	time.Sleep(s.down)

	start := time.Now()
	err = s.close(t, vfs, c)
	if took := time.Since(start); took != s.want {
		t.Errorf("it took %v, want %v", took, s.want)
	}
	text := log.String()
	if s.order != onlyConnection {
		if !errors.Is(err, context.DeadlineExceeded) || s.rule.Err != nil && !errors.Is(err, s.rule.Err) || strings.Count(err.Error(), "close app.db: ") != 1 {
			t.Errorf("the error is %v", err)
		}
		text = err.Error()
	}
	if strings.Contains(log.String(), "works again") {
		t.Errorf("nothing has worked: %s", log.String())
	}
	path := keptPattern.FindStringSubmatch(text)
	if path == nil || !strings.HasPrefix(path[1], state) {
		t.Fatalf("it does not say where the commits are kept: %s", text)
	}

	again := NewVFS(client, &Options{WriteEnabled: true, WriteBufferPath: path[1], Logger: slog.New(slog.DiscardHandler)})
	if c, err = again.OpenConn("app.db", nil, OpenMode{}); err != nil {
		t.Fatal(err)
	}
	if err := again.Sync(t.Context(), "app.db"); err != nil {
		t.Error(err)
	}
	if w := c.db.stats(); w.Write.Recovered != 1 || w.TXID != 3 {
		t.Errorf("the next process has found %d commits, and the replica is at %s", w.Write.Recovered, w.TXID)
	}
	if err := errors.Join(c.Close(), again.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if err := vfs.Close(t.Context()); (err != nil) != (s.order == onlyConnection) {
		t.Errorf("the error of the second close is %v", err)
	}
}

// close closes the VFS and its connection, and returns the error of the VFS.
func (s shutdown) close(t *testing.T, vfs *VFS, c *Conn) error {
	ctx, cancel := context.WithTimeout(t.Context(), s.limit)
	defer cancel()
	switch s.order {
	case vfsFirst:
		err := vfs.Close(ctx)
		_ = c.Close()
		return err
	case connectionFirst:
		_ = c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), s.limit)
		defer cancel()
		return vfs.Close(ctx)
	case bothAtOnce:
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = c.Close()
		}()
		synctest.Wait()
		err := vfs.Close(ctx)
		<-closed
		return err
	default:
		_ = c.Close()
		return nil
	}
}

// TestShutdown_Large closes the last connection while a large upload is slow. It has
// more time than a small one.
func TestShutdown_Large(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		fault := decorate.NewFault(client)
		vfs := NewVFS(fault, &Options{WriteEnabled: true, Logger: slog.New(slog.DiscardHandler)})
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		const size, took = 3<<20 + 1<<19, 7500 * time.Millisecond // the limit is 8s
		fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Before: func(decorate.Call) { time.Sleep(took) }})
		begin(t, c)
		countUp(t, c, size/512)
		for pgno := 2; pgno <= size/512; pgno++ {
			writePage(t, c, pgno, 1)
		}
		if err := c.Commit(true); err != nil {
			t.Fatal(err)
		}
		end(t, c)
		start := time.Now()
		if err := errors.Join(c.Close(), vfs.Close(t.Context())); err != nil || time.Since(start) != took {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestShutdown_Slow closes the last connection while uploads are slow, but succeed.
// The close waits for all of them, as long as CloseTimeout allows.
func TestShutdown_Slow(t *testing.T) {
	client := fourPages(t)
	synctest.Test(t, func(t *testing.T) {
		fault := decorate.NewFault(client)
		vfs := NewVFS(fault, &Options{WriteEnabled: true, Logger: slog.New(slog.DiscardHandler)})
		c, err := vfs.OpenConn("app.db", nil, OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Before: func(decorate.Call) { time.Sleep(4500 * time.Millisecond) }})
		for range 3 { // a segment each
			commitOne(t, c)
			end(t, c)
			time.Sleep(1100 * time.Millisecond)
		}
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 5*time.Second {
			t.Errorf("the close took %v", took)
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
