package metrics

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

var update = flag.Bool("update", false, "write golden files")

// golden is the scrape of TestGolden.
const golden = "testdata/metrics.txt"

// register returns a registry that checks all that it collects.
func register(t testing.TB, collectors ...prometheus.Collector) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

// scrape returns the metrics of a registry as Prometheus reads them.
func scrape(t testing.TB, registry *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestGolden scrapes a database that is read, one that is hydrated, one that is
// written to, one whose uploads fail and one whose storage cannot be read, and
// compares all metrics.
func TestGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writable := map[string]string{"write_enabled": "true", "poll_interval": "10s"} // polls and syncs at the same time have no order
		f := newFleet(t, 12, map[string]map[string]string{
			"read.db": nil, "hydrated.db": {"hydration_enabled": "true"}, "written.db": writable, "stuck.db": writable, "down.db": {"cache_size": "-1"},
		})
		defer f.close(t)
		synctest.Wait() // for hydration
		for pgno := range int64(5) {
			if err := errors.Join(read(f.conns["read.db"], pgno+1), read(f.conns["hydrated.db"], pgno+1)); err != nil {
				t.Fatal(err)
			}
		}
		down := fmt.Errorf("storage: %w", fs.ErrPermission) // which is not tried again after a random time
		f.stores["stuck.db"].Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Err: down})
		f.stores["down.db"].Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: down})
		if err := read(f.conns["down.db"], 7); !errors.Is(err, down) {
			t.Errorf("read while storage is down: %v", err)
		}
		for _, name := range []string{"written.db", "stuck.db"} {
			commit(t, f.conns[name], 2, 12)
		}
		if _, err := f.vfs.OpenConn("none.db", nil, litestream.OpenMode{}); err == nil {
			t.Error("a replica that does not exist is opened")
		}
		time.Sleep(litestream.DefaultPollInterval + 40*time.Millisecond) // a sync that fails is tried again after 50 ms or more
		synctest.Wait()

		got := scrape(t, register(t, NewCollector(f.vfs)))
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range changedLines(string(want), got) {
			t.Error(line)
		}
		series := make(map[string]int)
		for line := range strings.Lines(got) {
			if _, rest, ok := strings.Cut(line, `database="`); ok {
				name, _, _ := strings.Cut(rest, `"`)
				series[name]++
			}
		}
		if series["read.db"] != seriesOfReader || series["written.db"] > mostSeries-hydrationSeries {
			t.Errorf("series of databases: %v", series)
		}
	})
}

// These are what the documentation says about the number of series.
const (
	seriesOfReader  = 37
	mostSeries      = 60
	hydrationSeries = 10
)

// changedLines returns the lines that only one of two texts has, with a sign each.
func changedLines(before, after string) (changed []string) {
	for _, side := range []struct{ sign, of, in string }{{"-", before, after}, {"+", after, before}} {
		known := make(map[string]bool)
		for line := range strings.Lines(side.in) {
			known[line] = true
		}
		for line := range strings.Lines(side.of) {
			if !known[line] {
				changed = append(changed, side.sign+strings.TrimSpace(line))
			}
		}
	}
	return changed
}

// TestConventions checks names and help texts by the conventions of Prometheus.
func TestConventions(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range families {
		if seen[f.name] {
			t.Errorf("%s is there twice", f.name)
		}
		seen[f.name] = true
		if f.help == "" || !strings.HasSuffix(f.help, ".") {
			t.Errorf("%s: help is %q, want a sentence", f.name, f.help)
		}
		if strings.Contains(f.name, "seconds") != strings.HasSuffix(strings.TrimSuffix(f.name, "_total"), "_seconds") ||
			strings.Contains(f.name, "bytes") != strings.HasSuffix(strings.TrimSuffix(f.name, "_total"), "_bytes") {
			t.Errorf("%s: the unit is not at the end", f.name)
		}
		if f.label == "" && len(f.series) != 1 || f.label != "" && (f.label <= "database" || f.label >= "vfs") {
			t.Errorf("%s: label %q, %d series", f.name, f.label, len(f.series))
		}
		for i, s := range f.series {
			if i > 0 && s.label <= f.series[i-1].label {
				t.Errorf("%s: %q comes after %q", f.name, s.label, f.series[i-1].label)
			}
		}
	}
}

// TestCollector_Names opens databases whose names and URLs are hard to tell apart,
// hostile, or secret. Each scrape works, and shows no secret.
func TestCollector_Names(t *testing.T) {
	litestream.RegisterReplicaClientFactory("fleet", func(string, string, string, url.Values, *url.Userinfo) (litestream.ReplicaClient, error) {
		return newReplica(t, 2), nil
	})
	vfs := litestream.NewVFS(nil, &litestream.Options{
		PollInterval: -1, Logger: slog.New(slog.DiscardHandler),
		NewClient: func(string) (litestream.ReplicaClient, error) { return newReplica(t, 2), nil },
	})
	defer vfs.Close(t.Context())
	names := []string{"a\xff.db", "a\xfe.db", "quo\"te\\\n.db", "a" + strings.Repeat("b", 500)}
	for _, name := range names {
		defer open(t, vfs, name, nil).Close()
	}
	for _, address := range []string{"fleet://key:Pa55@host/x.db?token=Pa55a", "fleet://key:Pa55@host/x.db?token=Pa55b"} {
		defer open(t, vfs, "same.db", map[string]string{"replica_url": address}).Close()
	}
	for range 2 {
		text := scrape(t, register(t, NewCollector(vfs)))
		if strings.Contains(text, "Pa55") {
			t.Errorf("a secret is shown:\n%s", text)
		}
		for _, want := range []string{
			`txid{database="a` + "\uFFFD" + `.db"} 1`, `txid{database="a` + "\uFFFD" + `.db (2)"} 1`, `txid{database="quo\"te\\\n.db"} 1`,
			`txid{database="fleet://host/x.db"} 1`, `txid{database="fleet://host/x.db (2)"} 1`, `databases 6`,
		} {
			if !strings.Contains(text, prefix+want+"\n") {
				t.Errorf("%s is missing in:\n%s", want, text)
			}
		}
	}
}

