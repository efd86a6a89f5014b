package litestream_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/superfly/ltx"
)

// meter counts the bytes that are written to a replica.
type meter struct {
	*liar
	committed atomic.Int64 // bytes written to level 0
	all       atomic.Int64
}

func (c *meter) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	info, err := c.liar.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil {
		c.all.Add(info.Size)
		if level == 0 {
			c.committed.Add(info.Size)
		}
	}
	return info, err
}

// TestCompaction_Growth writes for two months with the default options. Nothing
// that was compacted is deleted, and still the bytes written, the bytes kept
// and the bytes that an open reads are bounded by what was committed.
func TestCompaction_Growth(t *testing.T) {
	t.Parallel()
	testscale.NeedsNoRace(t, "it writes for months of simulated time what TestCompaction writes for half an hour")
	for name, w := range map[string]struct {
		setUp string
		write func(rng *rand.Rand, i int) string
		most  time.Duration // longest time between two writes
	}{
		"counter": {"INSERT INTO t VALUES (0, randomblob(300000))", func(*rand.Rand, int) string { return "INSERT OR REPLACE INTO t VALUES (1, 1)" }, 3 * time.Hour},
		"grows": {"", func(rng *rand.Rand, i int) string {
			return fmt.Sprintf("INSERT INTO t VALUES (%d, randomblob(%d))", i, 1+rng.IntN(30_000))
		}, 3 * time.Hour},
		"anew": {"INSERT INTO t SELECT value, randomblob(3000) FROM generate_series(1, 200)", func(rng *rand.Rand, i int) string {
			return fmt.Sprintf("UPDATE t SET v = randomblob(3000) WHERE id %% 9 = %d", i%9)
		}, 3 * time.Hour},
		"bursts": {"INSERT INTO t VALUES (0, randomblob(2000000))", func(rng *rand.Rand, i int) string {
			return fmt.Sprintf("INSERT OR REPLACE INTO t VALUES (%d, randomblob(%d))", 1+i%50, rng.IntN(20_000))
		}, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			setUp := w.setUp
			setUp = strings.ReplaceAll(setUp, "SELECT value, randomblob(3000) FROM generate_series(1, 200)",
				"WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value+1 FROM n LIMIT 200) SELECT value, randomblob(3000) FROM n")
			synctest.Test(t, func(t *testing.T) { testGrowth(t, setUp, w.write, w.most) })
		})
	}
}

func testGrowth(t *testing.T, setUp string, write func(*rand.Rand, int) string, most time.Duration) {
	client := &meter{liar: &liar{ReplicaClient: memoryClient()}}
	vfsName, vfs := newVFSOnly(t, client, &litestream.Options{WriteEnabled: true, PollInterval: -1})
	defer vfs.Close(context.Background())
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v); "+setUp)
	rng := rand.New(rand.NewPCG(1, 1))
	was := make(map[string]string) // sums by transaction
	const sum = "SELECT count(*), sum(length(v)) FROM t"
	start := time.Now()
	for i := 0; i < 600 && time.Since(start) < 60*24*time.Hour; i++ {
		mustExec(t, db, write(rng, i+1))
		time.Sleep(31*time.Second + time.Duration(rng.Int64N(int64(most))))
		if i%100 == 99 {
			was[mustQuery(t, db, "PRAGMA litestream_sync")] = mustQuery(t, db, sum)
			wantBounded(t, client)
		}
	}
	readName, reading := newVFSOnly(t, client, &litestream.Options{PollInterval: -1})
	defer reading.Close(context.Background())
	reader := openConn(t, readName, "app.db")
	wantSQL(t, reader, "PRAGMA integrity_check", "ok")
	wantSQL(t, reader, sum, mustQuery(t, db, sum))
	for txid, want := range was {
		mustExec(t, reader, "PRAGMA litestream_txid = '"+txid+"'")
		wantSQL(t, reader, sum, want)
	}
	if s := status(t, db).Write; s.Compaction != "" || s.Mended != 0 {
		t.Errorf("status: %+v", s)
	}
}

// wantBounded checks what was written to a replica, what the replica holds, and
// what lies above the newest snapshot.
func wantBounded(t *testing.T, client *meter) {
	t.Helper()
	files := filesOf(t, client.liar)
	kept, snapshots := int64(0), 0
	for _, f := range files {
		kept += f.Size
		if f.Level == litestream.SnapshotLevel {
			snapshots++
		}
	}
	// The bound is level 0, a copy in each of four other levels, and snapshots
	// of twice that size.
	committed, all := client.committed.Load(), client.all.Load()
	if most := 7 * committed; all > most || kept > most {
		t.Errorf("%d bytes were committed: %d were written, of which %d are kept", committed, all, kept)
	}
	plan, err := litestream.PlanLatest(files)
	if err != nil {
		t.Fatal(err)
	}
	above := int64(0)
	for _, f := range plan[1:] {
		above += f.Size
	}
	if above > max(plan[0].Size, 1<<20)+1<<16 || len(plan) > 1100 {
		t.Errorf("%d files of %d bytes are above one of %d", len(plan)-1, above, plan[0].Size)
	}
	t.Logf("committed %d, written %.1fx, kept %.1fx, %d files, %d snapshots; above %d: %d in %d files", committed,
		float64(all)/float64(committed), float64(kept)/float64(committed), len(files), snapshots, plan[0].Size, above, len(plan)-1)
}

// TestCompaction_KeepsPrimarys continues a replica that another primary has
// written. By default only files of level 0 are deleted from it.
func TestCompaction_KeepsPrimarys(t *testing.T) {
	for _, retention := range []time.Duration{0, -1, 24 * time.Hour} {
		t.Run(fmt.Sprint(retention), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &liar{ReplicaClient: memoryClient()}
				firstName, first := newVFSOnly(t, client, &litestream.Options{WriteEnabled: true, PollInterval: -1, SnapshotInterval: 24 * time.Hour})
				db := openConn(t, firstName, "app.db")
				mustExec(t, db, "CREATE TABLE t (v)")
				for range 10 {
					mustExec(t, db, "INSERT INTO t VALUES (1)")
					time.Sleep(12 * time.Hour)
				}
				if err := first.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				before := filesOf(t, client)
				var log testlog.Buffer
				nextName, next := newVFSOnly(t, client, &litestream.Options{
					WriteEnabled: true, PollInterval: -1, SnapshotRetention: retention, Logger: testlog.New(t, &log),
				})
				defer next.Close(context.Background())
				db = openConn(t, nextName, "app.db")
				for range 10 {
					mustExec(t, db, "INSERT INTO t VALUES (2)")
					time.Sleep(12 * time.Hour)
				}
				there := make(map[ltx.FileInfo]bool)
				snapshots := 0
				for _, f := range filesOf(t, client) {
					there[ltx.FileInfo{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID}] = true
					if f.Level == litestream.SnapshotLevel {
						snapshots++
					}
				}
				gone := 0
				for _, f := range before {
					if f.Level > 0 && !there[ltx.FileInfo{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID}] {
						gone++
					}
				}
				if retention <= 0 && gone > 0 {
					t.Errorf("%d of %d files were deleted", gone, len(before))
				}
				if retention > 0 && (gone == 0 || snapshots > 3) {
					t.Errorf("%d files were deleted, %d snapshots are left", gone, snapshots)
				}
				if got, err := readFresh(t, client, "SELECT count(*) FROM t"); err != nil || got != "20" {
					t.Errorf("a fresh reader gets %q, %v", got, err)
				}
			})
		})
	}
}
