package litestream_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// TestWrite_LargeSync commits more than can be uploaded within ReadTimeout. A sync and
// a COMMIT that wait for the upload have as much more time as the upload has.
func TestWrite_LargeSync(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]litestream.Options{
		"PRAGMA":       {WriteSyncInterval: -1},
		"SyncOnCommit": {SyncOnCommit: true},
	} {
		t.Run(name, func(t *testing.T) {
			client := memoryClient()
			synctest.Test(t, func(t *testing.T) {
				opts.WriteEnabled, opts.PollInterval, opts.CompactionDisabled = true, -1, true
				opts.ReadTimeout = 2 * time.Second
				slow := decorate.NewLatency(client, decorate.Latency{BytesPerSecond: 1.5 * (1 << 20)})
				vfsName, vfs := newVFS(t, slow, &opts)
				defer vfs.Close(context.Background())
				db := openDB(t, vfsName, "app.db")
				mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, pad)")
				start := time.Now()
				mustExec(t, db, "INSERT INTO t VALUES (1, randomblob(10000000))")
				mustExec(t, db, "PRAGMA litestream_sync")
				if took := time.Since(start); took <= opts.ReadTimeout {
					t.Errorf("the upload took %s, which tells nothing", took)
				}
				if n := levels(t, client); n[0] == 0 {
					t.Errorf("%d files are on the replica", n[0])
				}
			})
		})
	}
}
