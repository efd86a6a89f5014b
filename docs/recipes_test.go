package docs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
)

// The functions here are those in recipes.md. The sessions on that page are run
// by the tests of cmd/litestream-vfs.

func shutDown(ctx context.Context, server *http.Server, vfs *litestream.VFS, db *sql.DB) error {
	// Accept no more requests, and wait for those in progress, for half of the
	// time: the other half is for the upload.
	half := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	err := server.Shutdown(half)
	// Upload what is committed. Connections return errors from then on.
	err = errors.Join(err, vfs.Close(ctx))
	return errors.Join(err, db.Close())
}

func serveHealth(w http.ResponseWriter, r *http.Request, vfs *litestream.VFS) {
	if err := vfs.Health(r.Context(), "app.db"); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// openVFS registers a VFS and opens a connection of it to app.db.
func openVFS(t *testing.T, name string, client litestream.ReplicaClient, opts litestream.Options) (*litestream.VFS, *sql.DB) {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	vfs := litestream.NewVFS(client, &opts)
	if err := vfstest.Register(name, vfs); err != nil {
		t.Fatal(err)
	}
	db, err := vfstest.Open("file:app.db?vfs=" + name)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return vfs, db
}

// noUploads is a client whose uploads fail, or wait if hang is set.
type noUploads struct {
	*memory.ReplicaClient
	hang bool
}

func (c noUploads) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if c.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, errors.New("the store is down")
}

// TestRecipes_ShutDown checks that a shutdown keeps to its context when storage
// hangs, and says where the commits are.
func TestRecipes_ShutDown(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		vfs, db := openVFS(t, "recipes-shutdown", noUploads{memory.NewReplicaClient(), true}, litestream.Options{WriteEnabled: true})
		if _, err := db.Exec("CREATE TABLE t (v)"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := shutDown(ctx, new(http.Server), vfs, db)
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("it takes %v", d)
		}
		if err == nil || !strings.Contains(err.Error(), "kept in") {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestRecipes_ShutDownSlowRequest checks that a request that does not end leaves time
// for the upload.
func TestRecipes_ShutDownSlowRequest(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	client := memory.NewReplicaClient()
	vfs, db := openVFS(t, "recipes-slow-request", client, litestream.Options{WriteEnabled: true, WriteSyncInterval: -1})
	if _, err := db.Exec("CREATE TABLE t (v)"); err != nil {
		t.Fatal(err)
	}
	arrived, ended := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-ended
	}))
	defer server.Close()
	defer close(ended)
	go func() {
		if resp, err := http.Get(server.URL); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := shutDown(ctx, server.Config, vfs, db); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the request that does not end gives %v", err)
	}
	r, err := client.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err != nil {
		t.Fatalf("the commit was not uploaded: %v", err)
	}
	_ = r.Close()
}

// TestRecipes_Health checks the answers before and after uploads have failed.
func TestRecipes_Health(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		vfs, db := openVFS(t, "recipes-health", noUploads{memory.NewReplicaClient(), false}, litestream.Options{WriteEnabled: true})
		defer func() { _, _ = db.Close(), vfs.Close(t.Context()) }()
		status := func() (int, string) {
			w := httptest.NewRecorder()
			serveHealth(w, httptest.NewRequest(http.MethodGet, "/", nil), vfs)
			return w.Code, w.Body.String()
		}
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		if code, text := status(); code != http.StatusOK || text != "" {
			t.Errorf("healthy: %d, %q", code, text)
		}
		if _, err := db.Exec("CREATE TABLE t (v)"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if code, text := status(); code != http.StatusServiceUnavailable || !strings.Contains(text, "the store is down") {
			t.Errorf("the store is down: %d, %q", code, text)
		}
	})
}

const (
	month     = 30 * 24 * time.Hour
	simulated = 20 * time.Minute // of each row, after the
	warmUp    = 6 * time.Minute  // in which nothing is old enough to be deleted
)

