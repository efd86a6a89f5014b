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
	"github.com/superfly/ltx"
)

// lateUpload is a liar whose next upload to level 0 calls a hook first.
type lateUpload struct {
	*liar
	before atomic.Pointer[func()] // called once; nil: none
}

func (c *lateUpload) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if level == 0 {
		if before := c.before.Swap(nil); before != nil {
			(*before)()
		}
	}
	return c.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
}

// overtake has another writer write transactions. Those from the given one on are
// compacted, and all but the newest are deleted from level 0. If inSnapshot is
// set, only a snapshot holds them then.
func overtake(t *testing.T, client *liar, txid ltx.TXID, inSnapshot bool) {
	t.Helper()
	slot, vfs := newVFSOnly(t, client.ReplicaClient, &litestream.Options{WriteEnabled: true, PollInterval: -1, Logger: testlog.New(t, nil)})
	fastCompaction(&vfs.Options)
	vfs.Options.CompactionLevels = []time.Duration{3 * time.Second}
	vfs.Options.SnapshotInterval, vfs.Options.SnapshotRetention = time.Hour, 0
	if inSnapshot {
		vfs.Options.SnapshotInterval = 10 * time.Second
	}
	db := openConn(t, slot, "app.db")
	mustExec(t, db, "INSERT INTO t VALUES ('theirs')")
	mustSync(t, vfs)
	time.Sleep(15 * time.Second)
	mustExec(t, db, "INSERT INTO t VALUES ('newest')")
	mustSync(t, vfs)
	_ = db.Close()
	time.Sleep(40 * time.Second)
	if err := vfs.Close(context.Background()); err != nil {
		t.Error(err)
	}
	var remove []*ltx.FileInfo
	for _, f := range filesOf(t, client) {
		if f.MinTXID <= txid && f.MaxTXID >= txid && inSnapshot != (f.Level == litestream.SnapshotLevel) || f.Level == 0 && f.MaxTXID <= txid {
			remove = append(remove, f)
		}
	}
	if err := client.DeleteLTXFiles(context.Background(), remove); err != nil {
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
	truth := func(*ltx.FileInfo, ltx.TXID) bool { return false }
	for _, inSnapshot := range []bool{false, true} {
		for _, first := range slices.Sorted(maps.Keys(lies)) {
			for _, level0 := range []string{"truth", "empty", "own"} {
				for _, others := range []string{"truth", "empty", "since", "no oldest"} {
					t.Run(fmt.Sprintf("%v/%s/%s/%s", inSnapshot, first, level0, others), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							testLateUpload(t, inSnapshot, func(list int, f *ltx.FileInfo) bool {
								lie := truth
								switch {
								case list == 0 && first == "old", list > 0 && list <= 10 && f.Level > 0 && others == "since":
									return f.MaxTXID >= 4
								case list == 0:
									lie = lies[first]
								case list > 10:
								case f.Level == 0 && level0 == "own":
									return f.MaxTXID == 4
								case f.Level == 0 && level0 != "truth":
									lie = lies[level0]
								case f.Level > 0 && others != "truth":
									lie = lies[others]
								}
								return lie(f, 5)
							})
						})
					})
				}
			}
		}
	}
}

func testLateUpload(t *testing.T, inSnapshot bool, hides func(int, *ltx.FileInfo) bool) {
	client := &lateUpload{liar: &liar{ReplicaClient: memoryClient()}}
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
		o.PollInterval, o.ReadTimeout, o.CompactionDisabled, o.Logger = -1, time.Hour, true, testlog.New(t, nil)
	}))
	defer vfs.Close(context.Background())
	db := openConn(t, slot, "app.db")
	for _, query := range []string{"CREATE TABLE t (v)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"} {
		mustExec(t, db, query)
		mustSync(t, vfs)
	}
	mustExec(t, db, "INSERT INTO t VALUES ('mine')")
	hang := func() {
		overtake(t, client.liar, 4, inSnapshot)
		client.lie(hides)
	}
	client.before.Store(&hang)
	if err := trySync(vfs, time.Hour); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("sync: %v, want a conflict", err)
	}
	client.lie(nil)
	for _, f := range filesOf(t, client.liar) {
		if f.Level == 0 && f.MaxTXID == 4 {
			t.Error("the late file is left")
		}
	}
	if got, err := readFresh(t, client.ReplicaClient, "SELECT group_concat(v) FROM t"); err != nil || got != "1,2,theirs,newest" {
		t.Errorf("a fresh reader gets %q, %v", got, err)
	}
}
