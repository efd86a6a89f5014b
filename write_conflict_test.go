package litestream_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// slowDelete is a client that takes a second for a delete.
type slowDelete struct{ *storeFault }

func (c slowDelete) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	select {
	case <-time.After(time.Second):
		return c.storeFault.DeleteLTXFiles(ctx, a)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write runs a query on a replica in write mode, and closes it.
func write(t *testing.T, client litestream.ReplicaClient, query string) {
	t.Helper()
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.PollInterval, o.Logger = -1, testlog.New(t, nil) }))
	db := openConn(t, slot, "app.db")
	mustExec(t, db, query)
	_ = db.Close()
	if err := vfs.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPromise6_LoserLeavesNothing has a writer lose just after it has created a
// file for a transaction that another writer had made and compacted. The loser
// closes its database as soon as it learns of this. By then its file is gone.
func TestPromise6_LoserLeavesNothing(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := faulty()
		write(t, client, "CREATE TABLE t (v)")
		write(t, client, "INSERT INTO t VALUES (1)")
		other := cloneReplica(t, client.ReplicaClient)
		write(t, other, "INSERT INTO t VALUES ('theirs')")
		theirs := readFile(t, other, 0, 3, 3)
		slot, vfs := newVFSOnly(t, slowDelete{client}, writing(func(o *litestream.Options) { o.PollInterval, o.Logger = -1, testlog.New(t, nil) }))
		db := openConn(t, slot, "app.db")
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		time.Sleep(15 * time.Second)
		client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			if _, err := client.WriteLTXFile(context.Background(), 1, 3, 3, strings.NewReader(theirs)); err != nil {
				t.Error(err)
			}
			return do()
		}
		if err := vfs.Sync(context.Background(), "app.db"); !errors.Is(err, litestream.ErrConflict) {
			t.Errorf("sync: %v, want a conflict", err)
		}
		_ = db.Close()
		_ = vfs.Close(context.Background()) // returns the same error again
		itr, err := client.LTXFiles(context.Background(), 0, 3, false)
		if err != nil {
			t.Fatal(err)
		}
		for itr.Next() {
			t.Errorf("the loser's transaction %s is left on the replica", itr.Item().MinTXID)
		}
	})
}