// TestCollector_Several registers one collector of two VFSes that have the same
// database, and two collectors of one VFS each.
func TestCollector_Several(t *testing.T) {
	newVFS := func() *litestream.VFS {
		vfs := litestream.NewVFS(newReplica(t, 2), &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { _ = vfs.Close(t.Context()) })
		return vfs
	}
	a, b := newVFS(), newVFS()
	for _, vfs := range []*litestream.VFS{a, b} {
		defer open(t, vfs, "app.db", nil).Close()
	}
	text := scrape(t, register(t, NewCollector(a, b)))
	for _, want := range []string{`databases{vfs="0"} 1`, `opens_total{result="success",vfs="1"} 1`, `txid{database="app.db",vfs="0"} 1`, `txid{database="app.db",vfs="1"} 1`} {
		if !strings.Contains(text, prefix+want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}

	registry := prometheus.NewPedanticRegistry()
	for role, vfs := range map[string]*litestream.VFS{"reader": a, "writer": b} {
		if err := prometheus.WrapRegistererWith(prometheus.Labels{"role": role}, registry).Register(NewCollector(vfs)); err != nil {
			t.Fatal(err)
		}
	}
	text = scrape(t, registry)
	for _, want := range []string{`txid{database="app.db",role="reader"} 1`, `txid{database="app.db",role="writer"} 1`} {
		if !strings.Contains(text, prefix+want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}
}

// TestCollector_Cost counts the requests of scrapes, and what happens to options
// that are set after one.
func TestCollector_Cost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(newReplica(t, 2))
		vfs := litestream.NewVFS(trace, &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
		registry := register(t, NewCollector(vfs))
		health := Health(vfs)
		ask := func() {
			scrape(t, registry)
			health.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/healthz", nil))
		}
		ask()
		vfs.WriteEnabled = true // still settable
		c := open(t, vfs, "app.db", nil)
		if !vfs.Stats()[0].Write.Enabled {
			t.Error("a scrape before the first open has fixed the options")
		}
		before := trace.Counts()
		for range 10 {
			ask()
		}
		if after := trace.Counts(); after != before {
			t.Errorf("scrapes have made requests: %+v, before %+v", after, before)
		}
		if err := errors.Join(c.Close(), vfs.Close(t.Context())); err != nil {
			t.Error(err)
		}
		ask()
		if after := trace.Counts(); after.Open != 0 {
			t.Errorf("after the close: %+v", after)
		}
	})
}

// TestCollector_Concurrent scrapes while databases are opened, read, written to and
// closed. The race detector looks on.
func TestCollector_Concurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, map[string]map[string]string{"a.db": nil, "b.db": {"write_enabled": "true"}, "c.db": {"hydration_enabled": "true"}})
		defer f.close(t)
		registry, health := register(t, NewCollector(f.vfs)), Health(f.vfs)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 20 {
					scrape(t, registry)
					health.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
					time.Sleep(time.Millisecond)
				}
			})
		}
		for i := range uint32(20) {
			if err := errors.Join(read(f.conns["a.db"], 3), read(f.conns["c.db"], 5)); err != nil {
				t.Error(err)
			}
			commit(t, f.conns["b.db"], 2+i, 8)
			if err := open(t, f.vfs, "a.db", nil).Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
	})
}

// openMany opens databases of one small replica each.
func openMany(t testing.TB, n int) *litestream.VFS {
	t.Helper()
	vfs := litestream.NewVFS(nil, &litestream.Options{
		PollInterval: -1, Logger: slog.New(slog.DiscardHandler),
		NewClient: func(string) (litestream.ReplicaClient, error) { return newReplica(t, 2), nil },
	})
	t.Cleanup(func() { _ = vfs.Close(t.Context()) })
	for i := range n {
		c := open(t, vfs, fmt.Sprintf("tenants/%06d.db", i), nil)
		t.Cleanup(func() { _ = c.Close() })
	}
	return vfs
}

// TestCollector_Allocations bounds how often a scrape of a database allocates: fewer
// times than the database has series.
func TestCollector_Allocations(t *testing.T) {
	const n = 50
	c := NewCollector(openMany(t, n))
	ch := make(chan prometheus.Metric, n*mostSeries)
	allocations := testing.AllocsPerRun(10, func() {
		c.Collect(ch)
		for len(ch) > 0 {
			<-ch
		}
	})
	if most := float64(n * 25); allocations > most {
		t.Errorf("a scrape of %d databases allocates %.0f times, want at most %.0f", n, allocations, most)
	}
}

// BenchmarkScrape scrapes 1,000 databases: as the registry collects them, and with
// the text of the answer.
func BenchmarkScrape(b *testing.B) {
	vfs := openMany(b, 1000)
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(vfs))
	b.Run("gather", func(b *testing.B) {
		for b.Loop() {
			if _, err := registry.Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("text", func(b *testing.B) {
		for b.Loop() {
			b.SetBytes(int64(len(scrape(b, registry))))
		}
	})
}
