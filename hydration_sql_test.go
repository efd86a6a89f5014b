package litestream_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// TestHydration_SQL observes a hydration by PRAGMAs, functions, Stats, the log
// and the callback.
func TestHydration_SQL(t *testing.T) {
	store := memoryClient()
	p := newPrimary(t, store, ltxtest.Options{}, 2000)
	path := filepath.Join(t.TempDir(), "local.db")
	var log testlog.Buffer
	var mu sync.Mutex
	var seen []litestream.HydrationProgress
	vfsName, vfs := newVFS(t, store, &litestream.Options{
		HydrationEnabled: true, PollInterval: fastPoll,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		OnHydrationProgress: func(p litestream.HydrationProgress) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, p)
		},
	})
	conn := openConn(t, vfsName, "app.db", "hydration_path="+path, "hydration_concurrency=2", "hydration_rate_limit=100MB")
	waitFor(t, "hydration", func() bool { return mustQuery(t, conn, "PRAGMA litestream_hydration_status") == "complete" })
	for query, want := range map[string]string{
		"PRAGMA litestream_hydration_progress":   "100.0",
		"PRAGMA litestream_hydration_file":       path,
		"SELECT litestream_hydration_progress()": "100",
		"SELECT litestream_hydration_status()":   "complete",
		"SELECT litestream_hydration_file()":     path,
	} {
		if got := mustQuery(t, conn, query); got != want {
			t.Errorf("%s gives %s, want %s", query, got, want)
		}
	}
	var status struct{ Hydration litestream.HydrationProgress }
	if err := json.Unmarshal([]byte(mustQuery(t, conn, "PRAGMA litestream_status")), &status); err != nil {
		t.Fatal(err)
	}
	stats := vfs.Stats()[0].Hydration
	for _, got := range []litestream.HydrationProgress{status.Hydration, stats} {
		if got.Status != litestream.HydrationComplete || got.Progress != 100 || got.Pages != got.TotalPages || got.Pages == 0 || got.File != path || got.Error != "" {
			t.Errorf("got %+v", got)
		}
	}
	waitFor(t, "the log to say so", func() bool {
		return strings.Contains(log.String(), "hydration complete") && strings.Contains(log.String(), "mb_per_s=")
	})
	waitFor(t, "the last progress", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) > 0 && seen[len(seen)-1].Status == litestream.HydrationComplete
	})
	mu.Lock()
	last := litestream.HydrationProgress{}
	for _, p := range seen {
		if p.Progress < last.Progress || p.Name != "app.db" {
			t.Errorf("progress goes from %+v to %+v", last, p)
		}
		last = p
	}
	mu.Unlock()
	if last.Status != litestream.HydrationComplete || last.Progress != 100 {
		t.Errorf("the last progress is %+v", last)
	}

	// From now on, storage is asked only for new transactions.
	reads := vfs.Stats()[0].Reads
	mustQuery(t, openConn(t, vfsName, "app.db", "hydration_path="+path, "hydration_concurrency=2", "hydration_rate_limit=100MB"), "SELECT sum(v), count(*) FROM t")
	if n := vfs.Stats()[0].Reads - reads; n != 0 {
		t.Errorf("%d reads for what is local", n)
	}
	txid := p.Exec("UPDATE t SET v = v + 1 WHERE id = 7")
	waitFor(t, "the news", func() bool { return mustQuery(t, conn, "PRAGMA litestream_txid") == txid.String() })
	mustQuery(t, conn, "SELECT sum(v) FROM t")
	if n := vfs.Stats()[0].Reads - reads; n > 1 {
		t.Errorf("%d reads for a transaction", n)
	}
}