// TestPromise5_SeveralWhileLosing has a database lose to another writer while it takes
// part in a commit of several databases: it is sealed, and another one is not yet. SQLite
// does not report what happens to it from then on, so COMMIT succeeds, and what it has
// committed is kept with the commits before.
func TestPromise5_SeveralWhileLosing(t *testing.T) {
	client := faulty()
	write(t, client, "CREATE TABLE t (v)")
	other := cloneReplica(t, client.ReplicaClient)
	write(t, other, "INSERT INTO t VALUES ('theirs')")
	theirs := readFile(t, other, 0, 2, 2)
	uploading, sealing := make(chan struct{}), make(chan struct{})
	upload, seal := make(chan struct{}), make(chan struct{})
	goUpload, goSeal := sync.OnceFunc(func() { close(upload) }), sync.OnceFunc(func() { close(seal) })
	var isLast atomic.Bool    // the next commit is the one that this test is about
	var appended atomic.Int64 // parts of it
	opts := writing(func(o *litestream.Options) {
		o.PollInterval, o.CompactionDisabled = -1, true
		clients := map[string]litestream.ReplicaClient{"a.db": client, "b.db": memoryClient()}
		o.NewClient = func(name string) (litestream.ReplicaClient, error) { return clients[name], nil }
	})
	litestream.OnDisk(opts, func(op string) error {
		if op == "before: append commit" && isLast.Load() && appended.Add(1) == 2 {
			close(sealing)
			<-seal
		}
		return nil
	})
	slot, vfs := newVFSOnly(t, nil, opts)
	defer func() { _ = vfs.Close(context.Background()) }() // returns the error of the loss again
	defer goSeal()
	defer goUpload()
	path := filepath.Join(t.TempDir(), "buffer")
	db, watch := openConn(t, slot, "a.db", "buffer_path="+path), openConn(t, slot, "a.db", "buffer_path="+path)
	mustExec(t, db, "ATTACH ? AS b", dsn(slot, "b.db"))
	mustExec(t, db, "CREATE TABLE b.u (v)")
	mustExec(t, db, "INSERT INTO t VALUES ('first')")
	wantSQL(t, watch, "PRAGMA litestream_write_enabled", "1")
	client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		close(uploading)
		<-upload
		if _, err := client.WriteLTXFile(context.Background(), 0, 2, 2, strings.NewReader(theirs)); err != nil {
			t.Error(err)
		}
		return do()
	}
	synced, committed := make(chan error, 1), make(chan error, 1)
	go func() { synced <- vfs.Sync(context.Background(), "a.db") }()
	select {
	case <-uploading: // so the segment of the first commit gets no more
	case err := <-synced:
		t.Fatalf("sync: %v", err)
	}
	isLast.Store(true)
	go func() {
		_, err := db.ExecContext(context.Background(), "BEGIN; INSERT INTO t VALUES ('second'); INSERT INTO u VALUES (1); COMMIT")
		committed <- err
	}()
	select {
	case <-sealing:
	case err := <-committed:
		t.Fatalf("commit: %v", err)
	}
	goUpload()
	waitFor(t, "the loss", func() bool { return mustQuery(t, watch, "PRAGMA litestream_write_enabled") == "0" })
	goSeal()
	if err := <-committed; err != nil {
		t.Errorf("commit: %v", err)
	}
	if err := <-synced; !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("sync: %v, want a conflict", err)
	}
	wantSQL(t, db, "SELECT v FROM u", "1")
	commits := 0
	kept, err := filepath.Glob(path + ".kept-*")
	for _, name := range kept {
		f, ferr := os.Open(name)
		if ferr == nil {
			_, _, ferr = commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil })
			_ = f.Close()
		}
		err = errors.Join(err, ferr)
	}
	if err != nil || commits != 2 {
		t.Errorf("%d commits are kept in %v, want 2, %v", commits, kept, err)
	}
	waitFor(t, "the other writer's row", func() bool { return mustQuery(t, db, "SELECT group_concat(v) FROM t") == "theirs" })
}

// TestWrite_KeptAfterConflict gives commits that have lost to another writer the state
// that they follow: a fork of the replica at the transaction before. There, a database
// with their path as its write buffer syncs them. An open of the replica itself only
// keeps them aside again.
func TestWrite_KeptAfterConflict(t *testing.T) {
	client, fork := memoryClient(), memoryClient()
	write(t, client, "CREATE TABLE t (v); INSERT INTO t VALUES ('first')")
	path := filepath.Join(t.TempDir(), "buffer")
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.PollInterval, o.WriteBufferPath = -1, path }))
	defer func() { _ = vfs.Close(context.Background()) }() // returns the error of the loss again
	db := openConn(t, slot, "app.db")
	before, err := ltx.ParseTXID(mustQuery(t, db, "PRAGMA litestream_txid"))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t VALUES ('mine')")
	mustExec(t, db, "INSERT INTO t VALUES ('mine, too')")
	write(t, client, "INSERT INTO t VALUES ('theirs')")
	err = vfs.Sync(t.Context(), "app.db")
	if !errors.Is(err, litestream.ErrConflict) {
		t.Fatalf("sync: %v, want a conflict", err)
	}
	said := regexp.MustCompile(`the commits are kept in (\S+), a write buffer of its own`).FindStringSubmatch(err.Error())
	if said == nil {
		t.Fatalf("the error does not say where the commits are: %v", err)
	}

	again := copyBuffer(t, said[1])
	conn, _, closeAll := openOne(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = again }), "app.db")
	wantSQL(t, conn, "SELECT group_concat(v) FROM t", "first,theirs")
	closeAll()
	if kept, err := filepath.Glob(again + ".kept-*"); err != nil || len(kept) == 0 {
		t.Errorf("an open of the replica keeps %v, %v", kept, err)
	}

	if _, err := maintain.Fork(t.Context(), client, fork, maintain.ForkOptions{At: maintain.Moment{TXID: before}}); err != nil {
		t.Fatal(err)
	}
	forkSlot, forked := newVFS(t, fork, writing(func(o *litestream.Options) { o.WriteBufferPath = said[1] }))
	wantSQL(t, openConn(t, forkSlot, "lost.db"), "SELECT group_concat(v) FROM t", "first,mine,mine, too")
	if err := forked.Sync(t.Context(), "lost.db"); err != nil {
		t.Error(err)
	}
	for _, r := range []struct {
		client *memory.ReplicaClient
		want   string
	}{{fork, "first,mine,mine, too"}, {client, "first,theirs"}} {
		if got, err := readFresh(t, r.client, "SELECT group_concat(v) FROM t"); err != nil || got != r.want {
			t.Errorf("a fresh reader gets %q, %v, want %q", got, err, r.want)
		}
	}
}

