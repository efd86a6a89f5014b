package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/s3"
)

// Opening a replica of a snapshot and 30 files of level 0: one listing, and
// one read of each file.
func TestTrace_Open(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	path := newPath()
	p := ltxtest.New(t, s.client(t, path, nil), ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT i, zeroblob(200) FROM c")
	at := p.Snapshot()
	p.DeleteLevelBelow(0, at+1)
	for i := range 30 {
		p.Exec("UPDATE t SET b = zeroblob(199) WHERE id = ?", i*50+1)
	}
	c, rec := s.record(t, path)
	db, err := openVFS(t, c, &litestream.Options{Logger: testlog.New(t, nil), PollInterval: time.Hour, ReadAheadSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_master").Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	_, text := rec.take()
	if strings.Count(text, "LIST") != 1 {
		t.Errorf("%d listings", strings.Count(text, "LIST"))
	}
	golden(t, "open.txt", text)
}

// Going back in time among 5,000 files, of which a listing tells nothing but
// that they were copied just now.
func TestTrace_Travel(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 5,000 files")
	}
	s := testServer(t)
	noEnvironment(t)
	path := newPath()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	timestamp := func(txid ltx.TXID) time.Time { return start.Add(time.Duration(txid) * time.Second) }
	files := manyFiles(t, s.client(t, path, nil), timestamp)
	if files != 5000 {
		t.Fatalf("%d files", files)
	}

	c, rec := s.record(t, path)
	db, err := openVFS(t, c, &litestream.Options{Logger: testlog.New(t, nil), PollInterval: time.Hour, ReadAheadSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	n, text := rec.take()
	golden(t, "travel-open.txt", text)
	t.Logf("open: %d requests", n)
	for _, target := range []ltx.TXID{1234, 2345, 3987} {
		to := timestamp(target).Add(300 * time.Millisecond)
		if _, err := db.Exec("PRAGMA litestream_time = '" + to.Format(time.RFC3339Nano) + "'"); err != nil {
			t.Fatal(err)
		}
		var txid string
		if err := db.QueryRow("PRAGMA litestream_txid").Scan(&txid); err != nil || txid != target.String() {
			t.Errorf("at %s, %v, want %s", txid, err, target)
		}
		n, text := rec.take()
		if n > 30 {
			t.Errorf("%d requests to travel to %d", n, target)
		}
		t.Logf("to %d: %d requests", target, n)
		golden(t, fmt.Sprintf("travel-%d.txt", target), text)
	}
}

// manyFiles stores 4,000 transactions in files of level 0, and what compaction
// of 5 files at a time makes of them, and snapshots.
func manyFiles(t *testing.T, c *s3.ReplicaClient, timestamp func(ltx.TXID) time.Time) (n int) {
	p := ltxtest.New(t, memory.NewReplicaClient(), ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (x)")
	image := p.Image(p.TXID())
	commit := uint32(len(image) / 512)
	pages := map[uint32][]byte{}
	for pgno := uint32(1); pgno <= commit; pgno++ {
		pages[pgno] = image[(pgno-1)*512 : pgno*512]
	}
	const last = 4000
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(64)
	var infos []*ltx.FileInfo
	for level, span := range map[int]ltx.TXID{0: 1, 1: 5, 2: 25, 3: 125, 9: 500} {
		for maxTXID := span; maxTXID <= last; maxTXID += span {
			minTXID := maxTXID - span + 1
			if level == 9 {
				minTXID = 1
			}
			infos = append(infos, &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID})
			group.Go(func() error {
				body := ltxtest.EncodeLTX(ltx.Header{
					PageSize: 512, Commit: commit, MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: timestamp(maxTXID).UnixMilli(),
				}, pages, false)
				_, err := c.WriteLTXFile(ctx, level, minTXID, maxTXID, bytes.NewReader(body))
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.DeleteLTXFiles(context.Background(), infos); err != nil {
			t.Error(err)
		}
	})
	return len(infos)
}
