package litestream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
)

// unreadRows is the number of rows of a database whose page index is not read as
// a whole by an open.
const unreadRows = 70_000

// unreadReplica returns a replica of one table with pages of 512 bytes, each of
// which has one row, and two later transactions.
func unreadReplica(t *testing.T) *memory.ReplicaClient {
	t.Helper()
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, pad TEXT)")
	p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
		INSERT INTO t SELECT i, i, printf('%x', i * 57885161) || printf('%.*c', 380 + i * 7919 % 50, 'x') FROM c`, unreadRows)
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID()+1)
	p.Exec("UPDATE t SET v = -1 WHERE id = 40000")
	p.Exec("UPDATE t SET v = -2 WHERE id IN (1, 20000, 69999)")
	return client
}

// TestTraces_Unread compares the requests to a database whose page index is not read by
// the open with a golden file: parts are read as they are needed, and the rest a second
// later. From a fast store, all of the index comes with the first page, and a row takes
// no more than its pages. Within an IndexSize, the rest is never read. There, which
// pages come together depends on the order of what happens within one moment.
func TestTraces_Unread(t *testing.T) {
	client := unreadReplica(t)
	const (
		fast = 400e6 // bytes a second, so that the index comes after the first row
		slow = 3e6   // a round trip is worth less than the index
	)
	for _, tc := range []struct {
		name      string
		opts      litestream.Options
		bandwidth float64
		rest      bool // is read in the background
	}{
		{"unread-fast", litestream.Options{}, fast, false},
		{"unread", litestream.Options{}, slow, true},
		{"unread-bounded", litestream.Options{IndexSize: 64 << 10}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trace := decorate.NewTrace(spread{decorate.NewLatency(client, decorate.Latency{PerRequest: latency, BytesPerSecond: tc.bandwidth})})
				tc.opts.PollInterval = -1
				vfsName, vfs := newVFS(t, trace, &tc.opts)
				db, err := vfstest.Open(dsn(vfsName, "app.db"))
				if err != nil {
					t.Fatal(err)
				}
				defer vfs.Close(context.Background())
				defer db.Close()
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				var b strings.Builder
				waves := make(map[string]int)
				step := func(name string, do func()) {
					do()
					time.Sleep(4 * latency) // for pages that are prefetched
					events := trace.Events()
					waves[name] = len(decorate.Waves(events))
					c := trace.Counts()
					fmt.Fprintf(&b, "# %s: %d round trips, %d lists, %d reads, %d bytes\n", name, waves[name], c.Lists, c.Reads, c.BytesRead)
					b.WriteString(decorate.Format(events))
					b.WriteByte('\n')
					trace.Reset()
				}
				row := func(id, want int) func() {
					return func() {
						if got := mustQuery(t, conn, fmt.Sprintf("SELECT v FROM t WHERE id = %d", id)); got != fmt.Sprint(want) {
							t.Errorf("row %d has %s, want %d", id, got, want)
						}
					}
				}
				step("open", func() {})
				step("first row", func() { mustQuery(t, conn, "SELECT id FROM t LIMIT 1") })
				step("row in the middle", row(35_000, 35_000))
				step("row near it", row(35_100, 35_100))
				step("row of a later transaction", row(20_000, -2))
				step("row at the end", row(69_999, -2))
				step("rest of the index", func() { time.Sleep(10 * time.Second) })
				step("row at a quarter", row(17_000, 17_000))
				step("row in the middle once more", row(36_500, 36_500))
				step("the same again", row(36_500, 36_500))
				if n := waves["rest of the index"]; (n > 0) != tc.rest {
					t.Errorf("%d round trips for the rest of the index", n)
				}
				if waves["the same again"] > 0 {
					t.Error("a page is fetched again")
				}
				if tc.rest {
					golden(t, tc.name, b.String())
				}
				if tc.bandwidth == fast {
					for name, n := range waves {
						if n > 3 { // the tree has interior pages on two levels below its root
							t.Errorf("%s takes %d round trips", name, n)
						}
					}
				}
			})
		})
	}
}

// TestUnread_CorruptIndex changes the middle of a page index. Rows whose
// part of the index is intact can be read, and others give an error that names the
// file.
func TestUnread_CorruptIndex(t *testing.T) {
	client := unreadReplica(t)
	var snapshot *ltx.FileInfo
	for _, f := range listFiles(t, client) {
		if f.Level == litestream.SnapshotLevel {
			snapshot = f
		}
	}
	r, err := client.OpenLTXFile(t.Context(), snapshot.Level, snapshot.MinTXID, snapshot.MaxTXID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	size := binary.BigEndian.Uint64(b[len(b)-ltx.TrailerSize-8:])
	start := uint64(len(b)-ltx.TrailerSize-8) - size
	for i := start + size*2/5; i < start+size*3/5; i++ {
		b[i] ^= 0x55
	}
	if _, err := client.WriteLTXFile(t.Context(), snapshot.Level, snapshot.MinTXID, snapshot.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
	conn := openConn(t, vfsName, "app.db")
	if got := mustQuery(t, conn, "SELECT v FROM t WHERE id = 69998"); got != "69998" {
		t.Errorf("a row at the end has %s", got)
	}
	var v int
	if err := conn.QueryRowContext(t.Context(), "SELECT v FROM t WHERE id = 35000").Scan(&v); err == nil {
		t.Error("a row whose part of the index is damaged can be read")
	}
	name := fmt.Sprintf("9/%s", ltx.FormatFilename(snapshot.MinTXID, snapshot.MaxTXID))
	if text := vfs.Stats()[0].LastRead.Error; !strings.Contains(text, name) || !strings.Contains(text, "corrupt") {
		t.Errorf("the error is %q", text)
	}
	if got := mustQuery(t, conn, "SELECT v FROM t WHERE id = 5"); got != "5" {
		t.Errorf("a row at the start has %s", got)
	}
}

// TestUnread_RoundTrips counts the round trips of a row at random right after the
// open, when most of the page index is unread: with a bound of its memory, parts of
// 16 KiB are read, as if the database had eight times as many pages. The tree has
// three levels below its root.
func TestUnread_RoundTrips(t *testing.T) {
	const roundTrip = 20 * time.Millisecond
	client := unreadReplica(t)
	for name, tc := range map[string]struct {
		opts litestream.Options
		most float64
	}{"in large parts": {litestream.Options{}, 3.3}, "in small parts": {litestream.Options{IndexSize: 64 << 10}, 3.3}} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 17))
			var trips float64
			var bytes int64
			const rows = 40
			for range rows {
				id := 1 + rng.IntN(unreadRows)
				synctest.Test(t, func(t *testing.T) {
					client := decorate.NewLatency(client, decorate.Latency{PerRequest: roundTrip, BytesPerSecond: 80e6})
					opts := tc.opts
					opts.PollInterval = -1
					conn, vfs, closeAll := openOne(t, client, &opts, "app.db")
					defer closeAll()
					mustQuery(t, conn, "SELECT id FROM t LIMIT 1")
					before, start := vfs.Stats()[0].ReadBytes, time.Now()
					mustQuery(t, conn, fmt.Sprintf("SELECT id FROM t WHERE id = %d", id))
					trips += float64(time.Since(start)) / float64(roundTrip)
					bytes += vfs.Stats()[0].ReadBytes - before
				})
			}
			t.Logf("%.1f round trips and %d bytes a row", trips/rows, bytes/rows)
			if trips/rows > tc.most {
				t.Errorf("%.1f round trips for a row, want %.1f at most", trips/rows, tc.most)
			}
		})
	}
}