// TestPromise6_MergedByOther has another writer make the transaction of a commit that
// waits, and merge it, so that no file has the name that the commit's file would get.
// The writer loses, and uploads nothing.
func TestPromise6_MergedByOther(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := faulty()
		write(t, client, "CREATE TABLE t (v)")
		write(t, client, "INSERT INTO t VALUES (1)")
		other := cloneReplica(t, client.ReplicaClient)
		write(t, other, "INSERT INTO t VALUES ('theirs')")
		slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.PollInterval, o.Logger = -1, testlog.New(t, nil) }))
		db := openConn(t, slot, "app.db")
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		time.Sleep(15 * time.Second)
		if _, err := client.WriteLTXFile(t.Context(), 1, 3, 3, strings.NewReader(readFile(t, other, 0, 3, 3))); err != nil {
			t.Fatal(err)
		}
		client.create = func(txid ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			t.Errorf("the loser uploads transaction %s", txid)
			return do()
		}
		if err := vfs.Sync(t.Context(), "app.db"); !errors.Is(err, litestream.ErrConflict) {
			t.Errorf("sync: %v, want a conflict", err)
		}
		_ = db.Close()
		_ = vfs.Close(t.Context()) // returns the same error again
	})
}

// readFile returns the content of a file of a replica.
func readFile(t *testing.T, client *memory.ReplicaClient, level int, minTXID, maxTXID ltx.TXID) string {
	t.Helper()
	r, err := client.OpenLTXFile(context.Background(), level, minTXID, maxTXID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// lateList is a client that calls a hook at the first listing after an upload.
type lateList struct {
	*storeFault
	uploaded bool
	late     func() error
}

func (c *lateList) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if c.uploaded && c.late != nil {
		late := c.late
		c.late = nil
		if err := late(); err != nil {
			return nil, err
		}
	}
	return c.storeFault.AllLTXFiles(ctx, useMetadata)
}

// TestPromise6_FollowedBeforeConfirmed has a sync upload a transaction, and
// fail before it has checked that no other writer made the same one. Another
// writer meanwhile continues from the transaction. The transaction is on the
// replica, so this is no conflict.
func TestPromise6_FollowedBeforeConfirmed(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that a loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := &lateList{storeFault: faulty()}
		raw := client.ReplicaClient
		write(t, raw, "CREATE TABLE t (v)")
		write(t, raw, "INSERT INTO t VALUES (1)")
		slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
			o.PollInterval, o.Logger, o.CompactionDisabled = -1, testlog.New(t, nil), true
		}))
		defer vfs.Close(context.Background())
		db := openConn(t, slot, "app.db")
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		time.Sleep(15 * time.Second)
		client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			client.uploaded = true
			return do()
		}
		client.late = func() error {
			write(t, raw, "INSERT INTO t VALUES ('theirs')")
			time.Sleep(time.Minute)
			return errors.New("the listing takes too long")
		}
		if err := vfs.Sync(context.Background(), "app.db"); err != nil {
			t.Errorf("sync: %v", err)
		}
		if client.late != nil {
			t.Error("nobody has followed")
		}
		if got, err := readFresh(t, raw, "SELECT group_concat(v) FROM t"); err != nil || got != "1,mine,theirs" {
			t.Errorf("a fresh reader gets %q, %v", got, err)
		}
		if got, err := queryText(db, "SELECT v FROM t WHERE v = 'mine'"); err != nil || got != "mine" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestPromise6_FirstFollowedBeforeConfirmed is the same for the first transaction of
