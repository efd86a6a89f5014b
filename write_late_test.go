package litestream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// lateUpload is a replica whose next upload to level 0 calls a hook first. Its
// listings of all levels and those of single levels are wrong in different ways.
type lateUpload struct {
	*memory.ReplicaClient
	all, levels *liar
	before      atomic.Pointer[func()] // called once; nil: none
}

func (c *lateUpload) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return c.all.AllLTXFiles(ctx, useMetadata)
}

func (c *lateUpload) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return c.levels.LTXFiles(ctx, level, seek, useMetadata)
}

func (c *lateUpload) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if level == 0 {
		if before := c.before.Swap(nil); before != nil {
			(*before)()
		}
	}
	return c.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
}

// writeCompacted has another writer make a transaction of each query. After each,
// it waits until compaction is done.
func writeCompacted(t *testing.T, client *memory.ReplicaClient, snapshots bool, queries ...string) {
	t.Helper()
	slot, vfs := newVFSOnly(t, client, &litestream.Options{
		WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, Logger: testlog.New(t, nil),
		CompactionLevels: []time.Duration{3 * time.Second}, SnapshotInterval: -1,
	})
	if snapshots {
		vfs.Options.SnapshotInterval = 10 * time.Second
	}
	db := openConn(t, slot, "app.db")
	for _, query := range queries {
		mustExec(t, db, query)
		mustSync(t, vfs)
		time.Sleep(15 * time.Second)
	}
	_ = db.Close()
	if err := vfs.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// remove deletes the files of a replica that a condition holds for.
func (c *liar) remove(t *testing.T, is func(*ltx.FileInfo) bool) {
	t.Helper()
	files := slices.DeleteFunc(filesOf(t, c), func(f *ltx.FileInfo) bool { return !is(f) })
	if err := c.DeleteLTXFiles(context.Background(), files); err != nil {
		t.Error(err)
	}
}

// TestPromise6_LateUpload has a writer upload a transaction while it hangs for so
// long that another writer makes the same one, compacts it, and deletes its file:
// the upload succeeds. The listings after it are wrong. They do not show the file
// that holds the other's transaction, but no listing of all levels hides only that
// file. The writer never takes its own transaction for the first one, and takes
// its file back.
func TestPromise6_LateUpload(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	kinds := maps.Clone(lies)
	kinds["truth"] = func(*ltx.FileInfo, ltx.TXID) bool { return false }
	kinds["old"] = func(f *ltx.FileInfo, _ ltx.TXID) bool { return f.MaxTXID >= 4 }
	kinds["own"] = func(f *ltx.FileInfo, _ ltx.TXID) bool { return f.Level == 0 && f.MaxTXID == 4 }
	cases := 0
	for _, inSnapshot := range []bool{false, true} {
		for _, first := range slices.Sorted(maps.Keys(kinds)) {
			for _, second := range []string{"truth", "own"} {
				for _, level0 := range []string{"truth", "empty"} {
					for _, others := range []string{"truth", "empty", "old", "no oldest", "no snapshot"} {
						if inSnapshot && first == "no snapshot" && (others == "old" || others == first) {
							continue // no listing has the file that tells
						}
						if cases++; testscale.LeavesOut(cases, 5) {
							continue
						}
						t.Run(fmt.Sprintf("%v/%s/%s/%s/%s", inSnapshot, first, second, level0, others), func(t *testing.T) {
							all := func(list int, f *ltx.FileInfo) bool {
								return list == 0 && kinds[first](f, 5) || list == 1 && kinds[second](f, 5)
							}
							levels := func(list int, f *ltx.FileInfo) bool {
								return list < 10 && (f.Level == 0 && kinds[level0](f, 5) || f.Level > 0 && kinds[others](f, 5))
							}
							synctest.Test(t, func(t *testing.T) { testLateUpload(t, inSnapshot, all, levels) })
						})
					}
				}
			}
		}
	}
}

func testLateUpload(t *testing.T, inSnapshot bool, all, levels func(int, *ltx.FileInfo) bool) {
	raw := memoryClient()
	client := &lateUpload{ReplicaClient: raw, all: &liar{ReplicaClient: raw}, levels: &liar{ReplicaClient: raw}}
	writeCompacted(t, raw, false, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
		o.PollInterval, o.ReadTimeout, o.CompactionDisabled, o.Logger = -1, time.Hour, true, testlog.New(t, nil)
	}))
	defer vfs.Close(context.Background())
	db := openConn(t, slot, "app.db")
	mustExec(t, db, "INSERT INTO t VALUES ('mine')")
	hang := func() {
		writeCompacted(t, raw, inSnapshot, "INSERT INTO t VALUES ('theirs')")
		writeCompacted(t, raw, false, "INSERT INTO t VALUES ('newest')")
		client.all.remove(t, func(f *ltx.FileInfo) bool {
			inLevel1 := f.Level == 1 && (f.MaxTXID == 5 || f.MaxTXID == 4 && inSnapshot)
			return inLevel1 || f.Level == 0 && f.MaxTXID <= 4
		})
		client.all.lie(all)
		client.levels.lie(levels)
	}
	client.before.Store(&hang)
	if err := trySync(vfs, time.Hour); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("sync: %v, want a conflict", err)
	}
	for _, f := range filesOf(t, client.all) {
		if f.Level == 0 && f.MaxTXID == 4 {
			t.Error("the late file is left")
		}
	}
	if got, err := readFresh(t, raw, "SELECT group_concat(v) FROM t"); err != nil || got != "1,2,theirs,newest" {
		t.Errorf("a fresh reader gets %q, %v", got, err)
	}
}
