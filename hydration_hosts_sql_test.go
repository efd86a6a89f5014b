package litestream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestShare_CutOffUnderQueries cuts off the shared file and its table while two
// databases read them through memory maps, by the driver of SQLite. All rows are
// right, and the process goes on.
func TestShare_CutOffUnderQueries(t *testing.T) {
	client := memoryClient()
	newPrimary(t, client, ltxtest.Options{}, 1000)
	for _, suffix := range []string{"", "-shared"} {
		for _, size := range []int64{0, 5000, 66 << 10} {
			t.Run(fmt.Sprintf("local.db%s to %d bytes", suffix, size), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "local.db")
				open := func() querier {
					name, _ := newVFS(t, client, &litestream.Options{
						HydrationEnabled: true, HydrationPath: path, PollInterval: -1, CacheSize: -1, ReadAheadSize: -1, Logger: testlog.New(t, nil),
					})
					conn := openConn(t, name, "app.db")
					mustExec(t, conn, "PRAGMA cache_size = 1")
					waitForHydration(t, conn)
					return conn
				}
				const query = "SELECT count(*), sum(v), sum(length(pad)), max(pad) FROM t"
				all := []querier{open(), open()}
				want := mustQuery(t, all[0], query)
				var cut, stop atomic.Bool
				var after [2]atomic.Int64
				var wg sync.WaitGroup
				for i, conn := range all {
					wg.Go(func() {
						for !stop.Load() {
							got, err := queryText(conn, query)
							if err != nil || got != want {
								t.Errorf("database %d: %q, want %q, error %v", i, got, want, err)
								return
							}
							if cut.Load() {
								after[i].Add(1)
							}
						}
					})
				}
				if err := os.Truncate(path+suffix, size); err != nil {
					t.Error(err)
				}
				cut.Store(true)
				waitFor(t, "queries after the cut", func() bool { return t.Failed() || after[0].Load() > 5 && after[1].Load() > 5 })
				stop.Store(true)
				wg.Wait()
			})
		}
	}
}

// TestHydration_Chdir changes the working folder of the process after a database was
// opened with relative paths.
func TestHydration_Chdir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	client := memoryClient()
	p := newPrimary(t, client, ltxtest.Options{}, 500)
	var log testlog.Buffer
	vfsName, vfs := newVFSOnly(t, client, &litestream.Options{
		HydrationEnabled: true, HydrationPath: "local.db", PollInterval: -1, Logger: testlog.New(t, &log),
	})
	conn := openConn(t, vfsName, "app.db")
	waitForHydration(t, conn)
	t.Chdir(t.TempDir())
	p.Exec("CREATE TABLE more (x)")
	mustQuery(t, conn, fmt.Sprintf("PRAGMA litestream_wait = '%s'", p.TXID()))
	waitForHydration(t, conn)
	again, againVFS := newVFSOnly(t, client, &litestream.Options{
		HydrationEnabled: true, HydrationPath: filepath.Join(dir, "local.db"), PollInterval: -1, Logger: testlog.New(t, &log),
	})
	conn2 := openConn(t, again, "app.db")
	waitForHydration(t, conn2)
	if got, want := mustQuery(t, conn2, "PRAGMA litestream_hydration_file"), mustQuery(t, conn, "PRAGMA litestream_hydration_file"); got != want || got != filepath.Join(dir, "local.db") {
		t.Errorf("the files are %s and %s", got, want)
	}
	for _, c := range []interface{ Close() error }{conn, conn2} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, v := range []*litestream.VFS{vfs, againVFS} {
		if err := v.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(log.String(), "removed or replaced") || strings.Contains(log.String(), "level=ERROR") {
		t.Error(&log)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("in the new working folder are %v, %v", left, err)
	}
}