// a database. The file that the other writer continues from must stay.
func TestPromise6_FirstFollowedBeforeConfirmed(t *testing.T) {
	testFollowed(t, "mine,theirs", func(t *testing.T, raw *memory.ReplicaClient) error {
		write(t, raw, "INSERT INTO t VALUES ('theirs')")
		return nil
	})
}

// TestPromise6_MergedBeforeConfirmed has an operator merge the file of a
// transaction, or make a snapshot of it, before the writer has checked that no other
// writer made the same transaction. The merged file has the transaction of the
// writer, so this is no conflict. It is none either if the operator then deletes what
// is not needed any more.
func TestPromise6_MergedBeforeConfirmed(t *testing.T) {
	snapshot := func(_ *testing.T, raw *memory.ReplicaClient) error {
		_, err := maintain.Snapshot(context.Background(), raw, maintain.SnapshotOptions{})
		return err
	}
	compact := func(_ *testing.T, raw *memory.ReplicaClient) error {
		_, err := maintain.Compact(context.Background(), raw, maintain.CompactOptions{Young: true})
		return err
	}
	t.Run("snapshot", func(t *testing.T) { testFollowed(t, "mine", snapshot) })
	t.Run("merged", func(t *testing.T) { testFollowed(t, "mine", compact) })
	t.Run("snapshot of a later transaction", func(t *testing.T) { testFollowed(t, "1,mine", snapshot) })
	t.Run("merged later transaction", func(t *testing.T) { testFollowed(t, "1,mine", compact) })
	for name, merge := range map[string]func(*testing.T, *memory.ReplicaClient) error{"snapshot": snapshot, "merged": compact} {
		t.Run(name+", and files pruned", func(t *testing.T) {
			testFollowed(t, "1,mine", func(t *testing.T, raw *memory.ReplicaClient) error {
				if err := merge(t, raw); err != nil {
					return err
				}
				time.Sleep(2 * time.Minute) // until prune takes the writer for one that does not write
				_, err := maintain.Prune(t.Context(), raw, maintain.PruneOptions{Keep: maintain.Keep{Last: 1}})
				return err
			})
		})
	}
}

// testFollowed syncs a commit, and calls others between the upload and the check
// after it, which fails once. The writer goes on, and a fresh reader sees the rows
// of want. If those begin with 1, the commit is not the first one of its database.
func testFollowed(t *testing.T, want string, others func(t *testing.T, raw *memory.ReplicaClient) error) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that a loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := &lateList{storeFault: faulty()}
		raw := client.ReplicaClient
		if strings.HasPrefix(want, "1,") {
			write(t, raw, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
		}
		slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
			o.PollInterval, o.Logger, o.CompactionDisabled = -1, testlog.New(t, nil), true
		}))
		defer vfs.Close(context.Background())
		db := openConn(t, slot, "app.db")
		mustExec(t, db, "CREATE TABLE IF NOT EXISTS t (v); INSERT INTO t VALUES ('mine')")
		time.Sleep(15 * time.Second)
		client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
			client.uploaded = true
			return do()
		}
		client.late = func() error {
			if err := others(t, raw); err != nil {
				t.Error(err)
			}
			return errors.New("the listing takes too long")
		}
		if err := vfs.Sync(context.Background(), "app.db"); err != nil {
			t.Errorf("sync: %v", err)
		}
		if client.late != nil {
			t.Error("nobody has followed")
		}
		if got, err := readFresh(t, raw, "SELECT group_concat(v) FROM t"); err != nil || got != want {
			t.Errorf("a fresh reader gets %q, %v, want %q", got, err, want)
		}
		if !status(t, db).Write.Enabled {
			t.Error("the writer has given up")
		}
	})
}