// cost returns the requests of a month, and their price, given those of the
// simulated time.
func cost(before, after litestream.RequestStats) (requests, dollars float64) {
	const times = float64(month / simulated)
	requests = float64(after.List-before.List+after.Get-before.Get+after.Put-before.Put) * times
	return requests, (after.Dollars - before.Dollars) * times
}

// TestRecipes_Costs compares the table of recipes.md with simulated time for each
// row.
func TestRecipes_Costs(t *testing.T) {
	text := readFile(t, "docs/recipes.md")
	check := func(row string, requests, dollars float64) {
		t.Helper()
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(row) + ` \| ([\d.]+) million \| \$([\d.]+) \|$`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("recipes.md has no row for %q: %.2f million, $%.2f", row, requests/1e6, dollars)
			return
		}
		for i, want := range []float64{requests / 1e6, dollars} {
			if got, err := strconv.ParseFloat(m[i+1], 64); err != nil || got < want*0.95-0.01 || got > want*1.05+0.01 {
				t.Errorf("%s: recipes.md has %s, it is %.2f", row, m[i+1], want)
			}
		}
	}
	// run measures the database that runs a query at each interval, or, with follow, a
	// reader of the same replica.
	run := func(row string, interval time.Duration, query string, opts litestream.Options, follow bool) {
		synctest.Test(t, func(t *testing.T) {
			client := memory.NewReplicaClient()
			primary, writer := openVFS(t, fmt.Sprintf("recipes-cost-%s", row), client, litestream.Options{WriteEnabled: true, WriteSyncInterval: opts.WriteSyncInterval})
			defer func() { _, _ = writer.Close(), primary.Close(t.Context()) }()
			if _, err := writer.Exec("CREATE TABLE t (v); INSERT INTO t VALUES (0)"); err != nil {
				t.Fatal(err)
			}
			if err := primary.Sync(t.Context(), "app.db"); err != nil {
				t.Fatal(err)
			}
			vfs, db := primary, writer
			if follow || query == "SELECT v FROM t" {
				var reader *litestream.VFS
				reader, db = openVFS(t, fmt.Sprintf("recipes-cost-%s-reader", row), client, opts)
				defer func() { _, _ = db.Close(), reader.Close(t.Context()) }()
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
				vfs = reader
			}
			counted := func() litestream.Stats {
				s, err := vfs.StatsOf(t.Context(), "app.db")
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			var before *litestream.Stats
			for start := time.Now(); time.Since(start) < warmUp+simulated; time.Sleep(interval) {
				if before == nil && time.Since(start) >= warmUp {
					s := counted()
					before = &s
				}
				on := db
				if follow {
					on = writer
				}
				if _, err := on.Exec(query); err != nil {
					t.Fatal(err)
				}
				if follow {
					if _, err := db.Exec("SELECT v FROM t"); err != nil {
						t.Fatal(err)
					}
				}
			}
			requests, dollars := cost(before.Requests, counted().Requests)
			check(row, requests, dollars)
		})
	}
	const update = "UPDATE t SET v = v + 1"
	second := 1003 * time.Millisecond // so that commits and polls do not fall on one instant
	run("a reader in use", 31*time.Second, "SELECT v FROM t", litestream.Options{}, false)
	run("a reader in use, `PollInterval` 10 s", 31*time.Second, "SELECT v FROM t", litestream.Options{PollInterval: 10 * time.Second}, false)
	run("a reader that a query wakes every 10 minutes", 10*time.Minute, "SELECT v FROM t", litestream.Options{}, false)
	run("a reader in use, of a primary that commits each second", second, update, litestream.Options{}, true)
	run("a writer that commits each second", second, update, litestream.Options{}, false)
	run("a writer that commits each second, `WriteSyncInterval` 10 s", second, update, litestream.Options{WriteSyncInterval: 10 * time.Second}, false)
	run("a writer that commits once a minute", 61*time.Second, update, litestream.Options{}, false)
}
