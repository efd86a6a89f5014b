package litestream_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/traces")

// latency is what each request takes in the traced tests. The clock otherwise
// stands still, so the calls of one wave are those that do not wait for each
// other.
const latency = 20 * time.Millisecond

// TestTraces compares the requests of common operations on the sandwiches
// database with golden files, wave by wave. A wave is one round trip.
func TestTraces(t *testing.T) {
	source := replicaDir(t, "sandwiches")
	dir := copyReplica(t, t.TempDir(), source)
	lost := copyReplica(t, t.TempDir(), source)
	loseFileTimes(t, lost)

	for _, dirs := range []struct{ name, dir string }{{"times", dir}, {"no-times", lost}} {
		t.Run(dirs.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trace := decorate.NewTrace(decorate.NewLatency(file.NewReplicaClient(dirs.dir), decorate.Latency{PerRequest: latency}))
				vfsName, vfs := newVFS(t, trace, nil)
				db, err := vfstest.Open(dsn(vfsName, "app.db"))
				if err != nil {
					t.Fatal(err)
				}
				defer vfs.Close(context.Background())
				defer db.Close()
				conns := make([]*sql.Conn, 2)
				var b strings.Builder
				waves := make(map[string]int)
				step := func(name string, do func()) {
					trace.Reset()
					do()
					events := trace.Events()
					waves[name] = len(decorate.Waves(events))
					c := trace.Counts()
					fmt.Fprintf(&b, "# %s: %d round trips, %d lists, %d reads, %d bytes\n", name, waves[name], c.Lists, c.Reads, c.BytesRead)
					if waves[name] > 20 { // for polls, the trace has the number of each call
						b.WriteString(countLines(decorate.Format(events)))
					} else {
						b.WriteString(decorate.Format(events))
					}
					b.WriteByte('\n')
				}
				conn := func(i int) *sql.Conn {
					if conns[i] == nil {
						if conns[i], err = db.Conn(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					return conns[i]
				}
				step("open", func() { conn(0) })
				step("first row of a point query", func() {
					mustQuery(t, conn(0), "SELECT stars FROM sandwich_ratings WHERE rowid = 4711")
				})
				if n := waves["open"] + waves["first row of a point query"]; n > 4 {
					t.Errorf("%d round trips to the first row, want 4 at most", n)
				}
				step("the same again", func() { mustQuery(t, conn(0), "SELECT stars FROM sandwich_ratings WHERE rowid = 4711") })
				step("second connection", func() { mustQuery(t, conn(1), "SELECT stars FROM sandwich_ratings WHERE rowid = 4711") })
				for _, none := range []string{"the same again", "second connection"} {
					if waves[none] != 0 {
						t.Errorf("%s: requests", none)
					}
				}
				step("scan of a table", func() { mustQuery(t, conn(0), "SELECT count(*), sum(stars) FROM sandwich_ratings") })
				step("scan of it by another connection", func() {
					mustQuery(t, conn(1), "SELECT count(*), sum(stars) FROM sandwich_ratings")
				})
				if waves["scan of it by another connection"] != 0 {
					t.Error("what one connection scanned is fetched again for another")
				}
				step("poll without news", func() {
					time.Sleep(litestream.DefaultPollInterval + 2*latency)
				})
				step("an hour without a query", func() { time.Sleep(time.Hour) })
				step("first query after the hour", func() { mustQuery(t, conn(0), "SELECT 1 FROM sandwich_ratings LIMIT 1") })
				step("travel to just before the disaster", func() {
					mustExec(t, conn(1), "PRAGMA litestream_time = '2026-03-14T11:59:49.477Z'")
				})
				step("first query there", func() { mustQuery(t, conn(1), "SELECT stars FROM sandwich_ratings WHERE rowid = 4711") })
				step("another connection travels there too", func() {
					mustExec(t, conn(0), "PRAGMA litestream_txid = '000000000000003f'")
					mustQuery(t, conn(0), "SELECT stars FROM sandwich_ratings WHERE rowid = 4711")
				})
				if waves["another connection travels there too"] != 0 {
					t.Error("a state that a connection has travelled to is not shared")
				}
				step("travel by transaction", func() { mustExec(t, conn(1), "PRAGMA litestream_txid = '000000000000003e'") })
				step("travel to a time of the current transaction", func() {
					mustExec(t, conn(1), "PRAGMA litestream_time = '2026-03-15T00:00:00Z'")
				})
				step("back to latest", func() { mustExec(t, conn(1), "PRAGMA litestream_time = latest") })
				for _, c := range conns {
					_ = c.Close()
				}
				golden(t, "sandwiches-"+dirs.name, b.String())
			})
		})
	}
}

// golden compares text with a golden file, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "traces", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("requests differ from %s (run with -update after a look):\n%s", path, lineDiff(string(want), got))
	}
}

// untold returns the end of the name of a golden file that depends on whether the
// driver tells which statement runs.
func untold() string {
	if psanford {
		return "-untold"
	}
	return ""
}

// countLines prints each line once, without its wave, and with its number of
// occurrences.
func countLines(s string) string {
	counts := make(map[string]int)
	var lines []string
	for line := range strings.Lines(s) {
		_, line, _ = strings.Cut(line, ": ")
		if counts[line]++; counts[line] == 1 {
			lines = append(lines, line)
		}
	}
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%d times: %s", counts[line], line)
	}
	return b.String()
}

// lineDiff lists the lines that occur in only one of two texts.
func lineDiff(want, got string) string {
	var b strings.Builder
	for _, side := range []struct{ mark, of, other string }{{"-", want, got}, {"+", got, want}} {
		has := make(map[string]bool)
		for _, line := range strings.Split(side.other, "\n") {
			has[line] = true
		}
		for _, line := range strings.Split(side.of, "\n") {
			if !has[line] {
				fmt.Fprintln(&b, side.mark, line)
			}
		}
	}
	return b.String()
}

// TestTraces_Fast compares the requests of scans, and of reads that are not
// scans, on a database much larger than what opening it reads.
func TestTraces_Fast(t *testing.T) {
	inner, _ := fastClient(t)
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(decorate.NewLatency(inner, decorate.Latency{PerRequest: latency}))
		conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "fast.db")
		defer closeAll()
		var b strings.Builder
		for _, step := range []struct{ name, query string }{
			{"open, first row", "SELECT pad FROM t LIMIT 1"},
			{"point query", "SELECT pad FROM t WHERE id = 44444"},
			{"point query by an index", "SELECT pad FROM t WHERE k = 4711"},
			{"a row of 700 kB", "SELECT length(data || '') FROM big WHERE id = 3"},
			{"scan", scanQuery},
		} {
			mustQuery(t, conn, step.query)
			synctest.Wait()
			for trace.Counts().Open > 0 {
				time.Sleep(latency)
			}
			events, c := trace.Events(), trace.Counts()
			fmt.Fprintf(&b, "# %s: %d round trips, %d lists, %d reads, %d bytes\n%s\n",
				step.name, len(decorate.Waves(events)), c.Lists, c.Reads, c.BytesRead, decorate.Format(events))
			trace.Reset()
		}
		golden(t, "fast"+untold(), b.String())
	})
}
