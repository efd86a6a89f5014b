package litestream_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// Write mode is turned off and on while the end of a sync still waits for
// hydration. The next commits are in another buffer, and are synced from there.
func TestPromise4_SwitchWhileSyncEnds(t *testing.T) {
	t.Parallel()
	client := faulty()
	var stuck atomic.Bool
	disk := make(chan struct{})
	opts := writing(func(o *litestream.Options) {
		o.HydrationEnabled, o.PollInterval = true, -1
		o.CompactionLevels = []time.Duration{time.Millisecond} // compaction must not wait for anything
	})
	litestream.OnDisk(opts, func(op string) error {
		if op == "before: write pages" && stuck.Load() {
			<-disk
		}
		return nil
	})
	entered, release := client.hold(3)
	vfsName, vfs := newVFS(t, client, opts)
	defer close(disk)
	c := openConn(t, vfsName, "app.db")
	mustExec(t, c, "PRAGMA page_size=512; CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	mustExec(t, c, "PRAGMA litestream_sync")
	waitFor(t, "hydration", func() bool { return mustQuery(t, c, "PRAGMA litestream_hydration_status") == "complete" })
	stuck.Store(true)
	mustExec(t, c, "INSERT INTO t SELECT randomblob(4000000)") // more pages than can be on offer
	mustExec(t, c, "PRAGMA litestream_sync")

	mustExec(t, c, "PRAGMA litestream_write_enabled=0")
	mustExec(t, c, "PRAGMA litestream_write_enabled=1")
	mustExec(t, c, "INSERT INTO t VALUES ('first')")
	go func() { _ = vfs.Sync(context.Background(), "app.db") }()
	<-entered
	mustExec(t, c, "INSERT INTO t VALUES ('second')")
	release()
	waitFor(t, "the upload", func() bool { return vfs.Stats()[0].Write.Syncs >= 3 })
	mustExec(t, c, "INSERT INTO t VALUES ('third')")
	mustExec(t, c, "PRAGMA litestream_sync")
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT group_concat(v) FROM t WHERE length(v) < 10", "1,first,second,third")
}

// An upload ends just after the close has stopped waiting for it.
func TestWrite_UploadEndsWhileClosing(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that is kept goes there
	client := faulty()
	entered, release := client.hold(1)
	var log testlog.Buffer
	keeping, kept := make(chan struct{}), make(chan struct{})
	opts := writing(func(o *litestream.Options) {
		o.Logger, o.CloseTimeout = testlog.New(t, &log), 100*time.Millisecond
	})
	litestream.OnDisk(opts, func(op string) error {
		if op == "before: sync folder" {
			close(keeping)
			<-kept
		}
		return nil
	})
	slot, vfs := newVFSOnly(t, client, opts)
	c := openConn(t, slot, "app.db")
	mustExec(t, c, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	done := make(chan error)
	go func() { done <- vfs.Close(context.Background()) }()
	<-entered
	<-keeping
	release()
	waitFor(t, "the end of the upload", func() bool {
		return strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "msg=synced")
	})
	close(kept)
	t.Log(<-done)
	if strings.Contains(log.String(), "panic") {
		t.Error("a panic")
	}
}

// The disk has no room for the hydration file. No commit waits for that.
func TestWrite_HydrationDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		opts := writing(func(o *litestream.Options) { o.HydrationEnabled, o.SyncOnCommit, o.PollInterval = true, true, -1 })
		litestream.OnDisk(opts, func(op string) error {
			if full.Load() && op == "before: write pages" {
				return fmt.Errorf("write: %w", syscall.ENOSPC)
			}
			return nil
		})
		vfsName, _ := newVFS(t, memoryClient(), opts)
		c := openConn(t, vfsName, "app.db")
		mustExec(t, c, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
		waitFor(t, "hydration", func() bool { return mustQuery(t, c, "PRAGMA litestream_hydration_status") == "complete" })
		full.Store(true)
		for range 3 {
			mustExec(t, c, "INSERT INTO t VALUES (randomblob(5000000))") // more bytes than can be on offer
		}
		start := time.Now()
		for range 5 {
			mustExec(t, c, "INSERT INTO t VALUES (2)")
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("5 small commits take %v", took)
		}
		full.Store(false)
		time.Sleep(time.Minute)
		wantSQL(t, c, "PRAGMA litestream_hydration_status", "complete")
	})
}

// TestPromise5_CloseWhileTurnedOff closes a database while a connection waits
// for write mode to be turned off. Committed rows are uploaded or kept.
func TestPromise5_CloseWhileTurnedOff(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that is kept goes there
	client := memoryClient()
	slot, vfs := newVFSOnly(t, client, writing())
	writer, switcher := openConn(t, slot, "app.db"), openConn(t, slot, "app.db")
	mustExec(t, writer, "CREATE TABLE t (v); INSERT INTO t VALUES (1); BEGIN IMMEDIATE")
	off := make(chan error, 1)
	go func() { off <- execErr(switcher, "PRAGMA litestream_write_enabled = 0") }()
	other := openConn(t, slot, "app.db")
	mustExec(t, other, "PRAGMA busy_timeout = 0")
	waitFor(t, "write mode to be turned off", func() bool {
		_ = execErr(other, "INSERT INTO t VALUES (2)")
		s := status(t, other)
		return s.LastError != nil && strings.Contains(s.LastError.Text, "is being turned off")
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := vfs.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-off; err == nil {
		t.Error("turned off while a transaction is under way")
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT group_concat(v) FROM t", "1")
}

// TestCompaction_NotTurnedOff fails to turn write mode off. Write mode
// continues, and compactions that were due meanwhile run without another
// commit.
func TestCompaction_NotTurnedOff(t *testing.T) {
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, PollInterval: -1, CloseTimeout: 10 * time.Second})
		fastCompaction(&vfs.Options)
		writer, switcher := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
		mustExec(t, writer, "CREATE TABLE t (v)")
		time.Sleep(2 * time.Second)
		mustExec(t, writer, "BEGIN IMMEDIATE")
		if err := execErr(switcher, "PRAGMA litestream_write_enabled = 0"); err == nil {
			t.Fatal("turned off while a transaction is under way")
		}
		mustExec(t, writer, "ROLLBACK")
		time.Sleep(10 * time.Second)
		if n := levels(t, client); n[1] != 1 {
			t.Errorf("files by level: %v, want one of level 1", n)
		}
	})
}