// Without hydration, its PRAGMAs report that it is off.
func TestHydration_Off(t *testing.T) {
	store := memoryClient()
	newPrimary(t, store, ltxtest.Options{}, 10)
	vfsName, _ := newVFS(t, store, nil)
	conn := openConn(t, vfsName, "app.db")
	for name, want := range map[string]string{"status": "idle", "progress": "0.0", "file": ""} {
		if got := mustQuery(t, conn, "PRAGMA litestream_hydration_"+name); got != want {
			t.Errorf("litestream_hydration_%s is %q, want %q", name, got, want)
		}
	}
	for _, param := range []string{"hydration_enabled=perhaps", "hydration_concurrency=0", "hydration_concurrency=many", "hydration_rate_limit=fast"} {
		db, err := vfstest.Open(dsn(vfsName, "app.db", param))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err == nil {
			t.Errorf("%s is accepted", param)
		}
		db.Close()
	}
}

// TestHydration_ShareOfDownload compares the time of a hydration with that of a
// download in as many streams, over a simulated network and under a simulated
// clock.
func TestHydration_ShareOfDownload(t *testing.T) {
	inner, snapshot := fastClient(t)
	synctest.Test(t, func(t *testing.T) {
		client := decorate.NewLatency(inner, decorate.Latency{PerRequest: latency, BytesPerSecond: 8e6})
		best := download(t, client, snapshot)
		done := make(chan time.Time, 1)
		vfsName, vfs := newVFS(t, client, &litestream.Options{HydrationEnabled: true, PollInterval: -1, OnHydrationProgress: func(p litestream.HydrationProgress) {
			if p.Status == litestream.HydrationComplete {
				select {
				case done <- time.Now():
				default:
				}
			}
		}})
		defer vfs.Close(context.Background())
		db, err := vfstest.Open(dsn(vfsName, "fast.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		start := time.Now()
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		opened := time.Now()
		took := (<-done).Sub(opened)
		t.Logf("download %v, open %v, hydration after that %v", best, opened.Sub(start), took)
		if took > best*5/4 {
			t.Errorf("hydration takes %v, a download %v", took, best)
		}
	})
}

// TestHydration_ManyReaders hydrates, follows and reads at the same time on
// several connections, while the primary deletes files.
func TestHydration_ManyReaders(t *testing.T) {
	store := memoryClient()
	p := newPrimary(t, store, ltxtest.Options{PageSize: 1024}, 1000)
	vfsName, _ := newVFS(t, store, &litestream.Options{HydrationEnabled: true, PollInterval: fastPoll, CacheSize: uncached, HydrationPath: filepath.Join(t.TempDir(), "local.db")})
	conns := make([]*sql.Conn, 4)
	for i := range conns {
		conns[i] = openConn(t, vfsName, "app.db")
		mustExec(t, conns[i], "PRAGMA cache_size = 0")
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := queryText(conn, "SELECT sum(v) FROM t")
				if err == nil && got != "0" {
					t.Errorf("the sum is %s", got)
				}
				if err != nil && !strings.Contains(lastError(conn), "no longer available") {
					t.Errorf("%v (%s)", err, lastError(conn))
				}
			}
		})
	}
	from := ltx.TXID(1)
	for i := range 30 {
		txid := p.Exec(fmt.Sprintf("UPDATE t SET pad = hex(randomblob(%d)) WHERE id %% 7 = %d", 50+i, i%7))
		p.Exec("UPDATE t SET v = -v")
		if i%10 == 9 {
			p.Compact(1, from, txid)
			p.DeleteLevelBelow(0, txid)
			from = txid + 1
		}
		if i%25 == 24 {
			p.Snapshot()
		}
	}
	close(stop)
	wg.Wait()
	last := p.TXID().String()
	waitFor(t, "the end", func() bool {
		return mustQuery(t, conns[0], "PRAGMA litestream_txid") == last && mustQuery(t, conns[0], "PRAGMA litestream_hydration_status") == "complete"
	})
	if got := mustQuery(t, conns[0], "SELECT sum(v) FROM t"); got != "0" {
		t.Errorf("at the end the sum is %s", got)
	}
	if got := mustQuery(t, conns[0], "PRAGMA integrity_check"); got != "ok" {
		t.Error(got)
	}
}
