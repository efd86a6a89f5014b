package litestream_test

import (
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// TestReconnect opens a connection for each of many tasks, as web programs do, while
// each request to storage takes 50 ms. Only the first connection makes requests.
func TestReconnect(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	trace := decorate.NewTrace(decorate.NewLatency(client, decorate.Latency{PerRequest: 50 * time.Millisecond}))
	vfs := litestream.NewVFS(trace, &litestream.Options{PollInterval: time.Hour, CloseDelay: time.Minute})
	vfsName := register(t, vfs)
	task := func() time.Duration {
		start := time.Now()
		db, err := vfstest.Open(dsn(vfsName, "app.db"))
		if err != nil {
			t.Fatal(err)
		}
		if got := result(db, "SELECT n FROM t"); got != "1" {
			t.Errorf("reads %s", got)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		return time.Since(start)
	}
	first := task()
	requests := len(trace.Events())
	const tasks = 50
	var all, longest time.Duration
	for range tasks {
		took := task()
		all, longest = all+took, max(longest, took)
	}
	t.Logf("the first task took %v and %d requests; of %d others each took %v, the longest %v", first, requests, tasks, all/tasks, longest)
	if n := len(trace.Events()) - requests; n != 0 {
		t.Errorf("%d reconnects make %d requests", tasks, n)
	}
	if first < 100*time.Millisecond || all/tasks > 50*time.Millisecond {
		t.Errorf("the first task took %v, the others %v each, which is no less than a request", first, all/tasks)
	}
}

// TestReconnect_Pool has a pool that keeps no connection, which opens one for each
// query. Only the first connection makes requests.
func TestReconnect_Pool(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	fault, url := newFaulty(t, client)
	db := openURL(t, url, &litestream.Options{PollInterval: time.Hour})
	db.SetMaxIdleConns(-1)
	read := func() {
		t.Helper()
		var n int
		if err := db.QueryRow("SELECT n FROM t").Scan(&n); err != nil || n != 1 {
			t.Error(n, err)
		}
	}
	read()
	calls := fault.Calls()
	for range 50 {
		read()
	}
	if n := fault.Calls() - calls; n != 0 {
		t.Errorf("50 reconnects make %d requests", n)
	}
	if s := db.Stats(); s.MaxIdleClosed < 50 {
		t.Errorf("the pool has kept connections: %+v", s)
	}
}
