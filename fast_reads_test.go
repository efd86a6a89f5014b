package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// These tests measure speed on a simulated network under a simulated clock, so
// the result is the same on every machine.
const bandwidth = 80e6 // bytes a second for each stream

const fastRows = 60_000

// fastReplica returns a replica with two tables. The first has some 9 MB with
// its rows in order, and an index that orders them differently and whose pages
// are scattered among the table's. The rows of the second are larger than a
// page.
var fastReplica = sync.OnceValue(func() *memory.ReplicaClient { return memoryClient() })

var fillFastReplica sync.Once

func fastClient(t *testing.T) (client *memory.ReplicaClient, snapshot *ltx.FileInfo) {
	t.Helper()
	client = fastReplica()
	fillFastReplica.Do(func() {
		p := ltxtest.New(t, client, ltxtest.Options{})
		p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER, pad TEXT); CREATE TABLE big (id INTEGER PRIMARY KEY, data TEXT); CREATE INDEX t_k ON t (k)")
		p.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
			INSERT INTO t SELECT i, i * 7919 % ?, printf('%x%x%x%x%x%x%x%x', i * 57885161 % 4294967291 * 1073741789, i * 43112609 % 4294967291 * 1073741783,
				i * 42643801 % 4294967291 * 1073741741, i * 37156667 % 4294967291 * 1073741723, i * 32582657 % 4294967291 * 1073741719,
				i * 30402457 % 4294967291 * 1073741717, i * 25964951 % 4294967291 * 1073741689, i * 24036583 % 4294967291 * 1073741671) FROM c`,
			fastRows, fastRows)
		p.Exec("INSERT INTO big SELECT id, printf('%.*c', 700000, 'y') FROM t WHERE id <= 4")
		p.Snapshot()
		for i := range 3 {
			p.Exec("UPDATE t SET pad = 'new' WHERE id = ?", 1000*i+500)
		}
		p.DeleteLevelBelow(0, p.TXID()-2)
	})
	for _, f := range listFiles(t, client) {
		if f.Level == litestream.SnapshotLevel {
			return client, f
		}
	}
	t.Fatal("no snapshot")
	return nil, nil
}

// fastSession is one connection to fastReplica over a simulated network.
type fastSession struct {
	*sql.Conn
	vfs    *litestream.VFS
	client litestream.ReplicaClient
}

// simulate runs a test over a simulated network under a simulated clock.
func simulate(t *testing.T, opts litestream.Options, do func(t *testing.T, s *fastSession, snapshot *ltx.FileInfo)) {
	t.Helper()
	inner, snapshot := fastClient(t)
	synctest.Test(t, func(t *testing.T) {
		client := decorate.NewLatency(inner, decorate.Latency{PerRequest: latency, BytesPerSecond: bandwidth})
		opts.PollInterval = -1
		conn, vfs, closeAll := openOne(t, client, &opts, "fast.db")
		defer closeAll()
		do(t, &fastSession{conn, vfs, client}, snapshot)
	})
}

// took runs a query and returns how long it took and what it cost.
func (s *fastSession) took(t *testing.T, want, query string, args ...any) (time.Duration, litestream.Stats) {
	t.Helper()
	before, start := s.vfs.Stats()[0], time.Now()
	got := mustQuery(t, s.Conn, query, args...)
	d := time.Since(start)
	synctest.Wait()
	if want != "" && got != want {
		t.Errorf("%s: %s, want %s", query, got, want)
	}
	after := s.vfs.Stats()[0]
	after.Reads -= before.Reads
	after.ReadBytes -= before.ReadBytes
	after.CacheMisses -= before.CacheMisses
	t.Logf("%s: %v, %d requests, %d bytes, %d pages waited for", query, d, after.Reads, after.ReadBytes, after.CacheMisses)
	return d, after
}

// download reads a file in 8 parallel streams, and returns how long that took.
func download(t *testing.T, client litestream.ReplicaClient, f *ltx.FileInfo) time.Duration {
	t.Helper()
	const streams = 8
	start := time.Now()
	var wg sync.WaitGroup
	for i := range int64(streams) {
		wg.Go(func() {
			from, to := i*f.Size/streams, (i+1)*f.Size/streams
			r, err := client.OpenLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID, from, to-from)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

const scanQuery = "SELECT count(*), count(pad) FROM t NOT INDEXED"

// TestFast_Scans reads whole trees, forward and backward. The number of round
// trips grows with the logarithm of their size.
func TestFast_Scans(t *testing.T) {
	for _, tc := range []struct {
		name, query, want string
		most              time.Duration
	}{
		{"forward", scanQuery, "60000|60000", 7 * latency},
		{"backward", "SELECT count(*), count(pad) FROM (SELECT pad FROM t NOT INDEXED ORDER BY id DESC)", "60000|60000", 8 * latency},
		{"index", "SELECT count(*), max(k) FROM (SELECT k FROM t INDEXED BY t_k WHERE k >= 0 ORDER BY k)", "60000|59999", 8 * latency},
		{"index, backward", "SELECT count(*), min(k) FROM (SELECT k FROM t INDEXED BY t_k WHERE k >= 0 ORDER BY k DESC)", "60000|0", 8 * latency},
	} {
		t.Run(tc.name, func(t *testing.T) {
			simulate(t, litestream.Options{}, func(t *testing.T, s *fastSession, snapshot *ltx.FileInfo) {
				limit := tc.most + download(t, s.client, snapshot)
				d, cost := s.took(t, tc.want, tc.query)
				if d > limit {
					t.Errorf("it took %v, want %v at most", d, limit)
				}
				if cost.ReadBytes > 2*snapshot.Size {
					t.Errorf("%d bytes read of a file of %d", cost.ReadBytes, snapshot.Size)
				}
			})
		})
	}
}

// TestFast_ShareOfDownload scans a table at no less than 60% of the speed at
// which 8 streams download the file, provided that the scan lasts long enough
// to reach full speed.
func TestFast_ShareOfDownload(t *testing.T) {
	inner, snapshot := fastClient(t)
	synctest.Test(t, func(t *testing.T) {
		client := decorate.NewLatency(inner, decorate.Latency{PerRequest: latency, BytesPerSecond: bandwidth / 8})
		vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
		defer vfs.Close(context.Background())
		db, err := vfstest.Open(dsn(vfsName, "fast.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		mustQuery(t, db, "SELECT pad FROM t LIMIT 1")
		start := time.Now()
		mustQuery(t, db, scanQuery)
		scan := time.Since(start)
		share := float64(download(t, client, snapshot)) / float64(scan)
		t.Logf("%v, %.0f%% of the speed of a download", scan, 100*share)
		if share < 0.6 {
			t.Errorf("a scan takes %v, at %.0f%% of the speed of a download", scan, 100*share)
		}
	})
}

// TestFast_ScanKeepsInteriorPages scans far more than the cache holds. The
// interior pages that lead to each row stay in it.
func TestFast_ScanKeepsInteriorPages(t *testing.T) {
	simulate(t, litestream.Options{CacheSize: 1 << 20}, func(t *testing.T, s *fastSession, _ *ltx.FileInfo) {
		// SQLite does not cache any pages itself.
		mustExec(t, s.Conn, "PRAGMA cache_size = 0")
		s.took(t, "60000|60000", scanQuery)
		for id := 777; id < fastRows; id += 5000 {
			d, cost := s.took(t, "", "SELECT pad FROM t WHERE id = ?", id)
			if cost.Reads > 1 || d > latency+latency/2 {
				t.Errorf("row %d: %d requests, %v", id, cost.Reads, d)
			}
		}
	})
}

// TestFast_ScanAfterScan scans a table and then an index. The cache holds a
// part of the index, with interior pages, and keeps these until the scan
// reaches them.
func TestFast_ScanAfterScan(t *testing.T) {
	for _, cache := range []int64{1 << 20, 2 << 20, 4 << 20} {
		simulate(t, litestream.Options{CacheSize: cache}, func(t *testing.T, s *fastSession, snapshot *ltx.FileInfo) {
			mustExec(t, s.Conn, "PRAGMA cache_size = 0")
			limit := 9*latency + download(t, s.client, snapshot)
			for range 2 {
				for _, query := range []string{scanQuery, "SELECT count(*), max(k) FROM (SELECT k FROM t INDEXED BY t_k WHERE k >= 0 ORDER BY k)"} {
					if d, _ := s.took(t, "", query); d > limit {
						t.Errorf("cache of %d bytes: %s took %v, want %v at most", cache, query, d, limit)
					}
				}
			}
		})
	}
}

// TestFast_RandomLookups reads rows that are unrelated to each other. Nothing
// else is prefetched.
func TestFast_RandomLookups(t *testing.T) {
	for _, query := range []string{"SELECT id FROM t NOT INDEXED WHERE id = ?", "SELECT id FROM t INDEXED BY t_k WHERE k = ?"} {
		simulate(t, litestream.Options{CacheSize: 64 << 20}, func(t *testing.T, s *fastSession, _ *ltx.FileInfo) {
			s.took(t, "", query, 1)
			const lookups = 300
			before := s.vfs.Stats()[0]
			rng := rand.New(rand.NewPCG(1, 1))
			for range lookups {
				if got := mustQuery(t, s.Conn, query, 1+rng.IntN(fastRows-1)); got == "" {
					t.Fatal("row not found")
				}
			}
			after := s.vfs.Stats()[0]
			reads, bytes := after.Reads-before.Reads, after.ReadBytes-before.ReadBytes
			pages := after.CacheMisses - before.CacheMisses + after.AheadHits - before.AheadHits
			// A page that a query waited for was read on its own.
			used := float64(pages) * float64(after.PageReadBytes) / float64(after.PageReads)
			t.Logf("%d requests, %d pages, %d bytes, amplification %.2f", reads, pages, bytes, float64(bytes)/used)
			if float64(reads) > 1.2*float64(pages) {
				t.Errorf("%d requests for %d pages", reads, pages)
			}
			if float64(bytes) > 1.3*used {
				t.Errorf("%d bytes for pages of %.0f", bytes, used)
			}
		})
	}
}

// TestFast_RowsOfAnIndex reads rows in the order of an index. Each row is on a
// different page of the table.
func TestFast_RowsOfAnIndex(t *testing.T) {
	for _, order := range []string{"ASC", "DESC"} {
		t.Run(order, func(t *testing.T) {
			simulate(t, litestream.Options{}, func(t *testing.T, s *fastSession, _ *ltx.FileInfo) {
				d, _ := s.took(t, "1000|0", "SELECT count(*), sum(pad = '') || '' FROM (SELECT pad FROM t INDEXED BY t_k WHERE k BETWEEN 20001 AND 21000 ORDER BY k "+order+")")
				if most := 15 * latency; d > most {
					t.Errorf("1000 rows took %v, want %v at most", d, most)
				}
			})
		})
	}
}

// TestFast_InterleavedScans follows several cursors at the same time.
func TestFast_InterleavedScans(t *testing.T) {
	simulate(t, litestream.Options{}, func(t *testing.T, s *fastSession, snapshot *ltx.FileInfo) {
		query := fmt.Sprintf(`SELECT count(*) FROM t a NOT INDEXED CROSS JOIN t b NOT INDEXED ON b.id = a.id + %d CROSS JOIN t c NOT INDEXED ON c.id = %d - a.id
			WHERE a.id <= %d AND a.pad || b.pad || c.pad <> ''`, fastRows/3, fastRows, fastRows/3)
		limit := 12*latency + 2*download(t, s.client, snapshot)
		if d, _ := s.took(t, fmt.Sprint(fastRows/3), query); d > limit {
			t.Errorf("it took %v, want %v at most", d, limit)
		}
	})
}

// TestFast_LargeRows reads rows that fill hundreds of overflow pages.
func TestFast_LargeRows(t *testing.T) {
	simulate(t, litestream.Options{}, func(t *testing.T, s *fastSession, _ *ltx.FileInfo) {
		s.took(t, "4", "SELECT count(*) FROM big")
		for id := 1; id <= 3; id++ {
			d, cost := s.took(t, "700000", "SELECT length(data || '') FROM big WHERE id = ?", id)
			if d > 3*latency || cost.Reads > 4 {
				t.Errorf("row %d: %v, %d requests", id, d, cost.Reads)
			}
		}
	})
}

// TestFast_WrongGuess reads a few pages that look like the start of a scan.
func TestFast_WrongGuess(t *testing.T) {
	simulate(t, litestream.Options{}, func(t *testing.T, s *fastSession, _ *ltx.FileInfo) {
		for _, query := range []string{"SELECT id FROM t ORDER BY id LIMIT 1", "SELECT max(id) FROM t", "SELECT count(*) FROM (SELECT pad FROM t WHERE id BETWEEN 30000 AND 30050)"} {
			if _, cost := s.took(t, "", query); cost.ReadBytes > 150<<10 {
				t.Errorf("%s: %d bytes", query, cost.ReadBytes)
			}
		}
	})
}

// flakyClient fails one in five reads of an open database at the first attempt.
type flakyClient struct {
	litestream.ReplicaClient
	on atomic.Bool
	n  atomic.Int64
}

func (c *flakyClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if c.on.Load() && c.n.Add(1)%5 == 2 {
		return nil, errors.New("503 slow down")
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestFast_FailingRequests scans while storage fails now and then. Pages that a
// failed request should have brought are not fetched one by one.
func TestFast_FailingRequests(t *testing.T) {
	inner, _ := fastClient(t)
	synctest.Test(t, func(t *testing.T) {
		client := &flakyClient{ReplicaClient: decorate.NewLatency(inner, decorate.Latency{PerRequest: latency, BytesPerSecond: bandwidth})}
		vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
		defer vfs.Close(context.Background())
		db, err := vfstest.Open(dsn(vfsName, "fast.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		mustQuery(t, db, "SELECT 1 FROM t")
		client.on.Store(true)
		start := time.Now()
		if got := mustQuery(t, db, scanQuery); got != "60000|60000" {
			t.Errorf("got %s", got)
		}
		if d, reads := time.Since(start), client.n.Load(); d > 30*latency || reads > 60 {
			t.Errorf("it took %v and %d requests", d, reads)
		}
		t.Logf("%v, %d requests", time.Since(start), client.n.Load())
	})
}

// TestFast_Cancel ends a query, a connection or the VFS in the middle of each
// kind of prefetch. All work has ended when the VFS is closed. TestMain checks
// that no goroutine is left.
func TestFast_Cancel(t *testing.T) {
	const slow = 3 * time.Millisecond // on a real clock: the driver spins while it waits for a query to end
	inner, _ := fastClient(t)
	for name, query := range map[string]string{
		"scan":     scanQuery,
		"backward": "SELECT count(pad) FROM (SELECT pad FROM t NOT INDEXED ORDER BY id DESC)",
		"rows":     "SELECT count(pad) FROM (SELECT pad FROM t INDEXED BY t_k WHERE k BETWEEN 20001 AND 21000 ORDER BY k)",
		"overflow": "SELECT length(data || '') FROM big WHERE id = 2",
	} {
		for waits := range 6 {
			for _, how := range []string{"query", "vfs"} {
				t.Run(fmt.Sprintf("%s, %s, %d", name, how, waits), func(t *testing.T) {
					t.Parallel()
					client := decorate.NewTrace(decorate.NewLatency(inner, decorate.Latency{PerRequest: slow}))
					vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
					conn := openConn(t, vfsName, "fast.db")
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					start := client.Counts().Reads
					done := make(chan error, 1)
					go func() {
						var n int
						done <- conn.QueryRowContext(ctx, query).Scan(&n)
					}()
					// This waits for about as many further round trips, or for
					// the end of the query.
					for reads := client.Counts().Reads; reads < start+1+waits*5 && len(done) == 0; reads = client.Counts().Reads {
						time.Sleep(slow / 10)
					}
					if how == "query" {
						cancel()
						<-done
						mustQuery(t, conn, "SELECT pad FROM t WHERE id = 54321") // the connection still works
					}
					if err := vfs.Close(t.Context()); err != nil {
						t.Error(err)
					}
					if how == "vfs" {
						<-done
					}
					if n := client.Counts().Open; n != 0 {
						t.Errorf("%d requests are under way after the VFS was closed", n)
					}
				})
			}
		}
	}
}
